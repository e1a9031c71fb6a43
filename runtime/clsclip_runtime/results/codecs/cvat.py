"""CVAT's masks: counts of pixels outside and inside in turns, along the rows of a box, then the box's corners."""

from __future__ import annotations

import numpy as np

from clsclip_runtime.errors import AnnotationError
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.values import wholes


def encode_cvat(mask: RleMask) -> list[int]:
    """A mask as ``points`` of a shape of type ``mask``: counts, then left, top, right, bottom, the last two within.

    An empty mask is one pixel of background.
    """
    if not mask.area:
        return [1, 0, 0, 0, 0]
    left, top, width, height = mask.box
    flips = mask.placed(-left, -top, (width, height)).row_flips()
    counts = np.diff(flips, prepend=0, append=width * height)
    return [*counts.tolist(), left, top, left + width - 1, top + height - 1]


def decode_cvat(points: object, size: tuple[int, int]) -> RleMask:
    """The mask of such ``points``.

    Args:
        points: see ``encode_cvat``; whole numbers may be written as floats.
        size: (width, height) of the image.

    Raises:
        AnnotationError: they are no mask, or one that leaves the image.
    """
    numbers = wholes(points, "points of a mask")
    if len(numbers) < 5:
        raise AnnotationError(f"points of a mask are counts and a box, and there are {len(numbers)} numbers")
    left, top, right, bottom = numbers[-4:].tolist()
    width, height = right - left + 1, bottom - top + 1
    if not (left <= right < size[0] and top <= bottom < size[1]):
        raise AnnotationError(f"the box of a mask leaves the image of {size[0]}x{size[1]} pixels")
    counts = numbers[:-4]
    if int(counts.max()) > width * height or int(counts.sum()) != width * height:
        raise AnnotationError(f"the counts of a mask do not cover its box of {width}x{height} pixels")
    return RleMask.from_flips((width, height), np.cumsum(counts)[:-1]).placed(left, top, size)
