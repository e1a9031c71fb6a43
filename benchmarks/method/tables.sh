#!/bin/sh
# Tables 1, 3, 4 and 5 of the paper on the sticker world: PASCAL-5i folds, three seeds. Start it again to go on.
#   sh benchmarks/method/tables.sh STICKERS RUNS        STICKERS: node_modules with the sticker packages
set -eu
here=$(dirname "$0")
for number in ${TABLES:-1 3 4 5}; do
    clsclip-eval table "$number" --data stickers --root "$1" --style noto --style fluent \
        --side 64 --sizes 0.2 0.8 --things 1 4 --test-pictures 300 --train-pictures 1500 --world-seed 11 \
        --towers "${TOWERS:-$here/../../models/stickers/towers}" --image-size 64 --template "a picture of a {}" \
        --steps 200 --batch 32 --precision bf16 --device cpu --workers 0 --seeds 0,1,2 --episodes every \
        --runs "$2" --json "$here/table$number.json" >"$here/table$number.md"
    cat "$here/table$number.md"
done
