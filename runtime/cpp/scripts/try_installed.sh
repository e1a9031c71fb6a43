#!/usr/bin/env bash
# Install what build.sh built, and build and run the example as a stranger to it would: try_installed.sh FOLDER
set -euo pipefail
root="$(cd "$(dirname "$0")/../../.." && pwd)"
folder="$(cd "$1" && pwd)"
cmake --install "$folder" >/dev/null
white="$folder/white.ppm"
{ printf 'P6 8 8 255\n' && head -c 192 /dev/zero | tr '\0' '\377'; } >"$white"
for kind in shared static; do
    example="$folder/example-$kind"
    cmake -S "$root/examples/cpp" -B "$example" -DCMAKE_PREFIX_PATH="$folder/installed" -DCLSCLIP_KIND=$kind >/dev/null
    cmake --build "$example" >/dev/null
    said="$("$example/find_things" "$root/runtime/cpp/tests/tiny.clsclip" "$white" white red)"
    [ "$said" = $'white: 64 pixels\nred: 0 pixels' ] || { echo "the example ($kind) said: $said" >&2; exit 1; }
done
"$folder/installed/bin/clsclip-infer-cpp" "$root/examples/cluttered.png" --classes bottle pizza \
    --bundle "$root/runtime/clsclip_runtime/models/stickers.clsclip" --out "$folder/out"
echo "installed, and the example works"
