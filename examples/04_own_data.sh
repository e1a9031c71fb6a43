#!/bin/sh
# Your own pictures and masks, from a check to a bundle: sh examples/04_own_data.sh DATA PICTURE OUT [OPTIONS OF TRAINING]
# DATA has images/, masks/ and classes.txt. Without options CLIP ViT-B/16's weights are downloaded.
set -e
data="$1" picture="$2" out="$3"
shift 3
[ $# -gt 0 ] || set -- --towers ViT-B-16 --pretrained openai
clsclip-data check "$data"
clsclip-train --data folder --root "$data" --absent 0.25 --out "$out" "$@"
clsclip-export --ckpt "$out/best.safetensors" --out "$out/model.clsclip"
clsclip-infer "$picture" --model "$out/model.clsclip" --classes-file "$data/classes.txt" --out "$out/masks"
