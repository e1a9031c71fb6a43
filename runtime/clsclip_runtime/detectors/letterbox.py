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
        scale_y: the same, vertically; unless the picture is stretched, the two differ by rounding only.
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

    def to_image(self, boxes: Floats) -> Floats:
        """Boxes (N, 4) xyxy from input pixels to picture pixels, cut at the picture's edges."""
        shift = np.array([self.left, self.top] * 2, np.float64)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float64)
        limit = np.array([self.width, self.height] * 2, np.float64)
        inside: Floats = np.clip((boxes - shift) / scale, 0, limit).astype(np.float32)
        return inside


def letterbox(
    image: npt.NDArray[np.uint8], size: tuple[int, int], *, place: str = "center"
) -> tuple[npt.NDArray[np.uint8], Placed]:
    """Fit a picture, keeping its shape, into a grey input.

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) of the input.
        place: "center" rounds the sides as ultralytics does and puts the picture in the middle; "top-left" cuts
            the sides to whole pixels and puts it in the corner, as YOLOX does; "stretch" fills the input, whatever the
            picture's shape, as RT-DETR does.

    Returns:
        the input (height, width, 3) uint8, and where the picture lies in it.
    """
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    whole = round if place == "center" else int
    inner_width = min(size[1], max(1, whole(width * scale)))
    inner_height = min(size[0], max(1, whole(height * scale)))
    if place == "stretch":
        inner_height, inner_width = size
    left, top = 0, 0
    if place == "center":
        left, top = (size[1] - inner_width) // 2, (size[0] - inner_height) // 2
    canvas = np.full((*size, 3), GREY, np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = _resize(image, inner_width, inner_height)
    return canvas, Placed(inner_width / width, inner_height / height, left, top, width, height)


def _resize(image: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Bilinear without smoothing: OpenCV's ``INTER_LINEAR`` of 8-bit pictures, which YOLO is trained with, to the bit.

    OpenCV computes with whole numbers: shares of 11 bits along rows, then along columns, where 4 bits are dropped
    before and 16 after each product. Pillow's ``resize`` smooths when it shrinks, and its ``transform`` cuts fractions
    off; both move boxes.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    left, right, shares = _between(columns, width)
    shares[:, (left < 0) | (right >= columns)] = np.array([[2048], [0]])  # of columns the first and last are held
    left, right = np.clip(left, 0, columns - 1), np.clip(right, 0, columns - 1)
    above, below, weights = _between(rows, height)
    above, below = np.clip(above, 0, rows - 1), np.clip(below, 0, rows - 1)
    shares, weights = shares[:, :, None], weights[:, :, None, None]

    def line(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        chosen = image[numbers]
        mixed: npt.NDArray[np.int32] = chosen[:, left] * shares[0] + chosen[:, right] * shares[1]
        return mixed >> 4

    mixed = ((line(above) * weights[0]) >> 16) + ((line(below) * weights[1]) >> 16)
    pixels: npt.NDArray[np.uint8] = ((mixed + 2) >> 2).astype(np.uint8)
    return pixels


def _between(old: int, new: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """For every new pixel along a side, the old pixels before and after its center, which may lie beyond the side,
    and their shares of 2048 (2, N).
    """
    at = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    low = np.floor(at).astype(np.int64)
    share = (at - low).astype(np.float32)
    return low, low + 1, np.rint(np.stack([1 - share, share]) * np.float32(2048)).astype(np.int32)
