"""Sticker pictures as torch batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clsclip.stickers.captions import WORD_TEMPLATES, caption_of, word_for
from clsclip.stickers.pictures import Picture, StickerWorld


@dataclass(frozen=True)
class CaptionedBatch:
    """Pictures and what is said of them.

    Attributes:
        pixels: (B, 3, S, S) uint8.
        captions: B sentences, each naming every noun of its picture.
        phrases: U different texts, each naming one noun of some picture of the batch.
        shown: (B, U) float32; 1 where picture b shows the noun of phrase u.
    """

    pixels: Tensor
    captions: list[str]
    phrases: list[str]
    shown: Tensor


class StickerPictures(Dataset[Picture]):
    """Pictures ``first`` to ``first + count - 1`` of a world."""

    def __init__(self, world: StickerWorld, count: int, first: int = 0) -> None:
        self.world, self.count, self.first = world, count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Picture:
        return self.world.picture(self.first + index)


def stack_pixels(pictures: Sequence[Picture]) -> Tensor:
    """(B, 3, S, S) uint8 from B pictures."""
    return torch.from_numpy(np.stack([picture.pixels for picture in pictures])).permute(0, 3, 1, 2).contiguous()


def collate_captions(pictures: Sequence[Picture]) -> CaptionedBatch:
    """Captions and phrases for pictures; random in their wording, but the same for the same pictures."""
    rng = np.random.default_rng(
        int(sum(int(picture.pixels[0, 0, 0]) * 7 + len(picture.things) for picture in pictures))
    )
    captions, phrases = [], {}
    for picture in pictures:
        words = {noun: word_for(rng, noun) for noun in picture.nouns}
        captions.append(caption_of(rng, list(words.values())))
        for noun, word in words.items():
            template = WORD_TEMPLATES[int(rng.integers(len(WORD_TEMPLATES)))]
            phrases[template.format(word)] = noun
    shown = torch.tensor([[float(noun in picture.nouns) for noun in phrases.values()] for picture in pictures])
    return CaptionedBatch(stack_pixels(pictures), captions, list(phrases), shown)
