"""From boxes to the windows of a picture that are cropped: margin, smallest side, and the picture's edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Floats
from clsclip_runtime.errors import OptionError
from clsclip_runtime.options import number_in
from clsclip_runtime.renamed import tells_new_names

Windows: TypeAlias = npt.NDArray[np.int64]

FALLBACKS = ("whole-image", "none")


@tells_new_names
@dataclass(frozen=True)
class ZoomIn:
    """How regions are segmented.

    Attributes:
        crop_margin: context around a box, as a share of its width and height, added on every side.
        mask_threshold: in boxes that their source names, the probability above which a pixel belongs to the class,
            for a model whose own threshold is 0.5: such a box says that the class is there, so a pixel near it is
            likelier than the model knows. 0.5 leaves the model's own threshold.
        mask_margin: how far the mask of such a box may reach beyond it, as a share of its width and height; None is as
            far as the crop. With ``mask_threshold=0.5, mask_margin=None`` masks are those of the paper.
        min_crop_size: crops are at least so many pixels wide and high, where the image is: a crop of a few pixels
            shows a blur and no thing.
        fallback: a class without a region is searched in the ``whole-image``, or has an empty mask: ``none``.
        boxes_as_masks: take the boxes themselves as masks and draw none (Table 6 of the paper).
        class_agnostic: forget what the boxes are called and search each for every class: for classes that a detector
            cannot know.
        confidence: the detector's boxes whose score is not above this are dropped; None is the detector's own bound.

    Raises:
        OptionError: a value makes no sense.
    """

    crop_margin: float = 0.1
    mask_threshold: float = 0.2
    mask_margin: float | None = 0.03
    min_crop_size: int = 16
    fallback: str = "whole-image"
    boxes_as_masks: bool = False
    class_agnostic: bool = False
    confidence: float | None = None

    def __post_init__(self) -> None:
        number_in("crop_margin", self.crop_margin, 0, 10)
        number_in("mask_threshold", self.mask_threshold, 0.0001, 0.9999)
        if self.mask_margin is not None:
            number_in("mask_margin", self.mask_margin, 0, 10)
        is_whole = isinstance(self.min_crop_size, (int, np.integer)) and not isinstance(self.min_crop_size, bool)
        if not is_whole or self.min_crop_size < 1:
            raise OptionError(f"min_crop_size must be a whole number of 1 or more, and it is {self.min_crop_size!r}")
        for name in ("boxes_as_masks", "class_agnostic"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} must be True or False, and it is {getattr(self, name)!r}")
        if self.confidence is not None:
            number_in("confidence", self.confidence, 0, 1)
        if self.fallback not in FALLBACKS:
            raise OptionError(f"fallback must be one of {', '.join(FALLBACKS)}, and it is {self.fallback!r}")


def crop_windows(boxes: Floats, size: tuple[int, int], zoom: ZoomIn) -> tuple[Windows, npt.NDArray[np.int64]]:
    """Make the window of every box that shows a part of the picture.

    Args:
        boxes: (N, 4) xyxy in pixels, any numbers.
        size: (width, height) of the picture.
        zoom: margin and smallest size of crops.

    Returns:
        windows (M, 4) int64 xyxy in whole pixels, never empty and inside the picture, and the (M,) positions of their
        boxes. Boxes that are not finite, are empty or lie outside the picture have none.
    """
    inside, index = _inside(boxes, size)
    limit = np.array(size, np.float64)
    extra = zoom.crop_margin * (inside[:, 2:] - inside[:, :2])
    low = np.floor(np.maximum(inside[:, :2] - extra, 0))
    high = np.ceil(np.minimum(inside[:, 2:] + extra, limit))
    smallest = np.minimum(float(zoom.min_crop_size), limit)
    lacking = np.maximum(smallest - (high - low), 0)
    low = np.clip(low - np.floor(lacking / 2), 0, None)
    low = np.minimum(low, np.where(lacking > 0, limit - smallest, low))
    high = np.where(lacking > 0, low + smallest, high)
    return np.concatenate([low, high], axis=1).astype(np.int64), index


def box_windows(boxes: Floats, size: tuple[int, int]) -> tuple[Windows, npt.NDArray[np.int64]]:
    """Return the pixels that boxes cover, corners rounded; boxes that round to nothing have none."""
    inside, index = _inside(boxes, size)
    whole: Windows = np.rint(inside).astype(np.int64)
    full = np.flatnonzero((whole[:, 2:] > whole[:, :2]).all(axis=1))
    return whole[full], index[full]


def _inside(boxes: Floats, size: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Boxes cut at the picture's edges, float64, and their positions; those of which nothing is left are gone."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    limit = np.array([*size, *size], np.float64)
    finite = np.asarray(np.isfinite(corners).all(axis=1), np.bool_)
    cut = np.clip(np.where(finite[:, None], corners, 0), 0, limit)
    kept = finite & (cut[:, 2:] > cut[:, :2]).all(axis=1)
    return cut[kept], np.flatnonzero(kept)


def mask_limits(boxes: Floats, windows: Windows, size: tuple[int, int], mask_margin: float) -> Windows:
    """Return where the masks of boxes may be: (M, 4) int64 xyxy, the boxes and ``mask_margin`` around them, inside
    their windows.

    Args:
        boxes: (M, 4) xyxy in pixels, each of which shows a part of the picture.
        windows: (M, 4), as ``crop_windows`` gives them.
        size: (width, height) of the picture.
        mask_margin: as a share of a box's width and height.
    """
    inside, _ = _inside(boxes, size)
    extra = mask_margin * (inside[:, 2:] - inside[:, :2])
    low = np.maximum(np.floor(inside[:, :2] - extra), windows[:, :2])
    high = np.minimum(np.ceil(inside[:, 2:] + extra), windows[:, 2:])
    return np.concatenate([low, high], axis=1).astype(np.int64)


def scale_window(window: Windows, size: tuple[int, int], new: tuple[int, int]) -> tuple[int, int, int, int]:
    """A window (4,) xyxy of a picture of size (width, height) in the same picture at size ``new``; never empty."""
    left, top, right, bottom = (int(value) for value in window)
    if size == new:
        return left, top, right, bottom
    low_x, low_y = left * new[0] // size[0], top * new[1] // size[1]
    high_x = max(low_x + 1, math.ceil(right * new[0] / size[0]))
    high_y = max(low_y + 1, math.ceil(bottom * new[1] / size[1]))
    return low_x, low_y, min(new[0], high_x), min(new[1], high_y)
