#!/bin/sh
# The embedded model from nothing: towers on captions, then ClsCLIP on masks of the trained words, in two forms.
#   sh benchmarks/method/embedded.sh STICKERS OUT       STICKERS: node_modules with the sticker packages
set -eu
stickers=$1 out=$2
styles="--style noto --style fluent"
[ -f "$out/towers/open_clip_model.safetensors" ] || python -m clsclip.stickers pretrain --stickers "$stickers" $styles \
    --out "$out/towers" --steps 6000

train() { # form, decoder inputs
    clsclip-train --towers "$out/towers" --data stickers --root "$stickers" --words all $styles --side 96 --sizes 0.05 0.7 \
        --things 1 7 --train-pictures 12000 --decoder-inputs "$2" --steps "${STEPS:-1600}" --batch 64 --absent 0.25 \
        --words-per-picture 3 --warmup 100 --precision bf16 --template "a picture of a {}" --workers 0 \
        --presence-pictures 600 --description "Knows stickers (emoji pasted on cluttered grounds), not photographs." \
        --licence Apache-2.0 --out "$out/$1" --resume
}
train embedded text_token+similarity+stem &
train exact exact
wait
clsclip-export --ckpt "$out/embedded/last.safetensors" --out "$out/stickers.clsclip" --name stickers-v2 --force
