#!/bin/sh
# Better towers, in the background for as many hours as there are. Stopped, the same command goes on where it was.
#   sh benchmarks/method/towers.sh STICKERS OUT [STEPS] [COOLDOWN]
# STICKERS: node_modules with the sticker packages. OUT: folder for the towers, the state and the log pretrain.jsonl.
# The learning rate stays at its peak until COOLDOWN steps before STEPS. Both may differ from one call to the next while
# it is at its peak: to finish a run at step 20000, call it with 20000 2000 when it has passed step 17000 or so.
set -eu
# Linux shares the processor among sessions first ("autogroup"), and nice counts only within one: so a session of its own,
# and that one is nice.
if [ -z "${TOWERS_SESSION:-}" ] && [ -w /proc/self/autogroup ] && command -v setsid >/dev/null; then
    TOWERS_SESSION=own exec setsid --wait sh "$0" "$@"
fi
[ -z "${TOWERS_SESSION:-}" ] || echo 19 >/proc/self/autogroup
stickers=$1 out=$2 steps=${3:-200000} cooldown=${4:-4000}
OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
OMP_WAIT_POLICY=passive && export OMP_NUM_THREADS OMP_WAIT_POLICY  # threads that wait on a busy machine must not spin
exec nice -n 19 python -m clsclip.reproduce.stickers pretrain --stickers "$stickers" --out "$out" \
    --style noto --style fluent --style flat --style blobs --style emojione --start models/stickers/towers \
    --side 96 --parts 1,1,2,2,3,3,4 --sizes 0.08 0.8 --recolour 0.25 --batch 32 --steps "$steps" --cooldown "$cooldown" \
    --learning-rate 6e-4 --warmup 400 --mean-decay 0.999 --seed 11 --save-minutes 10 --workers 1 \
    --probes 200 --probe-style noto --probe-style fluent --probe-style twemoji
