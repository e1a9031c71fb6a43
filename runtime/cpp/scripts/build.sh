#!/usr/bin/env bash
# Configure and build the C++ runtime: build.sh FOLDER [options of cmake]
# Run again, it only does what is missing. PYTHON may name the Python whose openvino wheel is used.
set -euo pipefail
root="$(cd "$(dirname "$0")/../../.." && pwd)"
mkdir -p "$1"
folder="$(cd "$1" && pwd)"
shift

# Compiler and headers, where this machine may install them.
packages=(cmake g++ pkg-config nlohmann-json3-dev catch2 libjpeg-dev libpng-dev python3-venv)
have() {
    for tool in cmake g++ pkg-config; do
        command -v "$tool" >/dev/null || return 1
    done
    [ -d /usr/include/nlohmann ] && [ -d /usr/include/catch2 ] && [ -e /usr/include/jpeglib.h ] && [ -e /usr/include/png.h ]
}
if ! have; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    else
        echo "The C++ runtime needs a compiler and headers. On Debian and Ubuntu: sudo apt-get install ${packages[*]}" >&2
    fi
fi

# OpenVINO's wheel has its headers and CMake files: that of the development environment, else one of its own.
wheel_of() { "$1" -c 'import pathlib, openvino; print(pathlib.Path(openvino.__file__).parent / "cmake")' 2>/dev/null; }
for python in "${PYTHON:-}" "$root/.venv/dev/bin/python" "$root/.venv/cpp/bin/python"; do
    if [ -x "$(command -v "${python:-none}" || true)" ] && openvino="$(wheel_of "$python")"; then
        break
    fi
    openvino=""
done
if [ -z "$openvino" ]; then
    "${PYTHON:-python3}" -m venv "$root/.venv/cpp"
    "$root/.venv/cpp/bin/pip" install --quiet --disable-pip-version-check 'openvino>=2024.4'
    openvino="$(wheel_of "$root/.venv/cpp/bin/python")"
fi

cmake -S "$root/runtime/cpp" -B "$folder" -DOpenVINO_DIR="$openvino" -DCMAKE_INSTALL_PREFIX="$folder/installed" "$@"
cmake --build "$folder" --parallel "$(nproc)"
