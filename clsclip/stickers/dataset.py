"""Sticker pictures as torch batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clsclip.stickers.pictures import Picture, StickerWorld


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
