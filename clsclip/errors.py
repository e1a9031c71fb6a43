"""Every error that ``clsclip`` raises on purpose.

    ClsclipError
    ├── DataError          pictures, masks, stickers or lists are absent or wrong
    ├── TowersError        CLIP towers cannot be built, or are not a plain ViT CLIP
    ├── CheckpointError    a checkpoint is damaged, or was trained on other towers
    └── TrainingError      a training run cannot start, go on, or be resumed

Messages say what happened, why, and what to do next.
"""

from __future__ import annotations

from clsclip_runtime.errors import EncodableError

__all__ = ["CheckpointError", "ClsclipError", "DataError", "TowersError", "TrainingError"]


class ClsclipError(EncodableError):
    """Base of all errors of the training package."""


class DataError(ClsclipError):
    """Pictures, masks, stickers or lists are absent or wrong."""


class TowersError(ClsclipError):
    """CLIP towers cannot be built, or are not a plain ViT CLIP."""


class CheckpointError(ClsclipError):
    """A checkpoint is damaged, or was trained on other towers."""


class DeviceError(ClsclipError):
    """A device of PyTorch is unknown, or not there."""


class TrainingError(ClsclipError):
    """A training run cannot start, go on, or be resumed."""
