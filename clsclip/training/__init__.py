"""Training ClsCLIP: :func:`train` on any :class:`clsclip.data.base.Fold`."""

from __future__ import annotations

from clsclip.training.config import TrainConfig
from clsclip.training.loop import TrainingSummary, train
from clsclip.training.presence import fit_presence

__all__ = ["TrainConfig", "TrainingSummary", "fit_presence", "train"]
