"""The mask of one annotated thing, kept as small as its file has it and drawn when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clsclip_runtime.errors import AnnotationError, ImageError
from clsclip_runtime.images import open_stored
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.brush import decode_brush
from clsclip_runtime.results.codecs.coco_rle import decode_rle
from clsclip_runtime.results.codecs.polygons import fill_polygons, fill_with_line

Size: TypeAlias = tuple[int, int]

_SURELY_VISIBLE = 32.0
"""Area in pixels from which a polygon within the image is surely drawn; some smaller ones cover no pixel at all."""


class Shape(Protocol):
    """A mask as an annotation tool wrote it."""

    def draw(self, size: Size) -> RleMask:
        """The mask in an image of ``size`` = (width, height). AnnotationError if it cannot be drawn."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Polygons:
    """The pixels in any of some polygons, each (n, 2) float64 as ``checked_points`` gives it.

    Attributes:
        parts: the polygons.
        with_line: their points are pixels, and the line belongs to the mask, as in labelme and YOLO; else they are
            places between pixels, as in COCO and Label Studio.
    """

    parts: tuple[NDArray[np.float64], ...]
    with_line: bool = False

    def draw(self, size: Size) -> RleMask:
        return fill_with_line(self.parts, size) if self.with_line else fill_polygons(self.parts, size)

    def surely_visible(self, size: Size) -> bool:
        """Whether it has a pixel, as far as that is known without drawing it."""
        for part in self.parts:
            if (part >= 0).all() and (part <= np.array(size)).all():
                x, y = part.T
                if abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2 >= _SURELY_VISIBLE:
                    return True
        return False


@dataclass(frozen=True, eq=False, slots=True)
class CocoRuns:
    """COCO's run-length encoding."""

    value: dict[str, Any]

    def draw(self, size: Size) -> RleMask:
        return decode_rle(self.value, size)


@dataclass(frozen=True, eq=False, slots=True)
class Brush:
    """Label Studio's brush."""

    content: bytes

    def draw(self, size: Size) -> RleMask:
        return decode_brush(self.content, size)


@dataclass(frozen=True, eq=False, slots=True)
class PastedMask:
    """A small picture with its corner at (left, top) of the image: every value above 0 is the thing."""

    content: bytes
    left: int
    top: int

    def draw(self, size: Size) -> RleMask:
        try:
            pixels = np.array(open_stored(self.content, max_pixels=size[0] * size[1]))
        except ImageError as error:
            raise AnnotationError(f"a mask that is a picture cannot be read: {error}") from error
        if pixels.ndim != 2:
            raise AnnotationError("a mask that is a picture has colors")
        height, width = pixels.shape
        if not (0 <= self.left <= size[0] - width and 0 <= self.top <= size[1] - height):
            raise AnnotationError(f"a mask of {width}x{height} pixels leaves its image of {size[0]}x{size[1]}")
        return RleMask.from_mask(pixels > 0).placed(self.left, self.top, size)


def rectangle(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    """The polygon of a box."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
