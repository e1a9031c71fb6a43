"""Names on the things themselves: where each is written, so that it lies on its thing and on no other name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from clsclip_runtime._types import Bools
from clsclip_runtime.results.fonts import Font, font_for

if TYPE_CHECKING:
    from clsclip_runtime.results.instance import Instance
    from clsclip_runtime.results.result import Result

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]

_MOST_LABELS = 40
_MOST_LETTERS = 24
_GRID = 96
"""Longest side of the mask that a name's place is looked for in, pixels."""
_SMALL_PART = 0.1
"""Parts of less than this share of their class's largest one have no name of their own."""


@dataclass(frozen=True)
class Label:
    """A name, and where its thing is in the drawn image, in pixels: the middle of its mask, and its box."""

    text: str
    middle: tuple[float, float]
    box: Box
    color: Color


def labels_of(result: Result, shown: Sequence[int], colors: Sequence[Color], size: tuple[int, int]) -> list[Label]:
    """A label for each region, track and connected part that is large enough, the largest things first.

    Args:
        result: it.
        shown: positions of the classes that are drawn.
        colors: of each class.
        size: (width, height) of the drawn image, pixels.
    """
    named = result.tracked is not None
    things = [one for one in (result.tracked if result.tracked is not None else result.parts) if one.index in shown]
    largest: dict[int, int] = {}
    for one in things:
        largest[one.index] = max(largest.get(one.index, 0), one.rle().area)
    things = [one for one in things if one.rle().area >= _SMALL_PART * largest[one.index]]
    things.sort(key=lambda one: -one.rle().area)
    return [
        Label(_text(one, named), _middle(one, result.size, size), _box(one, result.size, size), colors[one.index])
        for one in things[:_MOST_LABELS]
    ]


def draw_labels(image: Image.Image, labels: Sequence[Label], size: int) -> None:
    """Write the labels into an image. One that would cover another moves up or down, or is left out.

    Args:
        image: RGB; changed.
        labels: those that come first win.
        size: of letters, pixels.
    """
    draw, taken = ImageDraw.Draw(image), list[Box]()
    for label in labels:
        font = font_for(label.text, size)
        width, height = font.getlength(label.text) + 8, size + 7
        left = min(max(label.middle[0] - width / 2, 0), max(0, image.width - width))
        for top in _tops(label, width, height):
            top = min(max(top, 0), max(0, image.height - height))
            box = (left, top, left + width, top + height)
            if not any(_meet(box, other) for other in taken):
                taken.append(box)
                _write(draw, label, box, font)
                break


def _tops(label: Label, width: float, height: float) -> tuple[float, ...]:
    """Where the upper edge of a name may be, best first: on its thing, or beside one that it would cover."""
    middle = label.middle[1] - height / 2
    above, below = label.box[1] - height - 2, label.box[3] + 2
    if label.box[2] - label.box[0] < 1.5 * width or label.box[3] - label.box[1] < 3 * height:
        return (above, below, middle) if above >= 0 else (below, above, middle)
    return (middle, middle - height, middle + height, middle - 2 * height, middle + 2 * height)


def _write(draw: ImageDraw.ImageDraw, label: Label, box: Box, font: Font) -> None:
    # Dark letters on light colors, light ones on dark: the share of each color in what the eye takes for brightness.
    bright = sum(part * channel for part, channel in zip((0.299, 0.587, 0.114), label.color, strict=True)) > 120
    draw.rounded_rectangle(box, 3, fill=label.color, outline=(255, 255, 255))
    draw.text((box[0] + 4, box[1] + 1), label.text, fill=(0, 0, 0) if bright else (255, 255, 255), font=font)


def _text(one: Instance, numbered: bool) -> str:
    name = one.name if len(one.name) <= _MOST_LETTERS else one.name[: _MOST_LETTERS - 3] + "..."
    return f"{name} {one.track_id}" if numbered and one.track_id is not None else name


def _middle(one: Instance, full: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    """The pixel of a thing that is farthest from its edge, in the drawn image."""
    scale = min(1.0, _GRID / max(size))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    mask = one.rle().resized(small).mask()
    if not mask.any():  # thinner than a pixel there
        left, top, right, bottom = _box(one, full, size)
        return (left + right) / 2, (top + bottom) / 2
    y, x = _deepest(mask)
    return (x + 0.5) * size[0] / small[0], (y + 0.5) * size[1] / small[1]


def _box(one: Instance, full: tuple[int, int], size: tuple[int, int]) -> Box:
    """The box of a thing's pixels in the drawn image: left, top, right, bottom."""
    x, y, wide, high = one.rle().box
    across, down = size[0] / full[0], size[1] / full[1]
    return x * across, y * down, (x + wide) * across, (y + high) * down


def _deepest(mask: Bools) -> tuple[int, int]:
    """(row, column) of the pixel that is left longest when a mask is peeled; the middle one of several."""
    while True:
        wide = np.pad(mask, 1)
        inner = mask & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
        if not inner.any():
            break
        mask = inner
    rows, columns = np.nonzero(mask)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return int(rows[nearest]), int(columns[nearest])


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
