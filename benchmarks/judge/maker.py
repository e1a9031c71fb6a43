"""Picture ``seed``: drawings on a ground, with a mask for each. The same bytes on every machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.art import Gallery, Layer
from benchmarks.judge.dice import Dice
from benchmarks.judge.grounds import Canvas, ground, smooth_noise
from clsclip.reproduce.stickers.vocabulary import nouns

SIDES = (240, 520)
"""Smallest and largest height and width, pixels; each is drawn apart, and they always differ."""

SIZES = (0.08, 0.55)
"""Smallest and largest longer side of a thing, as a share of the picture's shorter side."""

THINGS = (1, 7)
VISIBLE = 0.5
"""A thing counts as shown while at least this share of its own pixels is seen; one that would be less is not pasted."""

LEAST_PIXELS = 16
TRIES = 12

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Shown:
    """One thing in a picture: its noun's index, its style, the box (xyxy) and mask (H, W) of its visible pixels."""

    noun: int
    style: str
    box: tuple[int, int, int, int]
    mask: Flags


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture, (H, W, 3) uint8 RGB, and what it shows, from the back to the front."""

    seed: int
    pixels: NDArray[np.uint8]
    things: tuple[Shown, ...]

    def mask(self, noun: int) -> Flags:
        """(H, W) bool: the pixels of every thing of this noun."""
        found = np.zeros(self.pixels.shape[:2], np.bool_)
        for thing in self.things:
            if thing.noun == noun:
                found |= thing.mask
        return found

    def digest(self) -> str:
        """Eight bytes of the SHA-256 of pixels, nouns and masks."""
        hashed = hashlib.sha256(self.pixels.tobytes())
        for thing in self.things:
            hashed.update(f"{thing.noun} {thing.style} {thing.box}".encode() + np.packbits(thing.mask).tobytes())
        return hashed.hexdigest()[:16]


class Maker:
    """Makes scenes out of the drawings of some styles.

    Args:
        root: the ``node_modules`` folder with the packages.
        styles: keys of :data:`benchmarks.judge.art.FOLDERS`.
        sides: smallest and largest height and width, pixels.
    """

    def __init__(
        self, root: Path, styles: tuple[str, ...] = ("noto", "fluent"), sides: tuple[int, int] = SIDES
    ) -> None:
        self.gallery, self.sides = Gallery(root, styles), sides
        self.drawings: list[tuple[int, str, Path]] = []
        self._of_noun: list[list[tuple[str, list[Path]]]] = []
        for noun in nouns():
            found = [(style, self.gallery.drawings(style, noun.emoji)) for style in styles]
            self._of_noun.append([(style, paths) for style, paths in found if paths])

    def scene(self, seed: int) -> Scene:
        """The scene of this seed."""
        dice = Dice(0x4A55, seed)
        height, width = dice.integer(*self.sides), dice.integer(*self.sides)
        if height == width:
            width += 1
        canvas = ground(dice, height, width)
        owner = np.zeros((height, width), np.int64)
        own, pasted = [0], [(0, "")]
        for _ in range(dice.integer(*THINGS)):
            noun, style, layer = self._thing(dice, min(height, width))
            place = _free_place(dice, layer, owner, own)
            if place is not None:
                own.append(_paste(dice, canvas, owner, layer, place, len(pasted)))
                pasted.append((noun, style))
        if dice.chance(0.1):
            _cover(dice, canvas, owner, own)
        pixels = _developed(dice, canvas)
        return Scene(seed, pixels, _things(owner, own, pasted))

    def _thing(self, dice: Dice, side: int) -> tuple[int, str, Layer]:
        """A random noun, style and drawing, at a random size, angle, lean and color."""
        drawn = [noun for noun, found in enumerate(self._of_noun) if found]
        noun = dice.one_of(drawn)
        style, paths = dice.one_of(self._of_noun[noun])
        longer = max(6.0, side * dice.uniform(*SIZES))
        return noun, style, _tinted(dice, _posed(dice, self.gallery.sizes(dice.one_of(paths)), longer))


def _posed(dice: Dice, sizes: list[Layer], longer: float) -> Layer:
    """The drawing turned, leaned and flipped; its longer side before that is ``longer`` pixels."""
    slope = dice.uniform(-0.22, 0.22) if dice.chance(0.6) else 0.0
    cosine, sine = (1 - slope * slope) / (1 + slope * slope), 2 * slope / (1 + slope * slope)
    lean, flip = (dice.uniform(-0.08, 0.08), -1.0 if dice.chance(0.5) else 1.0)
    # The smallest copy that is at least as large as what is asked: never more than two pixels become one.
    source = next((one for one in reversed(sizes) if max(one.shape[:2]) >= longer), sizes[0])
    scale = longer / max(source.shape[:2])
    # The matrix from the drawing to the picture, written out: libraries of matrix products round differently.
    a, b, c, d = scale * flip * cosine, scale * (lean - sine), scale * flip * sine, scale * (cosine + lean * sine)
    tall, wide = source.shape[:2]
    width, height = int(abs(a) * wide + abs(b) * tall) + 2, int(abs(c) * wide + abs(d) * tall) + 2
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    area = a * d - b * c
    column, row = (d * x - b * y) / area + (wide - 1) / 2, (a * y - c * x) / area + (tall - 1) / 2
    return _sampled(source, row, column)


def _sampled(source: Layer, row: NDArray[np.float64], column: NDArray[np.float64]) -> Layer:
    """Bilinear samples of a layer at rows and columns; transparent outside."""
    padded = np.pad(source, ((1, 2), (1, 2), (0, 0)))
    row, column = np.clip(row + 1, 0, padded.shape[0] - 2), np.clip(column + 1, 0, padded.shape[1] - 2)
    top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    down, right = (row - top)[..., None], (column - left)[..., None]
    upper = padded[top, left] * (1 - right) + padded[top, left + 1] * right
    lower = padded[top + 1, left] * (1 - right) + padded[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


def _tinted(dice: Dice, layer: Layer) -> Layer:
    """Other light on the thing: every channel scaled, shadows lifted or not."""
    gain = 1 + (dice.many(3) - 0.5) * 0.2
    lift = dice.uniform(0, 35) * dice.chance(0.4)
    color = np.clip(layer[..., :3] * (gain * (1 - lift / 255)) + lift * layer[..., 3:], 0, 255)
    return np.concatenate([color, layer[..., 3:]], axis=2)


def _free_place(dice: Dice, layer: Layer, owner: NDArray[np.int64], own: list[int]) -> tuple[int, int] | None:
    """The first of some random places where enough of this thing, and of those below it, is left to see."""
    solid = layer[..., 3] > 0.5
    height, width = solid.shape
    mine, seen = int(solid.sum()), np.bincount(owner.ravel(), minlength=len(own))
    for _ in range(TRIES):
        top = dice.integer(-(height // 5), max(0, owner.shape[0] - height + height // 5))
        left = dice.integer(-(width // 5), max(0, owner.shape[1] - width + width // 5))
        rows, columns, part = _window(owner, top, left, height, width)
        inside = solid[part]
        if inside.sum() < max(LEAST_PIXELS, 0.6 * mine):
            continue
        hidden = np.bincount(owner[rows, columns][inside], minlength=len(own))
        if all(seen[one] - hidden[one] >= VISIBLE * own[one] + LEAST_PIXELS for one in range(1, len(own))):
            return top, left
    return None


def _window(
    owner: NDArray[np.int64], top: int, left: int, height: int, width: int
) -> tuple[slice, slice, tuple[slice, slice]]:
    """Rows and columns of the picture under a layer, and the part of the layer that lies in the picture."""
    bottom, right = min(top + height, owner.shape[0]), min(left + width, owner.shape[1])
    rows, columns = slice(max(top, 0), bottom), slice(max(left, 0), right)
    return rows, columns, (slice(rows.start - top, bottom - top), slice(columns.start - left, right - left))


def _paste(
    dice: Dice, canvas: Canvas, owner: NDArray[np.int64], layer: Layer, place: tuple[int, int], number: int
) -> int:
    """Paint the layer, half of the time with a soft shadow; returns how many pixels the whole thing has."""
    height, width = layer.shape[:2]
    if dice.chance(0.5):
        spread = max(1, min(height, width) // dice.integer(8, 20))
        shadow = np.pad(layer[..., 3], 2 * spread)
        for axis in (0, 1):
            shadow = sum(np.roll(shadow, shift, axis) for shift in range(-spread, spread + 1)) / (2 * spread + 1)
        top, left = (
            place[0] - 2 * spread + dice.integer(0, spread),
            place[1] - 2 * spread + dice.integer(-spread, spread),
        )
        rows, columns, part = _window(owner, top, left, *shadow.shape)
        canvas[rows, columns] *= 1 - dice.uniform(0.2, 0.6) * shadow[part][..., None]
    rows, columns, part = _window(owner, *place, height, width)
    cut = layer[part]
    canvas[rows, columns] = canvas[rows, columns] * (1 - cut[..., 3:]) + cut[..., :3]
    owner[rows, columns][cut[..., 3] > 0.5] = number
    return int((layer[..., 3] > 0.5).sum())


def _cover(dice: Dice, canvas: Canvas, owner: NDArray[np.int64], own: list[int]) -> None:
    """A band of another ground across the picture, in front of everything; none if it would hide too much."""
    height, width = owner.shape
    slope, offset = dice.uniform(-0.6, 0.6), dice.uniform(0.1, 0.9)
    thick = dice.uniform(0.02, 0.09) * min(height, width)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    if dice.chance(0.5):
        distance = np.abs(y - offset * height - slope * (x - width / 2))
    else:
        distance = np.abs(x - offset * width - slope * (y - height / 2))
    band = distance < thick
    seen = np.bincount(owner[~band].ravel(), minlength=len(own))
    if all(seen[one] >= VISIBLE * own[one] for one in range(1, len(own))):
        canvas[band] = ground(dice, height, width)[band]
        owner[band] = 0


def _developed(dice: Dice, canvas: Canvas) -> NDArray[np.uint8]:
    """Uneven light, and now and then a soft lens and grain: (H, W, 3) uint8."""
    height, width = canvas.shape[:2]
    light = 1 + (smooth_noise(dice, height, width, max(height, width) * 0.7) - 0.5) * dice.uniform(0, 0.5)
    canvas = canvas * light[..., None]
    if dice.chance(0.3):
        padded = np.pad(canvas, ((1, 1), (1, 1), (0, 0)), "edge")
        rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
        canvas = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
    if dice.chance(0.4):
        grain = dice.many(2, height, width).sum(axis=0) - 1
        canvas = canvas + grain[..., None] * dice.uniform(3, 20)
    return np.floor(np.clip(canvas, 0, 255) + 0.5).astype(np.int64).clip(0, 255).astype(np.uint8)


def _things(owner: NDArray[np.int64], own: list[int], pasted: list[tuple[int, str]]) -> tuple[Shown, ...]:
    found = []
    for number in range(1, len(pasted)):
        mask = owner == number
        rows, columns = np.nonzero(mask)
        if len(rows) < max(LEAST_PIXELS, VISIBLE * own[number]):
            continue  # the paste and the band above leave enough; this holds for whatever is added later
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        found.append(Shown(*pasted[number], box, mask))
    return tuple(found)
