"""Fitting a picture into a detector's input, and boxes back into the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats: TypeAlias = npt.NDArray[np.float32]

GREY = 114
"""Value of the border, as YOLO is trained with."""


@dataclass(frozen=True)
class Placed:
    """Where a picture lies in a detector's input.

    Attributes:
        scale_x: input pixels per picture pixel, horizontally.
        scale_y: the same, vertically; the two differ by rounding only.
        left: border on the left, input pixels.
        top: border at the top, input pixels.
        width: the picture's, pixels.
        height: the picture's, pixels.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int
    width: int
    height: int

    def to_picture(self, boxes: Floats) -> Floats:
        """Boxes (N, 4) xyxy from input pixels to picture pixels, cut at the picture's edges."""
        shift = np.array([self.left, self.top] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        moved = (boxes - shift) / scale
        limit = np.array([self.width, self.height] * 2, np.float32)
        inside: Floats = np.clip(moved, np.float32(0), limit).astype(np.float32)
        return inside


def letterbox(picture: npt.NDArray[np.uint8], size: tuple[int, int]) -> tuple[Floats, Placed]:
    """Fit a picture, keeping its shape, into the middle of a grey input.

    Args:
        picture: (H, W, 3) uint8 RGB.
        size: (height, width) of the input.

    Returns:
        the input (1, 3, height, width) float32 in 0..1, and where the picture lies in it.
    """
    height, width = picture.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner_width = min(size[1], max(1, round(width * scale)))
    inner_height = min(size[0], max(1, round(height * scale)))
    left, top = (size[1] - inner_width) // 2, (size[0] - inner_height) // 2
    image = Image.fromarray(picture)
    if (inner_width, inner_height) != (width, height):
        image = image.resize((inner_width, inner_height), Image.Resampling.BILINEAR)
    canvas = np.full((*size, 3), GREY, np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = np.asarray(image)
    values = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    return values, Placed(inner_width / width, inner_height / height, left, top, width, height)
