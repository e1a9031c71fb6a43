#!/bin/sh
# A checkpoint as a bundle in half precision, checked against PyTorch: sh examples/03_export_half.sh [CHECKPOINT] [OUT]
set -e
checkpoint="${1:-models/stickers/last.safetensors}"
out="${2:-half.clsclip}"
clsclip-export --ckpt "$checkpoint" --out "$out" --fp16
clsclip-bundle verify "$out"
clsclip-infer examples/cluttered.png --classes bottle boat --model "$out" --formats overlay
