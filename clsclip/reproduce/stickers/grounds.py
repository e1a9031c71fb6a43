"""Cluttered grounds for sticker pictures: procedural textures, gradients, and scikit-image's photographs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip.photographs import photographs

Pixels = npt.NDArray[np.uint8]

POOL_SIDE = 256


def noise(rng: np.random.Generator) -> Pixels:
    """Smooth colour noise of a few octaves."""
    total = np.zeros((POOL_SIDE, POOL_SIDE, 3), np.float32)
    for cells in rng.choice([2, 4, 8, 16, 32, 64], size=3, replace=False):
        grain = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        scaled = Image.fromarray(grain).resize((POOL_SIDE, POOL_SIDE), Image.Resampling.BICUBIC)
        total += np.asarray(scaled, np.float32) / np.sqrt(cells)
    total -= total.min()
    return np.asarray(total / total.max() * 255, np.uint8)


def gradient(rng: np.random.Generator) -> Pixels:
    """A linear blend of two colours in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-1, 1, POOL_SIDE)
    position = np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None]
    position = (position - position.min()) / (position.max() - position.min())
    first, second = rng.integers(0, 256, (2, 3))
    return np.asarray(first + (second - first) * position[..., None], np.uint8)


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


def ground_pool(rng: np.random.Generator, count: int) -> list[Pixels]:
    """``count`` grounds of at least 256 x 256 uint8 RGB, a quarter of them photographs where there are any."""
    makers = (noise, gradient, stripes, shapes)
    photos = photographs()
    pool = [makers[index % len(makers)](rng) for index in range(count - count // 4)]
    pool += [photos[index % len(photos)] if photos else noise(rng) for index in range(count // 4)]
    return pool


def crop_ground(rng: np.random.Generator, pool: list[Pixels], side: int) -> Pixels:
    """A random window of a random ground, resized to (side, side, 3), flipped and tinted."""
    ground = pool[int(rng.integers(len(pool)))]
    window = int(rng.integers(64, min(ground.shape[:2]) + 1))
    top = int(rng.integers(0, ground.shape[0] - window + 1))
    left = int(rng.integers(0, ground.shape[1] - window + 1))
    picture = Image.fromarray(ground[top : top + window, left : left + window])
    pixels = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    contrast, shift = rng.uniform(0.5, 1.1), rng.uniform(-40, 40, 3)
    return np.clip((pixels - 128) * contrast + 128 + shift, 0, 255).astype(np.uint8)
