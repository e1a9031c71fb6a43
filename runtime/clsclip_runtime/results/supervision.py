"""A result for those who use the ``supervision`` package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from clsclip_runtime.errors import OutputError

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result


def to_supervision(result: Result, parts: bool) -> Any:
    """See ``Result.to_supervision``."""
    try:
        supervision: Any = import_module("supervision")
    except ImportError as error:
        raise OutputError(f"this needs the package supervision ({error}). Run: pip install supervision") from error
    width, height = result.size
    found = result.objects(parts=parts)
    result.check_masks(len(found))
    masks = np.zeros((len(found), height, width), np.bool_)
    boxes = np.zeros((len(found), 4), np.float32)
    for at, one in enumerate(found):
        mask = one.rle()
        masks[at] = mask.mask()
        x, y, wide, high = mask.box
        boxes[at] = (x, y, x + wide, y + high)
    tracks = None if result.tracked is None else np.array([one.track_id for one in found], np.int64)
    return supervision.Detections(
        xyxy=boxes,
        mask=masks,
        confidence=np.array([one.score for one in found], np.float32),
        class_id=np.array([one.index for one in found], np.int64),
        tracker_id=tracks,
        data={"class_name": np.array([one.name for one in found], np.str_)},
    )
