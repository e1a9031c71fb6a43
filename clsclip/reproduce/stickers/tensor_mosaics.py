"""Captioned batches that are made on a device; see :mod:`clsclip.reproduce.stickers.mosaics` for what mosaics are."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from clsclip.reproduce.stickers.mosaics import CaptionedBatch, described
from clsclip.reproduce.stickers.tensor_maker import TensorMaker


class TensorBatches(Dataset[CaptionedBatch]):
    """Batch ``index`` of pre-training, made by a :class:`TensorMaker`: the same on every call on the same device.

    Args:
        maker: makes the pictures; its random numbers are seeded anew for every batch.
        size: pictures a batch.
        count: number of batches.
        side: of a picture, pixels; a multiple of 8 times every number of parts.
        parts: parts a side that are drawn from; 1 is a whole scene. Repeats make a value likelier.
        sizes: smallest and largest longer side of a thing in a scene, as a share of the side.
        things: most things a scene.
        close_up: the same as ``sizes`` for the one thing in a mosaic's part.
        seed: names the batches.
    """

    def __init__(
        self,
        maker: TensorMaker,
        size: int,
        count: int,
        side: int,
        parts: tuple[int, ...] = (1, 1, 2, 2, 3, 3, 4),
        sizes: tuple[float, float] = (0.08, 0.8),
        things: int = 6,
        close_up: tuple[float, float] = (0.35, 1.1),
        seed: int = 0,
    ) -> None:
        self.maker, self.size, self.count, self.side = maker, size, count, side
        self.parts, self.sizes, self.things, self.close_up, self.seed = parts, sizes, things, close_up, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> CaptionedBatch:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, 4, index])
        self.maker.random.manual_seed(int(rng.integers(1 << 62)))
        parts = int(rng.choice(self.parts))
        if parts == 1:
            made = self.maker.make(self.size, self.side, self.sizes, (1, self.things))
        else:
            made = self.maker.make(self.size * parts * parts, self.side // parts, self.close_up, (1, 1))
        shown = [sorted({noun for noun in row if noun >= 0}) for row in made.nouns.tolist()]
        return described(rng, joined(made.pixels, parts), parts, shown)


def joined(pixels: Tensor, parts: int) -> Tensor:
    """(B * parts * parts, 3, s, s) -> (B, 3, parts * s, parts * s), row by row."""
    side = pixels.shape[-1]
    grid = pixels.reshape(-1, parts, parts, 3, side, side).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(-1, 3, parts * side, parts * side)
