"""Fitting a picture into a detector's input, and boxes back into the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Floats

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
        shift = np.array([self.left, self.top] * 2, np.float64)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float64)
        limit = np.array([self.width, self.height] * 2, np.float64)
        inside: Floats = np.clip((boxes - shift) / scale, 0, limit).astype(np.float32)
        return inside


def letterbox(
    picture: npt.NDArray[np.uint8], size: tuple[int, int], *, place: str = "center"
) -> tuple[npt.NDArray[np.uint8], Placed]:
    """Fit a picture, keeping its shape, into a grey input.

    Args:
        picture: (H, W, 3) uint8.
        size: (height, width) of the input.
        place: "center" rounds the sides as ultralytics does and puts the picture in the middle; "top-left" cuts
            the sides to whole pixels and puts it in the corner, as YOLOX does.

    Returns:
        the input (height, width, 3) uint8, and where the picture lies in it.
    """
    height, width = picture.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    whole = round if place == "center" else int
    inner_width = min(size[1], max(1, whole(width * scale)))
    inner_height = min(size[0], max(1, whole(height * scale)))
    left, top = 0, 0
    if place == "center":
        left, top = (size[1] - inner_width) // 2, (size[0] - inner_height) // 2
    canvas = np.full((*size, 3), GREY, np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = _resize(picture, inner_width, inner_height)
    return canvas, Placed(inner_width / width, inner_height / height, left, top, width, height)


def _resize(picture: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Bilinear without smoothing, rounded to the nearest: OpenCV's ``INTER_LINEAR``, which YOLO is trained with.

    Pillow's ``resize`` smooths when it shrinks, and its ``transform`` cuts fractions off; both move boxes.
    """
    if picture.shape[:2] == (height, width):
        return picture
    low, high, share = _between(picture.shape[0], height)
    share = share[:, None, None]
    lines = picture[low] * (1 - share) + picture[high] * share
    low, high, share = _between(picture.shape[1], width)
    share = share[:, None]
    values = lines[:, low] * (1 - share) + lines[:, high] * share
    pixels: npt.NDArray[np.uint8] = (values + np.float32(0.5)).astype(np.uint8)
    return pixels


def _between(old: int, new: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """For every new pixel along a side, the old pixels before and after its centre, and the share of the latter."""
    at = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = at.astype(np.int64)
    return low, np.minimum(low + 1, old - 1), (at - low).astype(np.float32)
