"""Where a checkpoint comes from."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from clsclip.data.base import Fold
from clsclip.data.marks import marks_of
from clsclip.model import ClsClip
from clsclip.training.config import TrainConfig
from clsclip_runtime.version import __version__


def run_provenance(fold: Fold, config: TrainConfig, model: ClsClip) -> dict[str, Any]:
    """Data, words, settings and tool versions of a run, as JSON."""
    classes, seen = fold.train.classes, set(fold.seen)
    images = sorted({index for index, _ in fold.train_pairs})
    return {
        "data": fold.train.name,
        "fold": fold.number,
        "pictures": len(images),
        "pairs": len(fold.train_pairs),
        "trained_pictures": marks_of(fold.train.key(index) for index in images),
        "seen_words": [classes[one] for one in fold.seen],
        "held_out_words": [classes[one] for one in fold.novel if one not in seen],
        "templates": [config.template],
        "variant": model.config.variant,
        "seed": config.seed,
        "training": asdict(config),
        "tools": {"clsclip": __version__} | {name: found(name) for name in ("torch", "open_clip_torch", "numpy")},
    }


def found(package: str) -> str:
    """An installed package's version; "unknown" where it has no metadata."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
