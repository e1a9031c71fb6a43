"""Stickers kept at several sizes, so that pasting one costs one small warp, and the noise that pictures get."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

Layer = npt.NDArray[np.float32]
"""(h, w, 4): color premultiplied by alpha, and alpha, all 0 to 255."""

LEAST_SIDE = 4
"""Smaller copies of a sticker are not kept."""


class Pyramid:
    """One sticker at its own size, a half, a quarter and so on, its color premultiplied by alpha."""

    def __init__(self, sticker: Image.Image) -> None:
        self.levels = [sticker.convert("RGBa")]
        while min(self.levels[-1].size) >= 2 * LEAST_SIDE:
            self.levels.append(self.levels[-1].reduce(2))

    def posed(self, longer: float, stretch: float, angle: float, flip: bool, squash: float) -> Layer:
        """The sticker as it stands in a picture.

        Args:
            longer: its longer side before anything else, pixels.
            stretch: how much wider it gets, and how much less tall.
            angle: by which it is turned, radians.
            flip: mirror it.
            squash: how much wider the whole picture gets, and how much less tall, after all that.

        Returns:
            what is visible fits exactly in the layer, but for the rounding of its sides.
        """
        level = next((one for one in reversed(self.levels) if max(one.size) >= longer), self.levels[0])
        scale = longer / max(level.size)
        across, down = scale * stretch * (-1 if flip else 1), scale / stretch
        cosine, sine = math.cos(angle), math.sin(angle)
        a, b = across * cosine * squash, -down * sine * squash
        c, d = across * sine / squash, down * cosine / squash
        wide, tall = level.size
        width = max(1, math.ceil(abs(a) * wide + abs(b) * tall))
        height = max(1, math.ceil(abs(c) * wide + abs(d) * tall))
        area = a * d - b * c
        a, b, c, d = d / area, -b / area, -c / area, a / area
        back = (a, b, (wide - a * width - b * height) / 2, c, d, (tall - c * width - d * height) / 2)
        turned = level.transform((width, height), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
        return np.asarray(turned, np.float32)


def recolored(layer: Layer, gains: npt.NDArray[np.float32], saturation: float, lift: float) -> Layer:
    """The layer in other light: channels times ``gains`` (3,), saturation, and ``lift`` added to what it covers."""
    color = layer[..., :3] * gains
    gray = color.mean(axis=-1, keepdims=True)
    color = gray + (color - gray) * saturation + lift * layer[..., 3:] / 255
    return np.concatenate([np.clip(color, 0, layer[..., 3:]), layer[..., 3:]], axis=-1)


@lru_cache(maxsize=1)
def noise_bank() -> npt.NDArray[np.float32]:
    """A million normal numbers, always the same: a picture's noise is a piece of them, since drawing costs more."""
    return np.random.default_rng(20).standard_normal(1 << 20).astype(np.float32)


def noise_of(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Normal numbers of a shape, from a random place of :func:`noise_bank`; a shape of more begins it again."""
    bank, count = noise_bank(), math.prod(shape)
    start = int(rng.integers(0, max(1, len(bank) - count + 1)))
    if count > len(bank):
        return np.resize(bank, shape)
    return bank[start : start + count].reshape(shape)
