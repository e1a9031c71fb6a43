#!/usr/bin/env bash
# Cross build the C++ runtime for 64-bit ARM, without backends, with its tests: cross.sh FOLDER [options of cmake]
set -euo pipefail
root="$(cd "$(dirname "$0")/../../.." && pwd)"
folder="$1"
shift
packages=(cmake g++-aarch64-linux-gnu qemu-user nlohmann-json3-dev catch2)
have() {
    for tool in cmake aarch64-linux-gnu-g++ qemu-aarch64; do
        command -v "$tool" >/dev/null || return 1
    done
    [ -d /usr/include/nlohmann ] && [ -d /usr/include/catch2 ]
}
if ! have; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    else
        echo "A cross build needs a compiler and qemu. On Debian and Ubuntu: sudo apt-get install ${packages[*]}" >&2
    fi
fi
toolchain="$root/runtime/cpp/cmake/aarch64-linux-gnu.cmake"
cmake -S "$root/runtime/cpp" -B "$folder" --toolchain "$toolchain" -DCLSCLIP_TOOLS=OFF -DCLSCLIP_WERROR=ON "$@"
cmake --build "$folder" --parallel "$(nproc)"
cmake -S "$root/runtime/cpp/tests/parts" -B "$folder/clsclip-parts" --toolchain "$toolchain" -DCLSCLIP_WERROR=ON
cmake --build "$folder/clsclip-parts" --parallel "$(nproc)"
