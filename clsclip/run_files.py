"""Names of what lies in the folder of a training run."""

from __future__ import annotations

STATE_FILE = "training_state.safetensors"
"""All that a resumed run reads."""

CHECKPOINT_FILE = "last.safetensors"
"""The newest weights, for everybody else."""

BEST_FILE = "best.safetensors"
"""The weights with the best validation mIoU so far."""

TOWERS_FOLDER = "towers"
"""A copy of the frozen towers, so that the checkpoints beside it can always be opened."""

LOG_FILE = "train.jsonl"
VALIDATION_FILE = "validation.jsonl"
CURVES_FILE = "curves.png"
SHEETS_FOLDER = "validation"
"""Contact sheets: fixed validation pictures with the masks of a step."""
