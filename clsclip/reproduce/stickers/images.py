"""The picture maker of the sticker world: deterministic pictures with a mask for every thing."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from clsclip.reproduce.stickers.grounds import Ground, Pixels, crop_ground, ground_pool
from clsclip.reproduce.stickers.layers import Layer, Pyramid, noise_of, recolored
from clsclip.reproduce.stickers.sheets import StickerBook
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip_runtime.images import open_image

VISIBLE_SHARE = 0.25
"""A thing counts as shown when at least this share of its own pixels is left uncovered."""


@dataclass(frozen=True)
class Thing:
    """One sticker in a picture: noun index, style, and xyxy box of its visible pixels."""

    noun: int
    style: str
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class StickerImage:
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

    Pictures are square, as a model gets them: those of other shapes are squashed, as the runtime squashes.

    Attributes:
        book: the stickers.
        side: picture height and width in pixels.
        sizes: smallest and largest longer side of a thing, as a share of ``side``.
        log_sizes: draw the logarithms of sizes evenly: as many things of 2 to 6 % as of 20 to 60 %, and not a tenth.
        things: fewest and most things a picture.
        seed: names the world; two seeds share neither pictures nor procedural grounds.
        pool: noun indices that things are drawn from, uniformly (a repeat makes a noun likelier); empty is all nouns.
        aspect: longest side over shortest of the pictures before they are squashed; 1 makes square ones alone.
    """

    book: StickerBook
    side: int = 128
    sizes: tuple[float, float] = (0.02, 0.6)
    things: tuple[int, int] = (1, 8)
    seed: int = 0
    pool: tuple[int, ...] = ()
    log_sizes: bool = False
    aspect: float = 2.2
    grounds: tuple[Ground, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.pool = self.pool or tuple(range(len(nouns())))
        self.grounds = ground_pool(self.seed, 300)

    def image(self, index: int) -> StickerImage:
        """Picture number ``index``: ground, 1 to 8 things, then blur, noise or JPEG now and then."""
        rng = np.random.default_rng([self.seed, 2, index])
        # Of a picture w : h, squashed to a square, all gets sqrt(h / w) times as wide and sqrt(w / h) times as tall.
        squash = float(np.exp(rng.uniform(-0.5, 0.5) * np.log(self.aspect))) if rng.random() < 0.8 else 1.0
        canvas = crop_ground(rng, self.grounds, self.side, squash)
        instances = np.zeros((self.side, self.side), np.uint8)
        pasted: list[tuple[int, str, int]] = []
        for _ in range(int(rng.integers(self.things[0], self.things[1] + 1))):
            noun = self.pool[int(rng.integers(len(self.pool)))]
            style = self.book.styles[int(rng.integers(len(self.book.styles)))]
            versions = self.book.pyramids(style, noun)
            sticker = self._varied(rng, versions[int(rng.integers(len(versions)))], squash)
            if rng.random() < 0.25:
                self._shade(rng, canvas)
            covered = self._paste(rng, canvas, instances, sticker, len(pasted) + 1)
            pasted.append((noun, style, covered))
        return self._finished(rng, canvas, instances, pasted)

    def _varied(self, rng: np.random.Generator, sticker: Pyramid, squash: float) -> Layer:
        """The sticker at a random size, stretch, flip, angle and colour, squashed as the picture is."""
        share = float(np.exp(rng.uniform(*np.log(self.sizes)))) if self.log_sizes else rng.uniform(*self.sizes)
        angle = float(rng.normal(0, 0.35)) if rng.random() < 0.7 else 0.0
        stretch = float(np.exp(rng.uniform(-0.2, 0.2)))
        layer = sticker.posed(max(3.0, self.side * share), stretch, angle, bool(rng.random() < 0.5), squash)
        if rng.random() < 0.5:
            gains = rng.uniform(0.85, 1.15, 3).astype(np.float32)
            layer = recolored(layer, gains, float(rng.uniform(0.6, 1.3)), float(rng.uniform(-15, 25)))
        return layer

    def _shade(self, rng: np.random.Generator, canvas: npt.NDArray[np.float32]) -> None:
        """A soft dark or bright spot somewhere: light and shadows, which things on photographs have around them."""
        y, x = rng.uniform(0, self.side, 2)
        reach = rng.uniform(0.05, 0.4) * self.side
        along = np.arange(self.side, dtype=np.float32)
        spot = np.outer(np.exp(-(((along - y) / reach) ** 2)), np.exp(-(((along - x) / reach) ** 2)))
        canvas *= (1 + spot * np.float32(rng.uniform(-0.6, 0.3)))[..., None]

    def _paste(
        self,
        rng: np.random.Generator,
        canvas: npt.NDArray[np.float32],
        instances: npt.NDArray[np.uint8],
        rgba: Layer,
        label: int,
    ) -> int:
        """Blend the layer in at the least crowded of four random places; returns its own pixel count."""
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
        canvas[rows, columns] *= 1 - rgba[..., 3:] / 255
        canvas[rows, columns] += rgba[..., :3]
        solid = rgba[..., 3] > 127.5
        instances[rows, columns][solid] = label
        return int(solid.sum())

    def _finished(
        self,
        rng: np.random.Generator,
        canvas: npt.NDArray[np.float32],
        instances: npt.NDArray[np.uint8],
        pasted: list[tuple[int, str, int]],
    ) -> StickerImage:
        if rng.random() < 0.3:
            canvas = canvas + noise_of(rng, canvas.shape) * np.float32(rng.uniform(2, 10))
        image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
        if rng.random() < 0.2:
            image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 1.0)) * self.side / 128))
        if rng.random() < 0.25:
            image = _compressed(image, int(rng.integers(25, 95)))
        things, labels = [], np.zeros(len(pasted) + 1, np.uint8)
        for number, (noun, style, own) in enumerate(pasted, start=1):
            rows, columns = np.nonzero(instances == number)
            if len(rows) < max(4, VISIBLE_SHARE * own):
                continue  # covered by later things: its few pixels count as ground
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            things.append(Thing(noun, style, box))
            labels[number] = len(things)
        return StickerImage(np.asarray(image), labels[instances], tuple(things))


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    """The picture as JPEG of this quality gives it back."""
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=quality)
    return open_image(stored.getvalue()).image
