"""How a picture moved since the one before: a field of shifts, found by comparing blocks at a small size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip_runtime._types import Doubles, Floats

_LONGEST = 96
"""Pixels of the longer side at which pictures are compared."""

_REACH = 6
"""Pixels at that size that a block may have moved: a sixteenth of the picture."""

_BLOCK = 8
_STAYS = 0.5
"""Gray levels by which another shift must fit better for each pixel of it: flat ground stays where it is."""


class Motion:
    """Compares each picture with the one before."""

    def __init__(self) -> None:
        """Begin without a picture."""
        self._before: Floats | None = None

    def __call__(self, image: npt.NDArray[np.uint8]) -> Doubles | None:
        """Where the things in a picture were in the one before.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (2, rows, columns): by how much of the picture's width and height the middle of each block lay to the right
            and below; None for the first picture, and after one of another shape.
        """
        now = _small(image)
        before, self._before = self._before, now
        if before is None or before.shape != now.shape:
            return None
        height, width = now.shape
        padded = np.pad(before, _REACH, mode="edge")
        best, found = np.full(_blocks(now).shape, np.inf), np.zeros((2, *_blocks(now).shape))
        for down in range(-_REACH, _REACH + 1):
            for across in range(-_REACH, _REACH + 1):
                top, left = _REACH + down, _REACH + across
                difference = np.abs(now - padded[top : top + height, left : left + width])
                cost = _blocks(difference) + _STAYS * np.hypot(down, across)
                better = cost < best
                best[better] = cost[better]
                found[0][better], found[1][better] = across / width, down / height
        return found


def carried(values: Floats, motion: Doubles) -> Floats:
    """Values (h, w) of a whole picture, moved to where their things are in the next.

    Args:
        values: at any size.
        motion: as ``Motion`` gives it for the next picture.
    """
    height, width = values.shape
    rows, columns = np.indices((height, width), np.float64)
    across, down = (_stretched(one, (height, width)) for one in motion)
    y, x = rows + down * height, columns + across * width
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    below, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    part_y, part_x = y - top, x - left
    upper = values[top, left] * (1 - part_x) + values[top, right] * part_x
    lower = values[below, left] * (1 - part_x) + values[below, right] * part_x
    moved: Floats = (upper * (1 - part_y) + lower * part_y).astype(np.float32)
    return moved


def _small(image: npt.NDArray[np.uint8]) -> Floats:
    """(h, w) gray."""
    height, width = image.shape[:2]
    scale = _LONGEST / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX), np.float32)


def _blocks(values: npt.NDArray[np.floating]) -> Doubles:
    """Means of blocks twice as wide as their distance, so that neighbors agree."""
    height, width = values.shape
    sums = np.pad(values.astype(np.float64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    low_y, high_y = _bounds(height)
    low_x, high_x = _bounds(width)
    area = (high_y - low_y)[:, None] * (high_x - low_x)
    total = (
        sums[high_y[:, None], high_x]
        - sums[low_y[:, None], high_x]
        - sums[high_y[:, None], low_x]
        + sums[low_y[:, None], low_x]
    )
    means: Doubles = total / area
    return means


def _bounds(length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    middles = np.arange(min(_BLOCK // 2, length // 2), max(length, 1), _BLOCK)
    return np.maximum(middles - _BLOCK, 0), np.minimum(middles + _BLOCK, length)


def _stretched(values: Doubles, size: tuple[int, int]) -> Doubles:
    """Values of blocks at every place of (height, width)."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR), np.float64)
