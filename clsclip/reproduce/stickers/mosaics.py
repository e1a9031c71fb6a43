"""Mosaics of captioned close-ups: place supervision from (picture, caption) pairs alone, no mask.

A mosaic joins k x k small captioned pictures into one. What each part shows is known from its caption, so the patches
under a part can be matched to that part's words (the idea of "CLIM: Contrastive Language-Image Mosaic for Region
Representation", AAAI 2024). One picture of 96 px then carries up to 16 captioned pairs for the price of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clsclip.reproduce.stickers.captions import WORD_TEMPLATES, caption_of, word_for
from clsclip.reproduce.stickers.grounds import Pixels
from clsclip.reproduce.stickers.images import StickerImage, StickerWorld


@dataclass(frozen=True)
class CaptionedBatch:
    """Pictures and what is said of their parts; a part is one cell of a ``parts`` x ``parts`` grid.

    Attributes:
        pixels: (B, 3, S, S) uint8.
        parts: parts a side; 1 for whole pictures.
        captions: with whole pictures, B sentences, each naming every noun of its picture; empty with mosaics.
        phrases: U different texts, each naming one noun of the batch.
        shown: (B * parts * parts, U) float32; 1 where a part (row by row) shows the noun of phrase u.
    """

    pixels: Tensor
    parts: int
    captions: list[str]
    phrases: list[str]
    shown: Tensor


class CaptionedBatches(Dataset[CaptionedBatch]):
    """Batch ``index`` of pre-training: a share of them whole scenes, the others mosaics.

    Args:
        world: makes the scenes; its side is the side of every picture, its seed names the batches too.
        size: B, pictures a batch.
        count: number of batches.
        parts: parts a side that are drawn from; 1 is a whole scene. Repeats make a value likelier.
        close_up: smallest and largest longer side of the thing in a mosaic's part, as a share of the part.
        recolour: share of the scenes and parts whose hue and saturation are changed; see :func:`recoloured`.
    """

    def __init__(
        self,
        world: StickerWorld,
        size: int,
        count: int,
        parts: tuple[int, ...] = (1, 2, 2, 2, 3, 3, 3, 3, 4),
        close_up: tuple[float, float] = (0.35, 1.1),
        recolour: float = 0.0,
    ) -> None:
        self.world, self.size, self.count, self.parts = world, size, count, parts
        self.recolour = recolour
        self.makers = {
            k: replace(world, side=world.side // k, sizes=close_up, things=(1, 1)) for k in set(parts) if k > 1
        }

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> CaptionedBatch:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.world.seed, 3, index])
        parts = int(rng.choice(self.parts))
        if parts == 1:
            made = [self.world.image(index * self.size + number) for number in range(self.size)]
            return self._described(rng, np.stack(self._pixels(rng, made)), 1, made)
        first = index * self.size * parts * parts
        made = [self.makers[parts].image(first + number) for number in range(self.size * parts * parts)]
        return self._described(rng, join(self._pixels(rng, made), parts), parts, made)

    @staticmethod
    def _described(rng: np.random.Generator, pixels: Pixels, parts: int, made: list[StickerImage]) -> CaptionedBatch:
        stacked = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        return described(rng, stacked, parts, [image.nouns for image in made])

    def _pixels(self, rng: np.random.Generator, made: list[StickerImage]) -> list[Pixels]:
        if not self.recolour:
            return [image.pixels for image in made]
        changed = rng.random(len(made)) < self.recolour
        return [recoloured(rng, one.pixels) if yes else one.pixels for one, yes in zip(made, changed, strict=True)]


def described(rng: np.random.Generator, pixels: Tensor, parts: int, shown: Sequence[Sequence[int]]) -> CaptionedBatch:
    """Say what pictures or their parts show.

    Args:
        rng: draws names, templates and the order of words.
        pixels: (B, 3, S, S) uint8.
        parts: parts a side.
        shown: nouns that each of the B * parts * parts parts shows, each once.
    """
    captions, phrases = [], {}
    for nouns_shown in shown:
        words = {noun: word_for(rng, noun) for noun in nouns_shown}
        if parts == 1:
            captions.append(caption_of(rng, list(words.values())))
        for noun, word in words.items():
            template = WORD_TEMPLATES[int(rng.integers(len(WORD_TEMPLATES)))]
            phrases[template.format(word)] = noun
    # At most two texts a noun: the text tower's work stays small beside the image tower's.
    texts = list(first_per_noun(phrases, 2))
    asked = np.array([phrases[text] for text in texts])
    right = np.stack([np.isin(asked, nouns_shown) for nouns_shown in shown]).astype(np.float32)
    return CaptionedBatch(pixels, parts, captions, texts, torch.from_numpy(right))


def first_per_noun(phrases: dict[str, int], most: int) -> Iterator[str]:
    """The first ``most`` texts of every noun."""
    seen: dict[int, int] = {}
    for text, noun in phrases.items():
        seen[noun] = seen.get(noun, 0) + 1
        if seen[noun] <= most:
            yield text


_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def recoloured(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Another hue (a turn of about 30 degrees) and saturation (0.2 to 1.4 times), the same brightness.

    Styles draw one thing in different colours: this keeps the towers from naming things by colour alone.
    """
    angle, saturation = rng.normal(0, 0.5), rng.uniform(0.2, 1.4)
    turn = np.eye(3)
    turn[1:, 1:] = saturation * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.linalg.inv(_YIQ) @ turn @ _YIQ
    return np.clip(pixels @ matrix.T.astype(np.float32), 0, 255).astype(np.uint8)


def join(images: list[Pixels], parts: int) -> Pixels:
    """B * parts * parts pictures of (s, s, 3) -> (B, parts * s, parts * s, 3), row by row."""
    side = images[0].shape[0]
    stacked = np.stack(images).reshape(-1, parts, parts, side, side, 3)
    return stacked.transpose(0, 1, 3, 2, 4, 5).reshape(-1, parts * side, parts * side, 3)
