#!/bin/sh
# Tables 1 to 5 of the paper on the sticker world: PASCAL-5i and (5) COCO-20i folds, three seeds. Start it again to go on.
#   sh benchmarks/method/tables.sh STICKERS RUNS        STICKERS: node_modules with the sticker packages
# Settings: TABLES="4 5", ROWS=1,2 (of a table, from 1), SIDE of the pictures in pixels, NAME: put behind the names of the
# files written. ClsCLIP+ looks at the boxes of the true masks: no detector knows these words, and agnostic boxes mean
# nothing to the paper's form, which has no presence.
set -eu
here=$(dirname "$0")
for number in ${TABLES:-1 2 3 4 5}; do
    words=pascal
    [ "$number" = 5 ] && words=coco
    written="$here/table$number${NAME:-}"
    clsclip-eval table "$number" ${ROWS:+--rows "$ROWS"} --true-regions \
        --data stickers --root "$1" --words "$words" --style noto --style fluent \
        --side "${SIDE:-64}" --sizes 0.2 0.8 --things 1 4 --test-pictures 300 --train-pictures 1500 --world-seed 11 \
        --towers "${TOWERS:-$here/../../models/stickers/towers}" --image-size 64 --template "a picture of a {}" \
        --steps "${STEPS:-200}" --batch 32 --precision bf16 --device cpu --workers 0 --seeds 0,1,2 --episodes every \
        --runs "$2" --report "$written.json" >"$written.new"
    mv "$written.new" "$written.md"
    cat "$written.md"
done
