"""Cluttered grounds for sticker pictures: procedural textures of many kinds, and scikit-image's photographs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip.photographs import photographs

Pixels = npt.NDArray[np.uint8]
Ground = tuple[Image.Image, ...]
"""A ground at its own size, a half, a quarter and so on."""

POOL_SIDE = 256
LEAST_SIDE = 16
"""Grounds are not kept smaller than this."""


def noise(rng: np.random.Generator) -> Pixels:
    """Smooth colour noise of a few octaves."""
    total = np.zeros((POOL_SIDE, POOL_SIDE, 3), np.float32)
    for cells in rng.choice([2, 4, 8, 16, 32, 64], size=3, replace=False):
        grain = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        scaled = Image.fromarray(grain).resize((POOL_SIDE, POOL_SIDE), Image.Resampling.BICUBIC)
        total += np.asarray(scaled, np.float32) / np.sqrt(cells)
    total -= total.min()
    return np.asarray(total / total.max() * 255, np.uint8)


def ramp(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(POOL_SIDE, POOL_SIDE), 0 to 1 along a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    along = np.linspace(-1, 1, POOL_SIDE)
    position = np.cos(angle) * along[None, :] + np.sin(angle) * along[:, None]
    return (position - position.min()) / (position.max() - position.min())


def gradient(rng: np.random.Generator) -> Pixels:
    """A linear blend of two colours in a random direction."""
    first, second = rng.integers(0, 256, (2, 3))
    return np.asarray(first + (second - first) * ramp(rng)[..., None], np.uint8)


def plain(rng: np.random.Generator) -> Pixels:
    """One colour, more often pale or dark than not, with hardly any grain."""
    colour = rng.choice([rng.integers(0, 256, 3), rng.integers(200, 256, 3), rng.integers(0, 60, 3)])
    grain = rng.normal(0, rng.uniform(0, 4), (POOL_SIDE, POOL_SIDE, 1))
    return np.clip(colour + grain, 0, 255).astype(np.uint8)


def stripes(rng: np.random.Generator) -> Pixels:
    """Two-coloured stripes or a chequered board."""
    period = int(rng.integers(8, 64))
    line = (np.arange(POOL_SIDE) // period) % 2
    board = np.broadcast_to(line, (POOL_SIDE, POOL_SIDE))
    if rng.random() < 0.5:
        board = board ^ line[:, None]
    colours = rng.integers(0, 256, (2, 3)).astype(np.uint8)
    pattern = Image.fromarray(colours[board]).rotate(float(rng.uniform(0, 180)), Image.Resampling.BICUBIC)
    return np.asarray(pattern)


def shapes(rng: np.random.Generator) -> Pixels:
    """Overlapping plain discs and boxes on a gradient: clutter without a name."""
    canvas = gradient(rng).copy()
    rows, columns = np.mgrid[:POOL_SIDE, :POOL_SIDE]
    for _ in range(int(rng.integers(6, 30))):
        x, y = rng.integers(0, POOL_SIDE, 2)
        half_width, half_height = rng.integers(4, 48, 2)
        inside = (np.abs(columns - x) / half_width, np.abs(rows - y) / half_height)
        region = inside[0] ** 2 + inside[1] ** 2 < 1 if rng.random() < 0.5 else np.maximum(*inside) < 1
        canvas[region] = rng.integers(0, 256, 3)
    return canvas


def patches(rng: np.random.Generator) -> Pixels:
    """Noise cut into a few plain colours: camouflage, maps, splashes of paint."""
    levels = np.sort(rng.uniform(0, 255, int(rng.integers(2, 6))))
    colours = rng.integers(0, 256, (len(levels) + 1, 3)).astype(np.uint8)
    return colours[np.searchsorted(levels, noise(rng)[..., 0])]


def rings(rng: np.random.Generator) -> Pixels:
    """Waves around one or two centres."""
    rows, columns = np.mgrid[:POOL_SIDE, :POOL_SIDE]
    total = np.zeros((POOL_SIDE, POOL_SIDE))
    for _ in range(int(rng.integers(1, 3))):
        y, x = rng.uniform(-0.5, 1.5, 2) * POOL_SIDE
        total += np.sin(np.hypot(rows - y, columns - x) / rng.uniform(2, 20))
    first, second = rng.integers(0, 256, (2, 3))
    share = (total - total.min()) / (total.max() - total.min())
    return np.asarray(first + (second - first) * share[..., None], np.uint8)


def fractal(rng: np.random.Generator) -> Pixels:
    """Noise whose detail falls off as that of photographs does, its colours more or less tied together."""
    frequency = np.hypot(np.fft.fftfreq(POOL_SIDE)[:, None], np.fft.rfftfreq(POOL_SIDE)[None, :])
    frequency[0, 0] = 1
    grain = rng.normal(0, 1, (3, POOL_SIDE, POOL_SIDE))
    grain = grain * (tied := rng.uniform(0, 1)) + grain[:1] * (1 - tied)
    shaped = np.fft.irfft2(np.fft.rfft2(grain) / frequency ** rng.uniform(0.6, 1.8), (POOL_SIDE, POOL_SIDE))
    shaped = (shaped - shaped.mean()) / shaped.std()
    return np.clip(rng.uniform(60, 200, 3) + shaped.transpose(1, 2, 0) * rng.uniform(20, 70), 0, 255).astype(np.uint8)


def writing(rng: np.random.Generator) -> Pixels:
    """Lines of small dark bars on paper, as print looks from afar."""
    canvas = gradient(rng).copy()
    ink, tall = rng.integers(0, 256, 3), int(rng.integers(3, 14))
    for top in range(0, POOL_SIDE, 2 * tall):
        left = int(rng.integers(0, 20))
        while left < POOL_SIDE:
            wide = int(rng.integers(1, 3 * tall))
            canvas[top : top + tall, left : left + wide] = ink
            left += wide + int(rng.integers(1, tall + 2))
    return canvas


def blended(rng: np.random.Generator) -> Pixels:
    """Two grounds of other kinds, one seen where the noise of a third is high."""
    first, second = (MAKERS[int(rng.integers(len(MAKERS) - 1))](rng).astype(np.float32) for _ in range(2))
    share = np.clip((noise(rng)[..., :1].astype(np.float32) - 128) * rng.uniform(0.01, 0.2) + 0.5, 0, 1)
    return np.asarray(first + (second - first) * share, np.uint8)


MAKERS = (noise, gradient, stripes, shapes, plain, patches, rings, fractal, writing, blended)


@lru_cache(maxsize=8)
def ground_pool(seed: int, count: int) -> tuple[Ground, ...]:
    """``count`` grounds of at least 256 x 256 px, a quarter of them photographs where there are any."""
    rng = np.random.default_rng([seed, 1])
    photos = photographs()
    pool = [MAKERS[index % len(MAKERS)](rng) for index in range(count - count // 4)]
    pool += [photos[index % len(photos)] if photos else noise(rng) for index in range(count // 4)]
    return tuple(halves(Image.fromarray(pixels)) for pixels in pool)


def halves(image: Image.Image) -> Ground:
    """The picture, and its halves."""
    levels = [image]
    while min(levels[-1].size) >= 2 * LEAST_SIDE:
        levels.append(levels[-1].reduce(2))
    return tuple(levels)


def crop_ground(
    rng: np.random.Generator, pool: tuple[Ground, ...], side: int, squash: float = 1.0
) -> npt.NDArray[np.float32]:
    """A random window of a random ground as (side, side, 3), 0 to 255, flipped and tinted.

    Args:
        rng: draws the window.
        pool: see :func:`ground_pool`.
        side: of the picture, pixels.
        squash: how much wider, and less tall, the ground gets; its window's sides differ the other way.
    """
    ground = pool[int(rng.integers(len(pool)))]
    full = ground[0]
    window = float(np.exp(rng.uniform(np.log(48), np.log(min(full.size)))))
    # No side is cut longer than the ground is: the window shrinks and keeps its shape.
    fit = min(1.0, full.width / (window / squash), full.height / (window * squash))
    width, height = window / squash * fit, window * squash * fit
    left, top = rng.random() * max(0.0, full.width - width), rng.random() * max(0.0, full.height - height)
    level = next((one for one in reversed(ground) if one.width * min(width, height) >= full.width * side), full)
    scale = level.width / full.width
    box = (left * scale, top * scale, (left + width) * scale, (top + height) * scale)
    data = (box[0], box[1], box[0], box[3], box[2], box[3], box[2], box[1])
    if rng.random() < 0.5:
        data = (*data[6:], *data[4:6], *data[2:4], *data[:2])
    cut = level.transform((side, side), Image.Transform.QUAD, data, Image.Resampling.BILINEAR)
    contrast, shift = np.float32(rng.uniform(0.5, 1.1)), rng.uniform(-40, 40, 3).astype(np.float32)
    return np.clip((np.asarray(cut, np.float32) - 128) * contrast + 128 + shift, 0, 255)
