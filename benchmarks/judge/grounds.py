"""Grounds of eight kinds, none of them the training's: made anew for every picture, at its own size.

Only sums, products, quotients, roots and comparisons of float64 are used, which every machine rounds alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.dice import Dice

Plane = NDArray[np.float64]
Canvas = NDArray[np.float64]


def steps(values: Plane) -> Plane:
    """0 to 1 smoothly, where values go from 0 to 1."""
    clipped = np.clip(values, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def wave(values: Plane) -> Plane:
    """A triangle wave of period 1 between 0 and 1."""
    part = values - np.floor(values)
    return 1 - np.abs(2 * part - 1)


def smooth_noise(dice: Dice, height: int, width: int, cell: float) -> Plane:
    """Random values 0 to 1 at the corners of square cells, joined smoothly: (height, width)."""
    corners = dice.many(int(height / cell) + 2, int(width / cell) + 2)
    y, x = np.arange(height) / cell, np.arange(width) / cell
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, right = steps(y - top)[:, None], steps(x - left)[None, :]
    upper = corners[top][:, left] * (1 - right) + corners[top][:, left + 1] * right
    lower = corners[top + 1][:, left] * (1 - right) + corners[top + 1][:, left + 1] * right
    return upper * (1 - down) + lower * down


def turned(dice: Dice, height: int, width: int) -> tuple[Plane, Plane]:
    """Coordinates in pixels along two axes at right angles, in a random direction."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    # A point on the circle without sine and cosine: machines round those differently.
    slope = dice.uniform(-1, 1)
    scale = 1 + slope * slope
    cosine, sine = (1 - slope * slope) / scale, 2 * slope / scale
    return x * cosine + y * sine, y * cosine - x * sine


def blend(share: Plane, first: Plane, second: Plane) -> Canvas:
    """Two colors (3,) or canvases (H, W, 3) mixed by a share (H, W) of the second."""
    return first + (second - first) * share[..., None]


def cells(dice: Dice, height: int, width: int) -> Canvas:
    """Leaded glass: the cells nearest to random points, each with its color, parted by dark lines."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    nearest, second = np.full((height, width), np.inf), np.full((height, width), np.inf)
    owner = np.zeros((height, width), np.int64)
    count = dice.integer(8, 50)
    for number, (row, column) in enumerate(dice.many(count, 2)):
        distance = np.sqrt((y - row * height) ** 2 + (x - column * width) ** 2)
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        nearest = np.where(closer, distance, nearest)
        owner[closer] = number
    colors = np.stack([dice.color() for _ in range(count)])
    lead = steps((second - nearest) / dice.uniform(2, 8))
    return blend(lead, dice.color() * 0.4, colors[owner])


def marble(dice: Dice, height: int, width: int) -> Canvas:
    """Veins: stripes bent by noise of several sizes."""
    along, _ = turned(dice, height, width)
    bend = sum(smooth_noise(dice, height, width, cell) * cell for cell in (120.0, 50.0, 20.0, 8.0))
    veins = wave((along + bend * dice.uniform(0.5, 2.5)) / dice.uniform(25, 120))
    return blend(veins * veins, dice.color(), dice.color())


def bricks(dice: Dice, height: int, width: int) -> Canvas:
    """A wall: rows of bricks, each of its own shade, with mortar between."""
    along, across = turned(dice, height, width) if dice.chance(0.3) else np.mgrid[:height, :width][::-1] * 1.0
    tall = dice.uniform(14, 50)
    long = tall * dice.uniform(1.2, 3)
    row = np.floor(across / tall)
    place = along / long + 0.5 * (row - 2 * np.floor(row / 2))
    column = np.floor(place)
    shades = dice.many(97)[((row * 31 + column * 17) % 97).astype(np.int64)]
    joint = dice.uniform(0.04, 0.12)
    inside = np.minimum(np.minimum(across / tall - row, row + 1 - across / tall), (place - column) * long / tall)
    face = blend(shades, dice.color(), dice.color()) + (smooth_noise(dice, height, width, 3.0)[..., None] - 0.5) * 30
    return blend(steps(inside / joint - 0.5), dice.color(), face)


def wood(dice: Dice, height: int, width: int) -> Canvas:
    """A plank: rings around a far center, and fine grain along it."""
    along, across = turned(dice, height, width)
    along, across = along - dice.uniform(-2, 2) * width, across - dice.uniform(-0.5, 1.5) * height
    rings = np.sqrt((along * 0.15) ** 2 + across**2) + 14 * smooth_noise(dice, height, width, 60.0)
    grain = smooth_noise(dice, height, width, 2.0) * 0.25
    return blend(wave(rings / dice.uniform(8, 40)) * 0.75 + grain, dice.color(), dice.color())


def plaid(dice: Dice, height: int, width: int) -> Canvas:
    """A woven check: bands of color along both axes, seen through each other."""
    along, across = turned(dice, height, width)
    period = dice.uniform(30, 150)
    canvas = np.zeros((height, width, 3)) + dice.color()
    for axis in (along, across):
        for _ in range(dice.integer(2, 4)):
            place = axis / period + dice.uniform(0, 1)
            band = wave(place) > dice.uniform(0.4, 0.95)
            canvas = blend(band * dice.uniform(0.2, 0.7), canvas, dice.color())
    threads = wave(along / 4.0) * wave(across / 4.0)
    return canvas * (0.85 + 0.3 * threads[..., None])


def hills(dice: Dice, height: int, width: int) -> Canvas:
    """A landscape of nothing: a sky, and rough ridges one before the other."""
    y = np.arange(height, dtype=np.float64)[:, None] / height
    canvas = blend(np.broadcast_to(y, (height, width)), dice.color(), dice.color())
    for level in range(dice.integer(2, 6)):
        rough = sum(smooth_noise(dice, 1, width, cell)[0] * cell for cell in (150.0, 60.0, 20.0, 6.0)) / height
        ridge = 0.15 + 0.14 * level + dice.uniform(0, 0.15) + (rough - 0.2) * dice.uniform(0.2, 0.8)
        shade = smooth_noise(dice, height, width, dice.uniform(3, 40))
        face = blend(shade, dice.color(), dice.color())
        canvas = np.where((y > ridge[None, :])[..., None], face, canvas)
    return canvas


def scribble(dice: Dice, height: int, width: int) -> Canvas:
    """Strokes of many colors and widths across paper."""
    canvas = blend(smooth_noise(dice, height, width, 80.0), dice.color(), dice.color())
    y, x = np.mgrid[:height, :width].astype(np.float64)
    for _ in range(dice.integer(10, 35)):
        top, left, down, right = dice.many(4) * (height, width, height * 0.5, width * 0.5)
        down, right = down - height * 0.25, right - width * 0.25
        share = np.clip(((y - top) * down + (x - left) * right) / (down * down + right * right + 1), 0, 1)
        distance = np.sqrt((y - top - share * down) ** 2 + (x - left - share * right) ** 2)
        canvas = blend(1 - steps((distance - dice.uniform(0.5, 9)) / 1.5), canvas, dice.color())
    return canvas


def dots(dice: Dice, height: int, width: int) -> Canvas:
    """Printed cloth: spots and rings on a slanted lattice, some of them left out."""
    along, across = turned(dice, height, width)
    pitch = dice.uniform(14, 70)
    row, column = np.floor(across / pitch), np.floor(along / pitch)
    distance = np.sqrt((across / pitch - row - 0.5) ** 2 + (along / pitch - column - 0.5) ** 2)
    number = ((row * 13 + column * 29) % 89).astype(np.int64)
    size = (0.15 + 0.3 * dice.many(89))[number]
    colors = np.stack([dice.color() for _ in range(89)])[number // dice.integer(1, 89)]
    ring = dice.uniform(0.0, 0.2) * dice.chance(0.5)
    spot = steps((size - distance) * 8) * steps((distance - ring) * 8)
    return blend(spot, dice.color(), colors)


KINDS: tuple[Callable[[Dice, int, int], Canvas], ...] = (cells, marble, bricks, wood, plaid, hills, scribble, dots)


def ground(dice: Dice, height: int, width: int) -> Canvas:
    """A ground of a random kind, (height, width, 3) float64, 0 to 255, its contrast kept or lowered."""
    canvas = np.clip(dice.one_of(KINDS)(dice, height, width), 0, 255)
    # Whole numbers add up to the same sum in any order; machines differ in the order.
    middle = np.floor(canvas).astype(np.int64).sum(axis=(0, 1)) / (height * width)
    return middle + (canvas - middle) * dice.uniform(0.35, 1.0)
