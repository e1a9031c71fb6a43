"""Edges of the image for logits that are too coarse for them: a guided filter in color.

He, Sun and Tang, "Guided Image Filtering" (TPAMI 2013), equations 14 to 19: in every window of the guide the output is
the plane ``a . color + b`` that is nearest to the input, with ``epsilon`` against steep planes; windows that overlap
are averaged. So the output follows the input where the image is smooth, and the image where it has an edge. Planes are
found at half the guide's size and stretched ("Fast Guided Filter", arXiv 1505.00996). The work grows with the pixels of
the guide, not with the radius. All is float64, in an order that other languages can repeat.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip_runtime._types import Doubles, Floats, Integers
from clsclip_runtime.masks.upsampling import bilinear, grid

RADIUS = 16
"""Of the windows, in pixels of the guide."""

EPSILON = 1e-3
"""Least variance of a color (0..1) that counts as an edge."""


class GuidedFilter:
    """Filters many maps by one image. The image's own part is worked out once."""

    def __init__(self, image: Image.Image, size: tuple[int, int]) -> None:
        """Prepare for an image in mode RGB, whose guide has ``size`` = (width, height)."""
        self.size = size
        self.coarse_size: tuple[int, int] = (_half(size[0]), _half(size[1]))
        """(width, height) of the maps that are filtered: half the guide's, rounded up."""
        self._fine = _colors(image, size)
        self._colors = _colors(image, self.coarse_size)
        self._window = _Window(self.coarse_size, max(1, RADIUS // 2))
        self._mean = self._window.mean(self._colors)
        self._inverse = _inverse(self._covariance(), EPSILON)
        self._rows, self._columns = grid(self.coarse_size[1], size[1]), grid(self.coarse_size[0], size[0])

    def __call__(self, values: npt.NDArray[np.floating]) -> Floats:
        """Filter ``values`` of ``coarse_size``: float32 (height, width) of the guide's size."""
        planes = self._planes(np.asarray(values, np.float64))
        red, green, blue, offset = (bilinear(plane, self._rows, self._columns) for plane in planes)
        result: Floats = (red * self._fine[0] + green * self._fine[1] + blue * self._fine[2] + offset).astype(
            np.float32
        )
        return result

    def _planes(self, values: Doubles) -> Doubles:
        """(4, height, width): for every pixel the mean plane of the windows that hold it, slopes and offset."""
        mean = self._window.mean(values)
        together = self._window.mean(self._colors * values) - self._mean * mean
        planes = np.empty((4, *values.shape))
        for row, (one, two, three) in enumerate(((0, 1, 2), (1, 3, 4), (2, 4, 5))):
            parts = (self._inverse[at] * together[color] for color, at in enumerate((one, two, three)))
            planes[row] = next(parts) + next(parts) + next(parts)
        planes[3] = mean - planes[0] * self._mean[0] - planes[1] * self._mean[1] - planes[2] * self._mean[2]
        return self._window.mean(planes)

    def _covariance(self) -> Doubles:
        """(6, height, width): red with red, green and blue, green with green and blue, blue with blue."""
        pairs, colors, mean = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)), self._colors, self._mean
        found = [self._window.mean(colors[one] * colors[two]) - mean[one] * mean[two] for one, two in pairs]
        return np.stack(found)


class _Window:
    """Means over squares of ``2 * radius + 1`` pixels, cut at the edges."""

    def __init__(self, size: tuple[int, int], radius: int) -> None:
        self._across, self._down = _bounds(size[0], radius), _bounds(size[1], radius)

    def mean(self, values: Doubles) -> Doubles:
        """Of values (..., height, width)."""
        low, high, count = self._down
        sums = np.zeros((*values.shape[:-2], values.shape[-2] + 1, values.shape[-1]))
        np.cumsum(values, axis=-2, out=sums[..., 1:, :])
        columns = (sums[..., high, :] - sums[..., low, :]) / count[:, None]
        low, high, count = self._across
        sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
        np.cumsum(columns, axis=-1, out=sums[..., 1:])
        means: Doubles = (sums[..., high] - sums[..., low]) / count
        return means


def _bounds(length: int, radius: int) -> tuple[Integers, Integers, Doubles]:
    """Of every place its window's first pixel, the one behind its last, and how many there are."""
    places = np.arange(length)
    low, high = np.maximum(places - radius, 0), np.minimum(places + radius + 1, length)
    return low, high, (high - low).astype(np.float64)


def _inverse(covariance: Doubles, epsilon: float) -> Doubles:
    """Of symmetric matrices (6, ...) with ``epsilon`` added to their diagonals, in the same form."""
    rr, rg, rb, gg, gb, bb = covariance
    rr, gg, bb = rr + epsilon, gg + epsilon, bb + epsilon
    first, second, third = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    determinant = rr * first + rg * second + rb * third
    parts = (first, second, third, rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg)
    inverse: Doubles = np.stack(parts) / determinant
    return inverse


def _half(side: int) -> int:
    return (side + 1) // 2


def _colors(image: Image.Image, size: tuple[int, int]) -> Doubles:
    """(3, height, width) in 0..1."""
    resized = image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
    return np.moveaxis(np.asarray(resized, np.float64), 2, 0) / 255
