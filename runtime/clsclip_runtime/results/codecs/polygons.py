"""Polygons of annotations to masks."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from clsclip_runtime._types import Doubles
from clsclip_runtime.errors import AnnotationError
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.coco_rle import decode_rle
from clsclip_runtime.results.codecs.values import doubles, flattened

_MOST_PIXELS = 1 << 21
"""Of an outline: whoever draws it needs some 50 bytes for each."""


def checked_points(value: object, size: tuple[int, int]) -> Doubles:
    """(n, 2) float64, x and y in pixels, of a polygon written as ``[x, y, x, y, ...]`` or ``[[x, y], ...]``.

    Args:
        value: it.
        size: (width, height) of the image.

    Raises:
        AnnotationError: it is no list of finite numbers, has an odd count or fewer than three points, reaches further
            out of the image than the image is large, or is too long to be drawn.
    """
    numbers = doubles(flattened(value), "a polygon")
    if len(numbers) % 2:
        raise AnnotationError(f"a polygon has an odd count of numbers, {len(numbers)}")
    if len(numbers) < 6:
        raise AnnotationError(f"a polygon has {len(numbers) // 2} points, and three are needed")
    points = numbers.reshape(-1, 2)
    if (points < -np.array(size)).any() or (points > 2 * np.array(size)).any():
        raise AnnotationError(f"a polygon reaches far out of the image of {size[0]}x{size[1]} pixels")
    length = np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum()
    if length > _MOST_PIXELS:
        raise AnnotationError(f"the outline of a polygon is {length:,.0f} pixels long, and at most {_MOST_PIXELS:,}")
    return points


def fill_polygons(polygons: Sequence[Doubles], size: tuple[int, int]) -> RleMask:
    """The pixels in any of some polygons, drawn as pycocotools draws them.

    Args:
        polygons: each as ``checked_points`` gives it.
        size: (width, height) of the image.
    """
    coco_mask: Any = import_module("pycocotools.mask")
    width, height = size
    drawn = [coco_mask.frPyObjects([one.reshape(-1).tolist()], height, width)[0] for one in polygons]
    return RleMask.joined(size, [decode_rle(one, size) for one in drawn])


def fill_with_line(polygons: Sequence[Doubles], size: tuple[int, int]) -> RleMask:
    """The pixels in any of some polygons and under their lines, whose points are pixels: as labelme draws its own.

    OpenCV's ``fillPoly``, and so ultralytics, draws level and upright lines alike, and slanted ones nearly so.

    Args:
        polygons: each as ``checked_points`` gives it.
        size: (width, height) of the image.
    """
    image = Image.new("L", size)
    draw = ImageDraw.Draw(image)
    for one in polygons:
        draw.polygon([(x, y) for x, y in one.tolist()], fill=1, outline=1)
    return RleMask.from_mask(np.asarray(image) > 0)
