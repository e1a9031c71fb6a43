#!/usr/bin/env bash
# Install what build.sh built, look for folders of this machine in it, and build and run the example as a stranger to it
# would, from another place than it was installed to: try_installed.sh FOLDER
set -euo pipefail
root="$(cd "$(dirname "$0")/../../.." && pwd)"
folder="$(cd "$1" && pwd)"
installed="$folder/installed"
rm -rf "$installed" "$folder/moved"
cmake --install "$folder" --prefix "$installed" >/dev/null

# No folder of the machine that built it is in the package: it is packed, moved and given to others.
openvino="$(sed -n 's/^OpenVINO_DIR:[A-Z]*=//p' "$folder/CMakeCache.txt")"
libraries="$(realpath "$openvino/../libs" 2>/dev/null || true)"
own=("$root" "$folder" "$HOME/" "${libraries:-$root}")
LC_ALL=C grep -qaF "$folder" "$folder/CMakeCache.txt" || { echo "grep finds nothing where there is something" >&2; exit 1; }
for path in "${own[@]}"; do
    if LC_ALL=C grep -raFl "$path" "$installed"; then
        echo "the installed files above name $path, a folder of the machine that built them" >&2
        exit 1
    fi
done

# The backend's libraries beside ours, where libclsclip.so looks for them. A system that has them installed needs no links.
lib="$(dirname "$(find "$installed" -name libclsclip.so)")"
if [ -n "$libraries" ]; then
    ln -s "$libraries"/*.so* "$lib"
fi

cp -a "$installed" "$folder/moved"
lib="$folder/moved${lib#"$installed"}"
white="$folder/white.ppm"
{ printf 'P6 8 8 255\n' && head -c 192 /dev/zero | tr '\0' '\377'; } >"$white"
run_example() {  # program, what it was built with
    local said
    said="$("$1" "$root/runtime/cpp/tests/tiny.clsclip" "$white" white red)"
    [ "$said" = $'white: found, 64 pixels\nred: absent, 0 pixels' ] || { echo "the example ($2) said: $said" >&2; exit 1; }
}
for kind in shared static; do
    example="$folder/example-$kind"
    rm -rf "$example"
    cmake -S "$root/examples/cpp" -B "$example" -DCMAKE_PREFIX_PATH="$folder/moved" -DCLSCLIP_KIND=$kind \
        -DOpenVINO_DIR="$openvino" >/dev/null
    cmake --build "$example" >/dev/null
    run_example "$example/find_things" "find_package, $kind"
done
export PKG_CONFIG_PATH="$lib/pkgconfig"
# shellcheck disable=SC2046  # the flags are words
c++ -std=c++20 "$root/examples/cpp/find_things.cpp" -o "$folder/find_things" $(pkg-config --cflags --libs clsclip) \
    -Wl,-rpath,"$lib"
run_example "$folder/find_things" pkg-config
# shellcheck disable=SC2046
cc -std=c11 -Wall -Wextra -Werror "$root/examples/c/find_things.c" -o "$folder/find_things_c" \
    $(pkg-config --cflags --libs clsclip) -Wl,-rpath,"$lib"
run_example "$folder/find_things_c" "C, pkg-config"
[ "$(pkg-config --modversion clsclip)" = "$(sed -n 's/^CMAKE_PROJECT_VERSION:[A-Z]*=//p' "$folder/CMakeCache.txt")" ]

"$folder/moved/bin/clsclip-infer-cpp" "$root/examples/cluttered.png" --classes bottle pizza \
    --bundle "$root/runtime/clsclip_runtime/models/stickers.clsclip" --out "$folder/out"
echo "installed, moved, and the example works by find_package and pkg-config"
