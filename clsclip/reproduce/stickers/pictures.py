"""The picture maker of the sticker world: deterministic pictures with a mask for every thing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from clsclip.reproduce.stickers.grounds import Pixels, crop_ground, ground_pool
from clsclip.reproduce.stickers.sheets import StickerBook
from clsclip.reproduce.stickers.vocabulary import nouns

VISIBLE_SHARE = 0.25
"""A thing counts as shown when at least this share of its own pixels is left uncovered."""


@dataclass(frozen=True)
class Thing:
    """One sticker in a picture: noun index, style, and xyxy box of its visible pixels."""

    noun: int
    style: str
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Picture:
    """A made picture.

    Attributes:
        pixels: (S, S, 3) uint8 RGB.
        instances: (S, S) uint8; 0 is ground, i + 1 is ``things[i]``.
        things: what is visible, in pasting order.
    """

    pixels: Pixels
    instances: npt.NDArray[np.uint8]
    things: tuple[Thing, ...]

    @property
    def nouns(self) -> tuple[int, ...]:
        """Indices of the nouns that the picture shows, sorted, each once."""
        return tuple(sorted({thing.noun for thing in self.things}))

    def mask(self, noun: int) -> npt.NDArray[np.bool_]:
        """(S, S) bool mask of every thing of that noun."""
        own = [index + 1 for index, thing in enumerate(self.things) if thing.noun == noun]
        return np.isin(self.instances, own)


@dataclass
class StickerWorld:
    """Makes picture ``index`` of world ``seed``: the same bytes on every call.

    Attributes:
        book: the stickers.
        side: picture height and width in pixels.
        sizes: smallest and largest longer side of a thing, as a share of ``side``.
        log_sizes: draw the logarithms of sizes evenly: as many things of 2 to 6 % as of 20 to 60 %, and not a tenth.
        things: fewest and most things a picture.
        seed: names the world; two seeds share neither pictures nor procedural grounds.
        pool: noun indices that things are drawn from, uniformly (a repeat makes a noun likelier); empty is all nouns.
    """

    book: StickerBook
    side: int = 128
    sizes: tuple[float, float] = (0.02, 0.6)
    things: tuple[int, int] = (1, 8)
    seed: int = 0
    pool: tuple[int, ...] = ()
    log_sizes: bool = False
    grounds: list[Pixels] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.pool = self.pool or tuple(range(len(nouns())))
        self.grounds = ground_pool(np.random.default_rng([self.seed, 1]), 240)

    def picture(self, index: int) -> Picture:
        """Picture number ``index``: ground, 1 to 8 things, then blur or noise now and then."""
        rng = np.random.default_rng([self.seed, 2, index])
        canvas = crop_ground(rng, self.grounds, self.side).astype(np.float32)
        instances = np.zeros((self.side, self.side), np.uint8)
        pasted: list[tuple[int, str, int]] = []
        for _ in range(int(rng.integers(self.things[0], self.things[1] + 1))):
            noun = self.pool[int(rng.integers(len(self.pool)))]
            style = self.book.styles[int(rng.integers(len(self.book.styles)))]
            versions = self.book.stickers[style, noun]
            sticker = self._varied(rng, versions[int(rng.integers(len(versions)))])
            covered = self._paste(rng, canvas, instances, sticker, len(pasted) + 1)
            pasted.append((noun, style, covered))
        return self._finished(rng, canvas, instances, pasted)

    def _varied(self, rng: np.random.Generator, sticker: Image.Image) -> Image.Image:
        """The sticker at a random size, stretch, flip, angle and colour."""
        share = float(np.exp(rng.uniform(*np.log(self.sizes)))) if self.log_sizes else rng.uniform(*self.sizes)
        longer = max(3.0, self.side * share)
        scale = longer / max(sticker.size)
        stretch = np.exp(rng.uniform(-0.2, 0.2))
        size = (max(1, round(sticker.width * scale * stretch)), max(1, round(sticker.height * scale / stretch)))
        varied = sticker.resize(size, Image.Resampling.BICUBIC)
        if rng.random() < 0.5:
            varied = varied.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.7:
            varied = varied.rotate(float(rng.normal(0, 20)), Image.Resampling.BICUBIC, expand=True)
        if rng.random() < 0.5:
            alpha = varied.getchannel("A")
            enhancer = (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast)[int(rng.integers(3))]
            varied = enhancer(varied.convert("RGB")).enhance(float(rng.uniform(0.6, 1.4)))
            varied.putalpha(alpha)
        return varied

    def _paste(
        self,
        rng: np.random.Generator,
        canvas: npt.NDArray[np.float32],
        instances: npt.NDArray[np.uint8],
        sticker: Image.Image,
        label: int,
    ) -> int:
        """Blend the sticker in at the least crowded of four random places; returns its own pixel count."""
        rgba = np.asarray(sticker, np.float32)
        height, width = rgba.shape[:2]
        best, best_cover = (0, 0), np.inf
        for _ in range(4):
            # A quarter of a thing may stand outside the picture.
            top = int(rng.integers(-(height // 4), max(self.side - 3 * height // 4, 1 - height // 4)))
            left = int(rng.integers(-(width // 4), max(self.side - 3 * width // 4, 1 - width // 4)))
            window = instances[max(top, 0) : top + height, max(left, 0) : left + width]
            cover = float((window > 0).mean()) if window.size else np.inf
            if cover < best_cover:
                best, best_cover = (top, left), cover
        top, left = best
        clip_top, clip_left = max(-top, 0), max(-left, 0)
        rgba = rgba[clip_top : self.side - top, clip_left : self.side - left]
        rows = slice(top + clip_top, top + clip_top + rgba.shape[0])
        columns = slice(left + clip_left, left + clip_left + rgba.shape[1])
        alpha = rgba[..., 3:] / 255
        canvas[rows, columns] += (rgba[..., :3] - canvas[rows, columns]) * alpha
        solid = alpha[..., 0] > 0.5
        instances[rows, columns][solid] = label
        return int(solid.sum())

    def _finished(
        self,
        rng: np.random.Generator,
        canvas: npt.NDArray[np.float32],
        instances: npt.NDArray[np.uint8],
        pasted: list[tuple[int, str, int]],
    ) -> Picture:
        if rng.random() < 0.3:
            canvas = canvas + rng.normal(0, rng.uniform(2, 10), canvas.shape).astype(np.float32)
        picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
        if rng.random() < 0.2:
            picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 1.0)) * self.side / 128))
        things, labels = [], np.zeros(len(pasted) + 1, np.uint8)
        for number, (noun, style, own) in enumerate(pasted, start=1):
            rows, columns = np.nonzero(instances == number)
            if len(rows) < max(4, VISIBLE_SHARE * own):
                continue  # covered by later things: its few pixels count as ground
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            things.append(Thing(noun, style, box))
            labels[number] = len(things)
        return Picture(np.asarray(picture), labels[instances], tuple(things))
