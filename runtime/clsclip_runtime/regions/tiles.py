"""Overlapping tiles of an image: regions for things that are small, where no detector knows them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from clsclip_runtime._types import Integers

TILES = "tiles"
"""What ``regions`` and ``--regions`` call them."""


def tile_windows(size: tuple[int, int], scales: Sequence[int], overlap: float) -> Integers:
    """List the windows of all tiles, each scale's row by row.

    Args:
        size: (width, height) of the image in pixels.
        scales: for each scale how many tiles there are along either side. A side of fewer pixels has a tile a pixel.
        overlap: what neighbors share, as a share of a tile's side, 0 to below 1.

    Returns:
        (N, 4) int64 xyxy in whole pixels, never empty, inside the image, which the tiles of each scale cover.
    """
    width, height = size
    windows = [
        (left, top, right, bottom)
        for count in scales
        for top, bottom in _spans(height, count, overlap)
        for left, right in _spans(width, count, overlap)
    ]
    return np.array(windows, np.int64).reshape(-1, 4)


def _spans(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
    count = min(count, length)
    tile = length / (count - (count - 1) * overlap)
    starts = [at * tile * (1 - overlap) for at in range(count)]
    return [(math.floor(start), min(length, math.ceil(start + tile))) for start in starts]
