"""How often towers name a single sticker right: top 1 among every word of the world. No mask is involved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clsclip.reproduce.stickers.images import StickerWorld
from clsclip.reproduce.stickers.sheets import StickerBook
from clsclip.reproduce.stickers.tensor_maker import TensorMaker
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip.towers import ImageSpec, Towers

SEED = 31
"""Of the world that single things are taken from. No training uses it."""


@dataclass(frozen=True)
class SingleThings:
    """Pictures that show one thing of half to nine tenths of the side.

    Attributes:
        style: of the drawings.
        pixels: (B, 3, S, S) uint8.
        shown: (B,) int64, the noun of each.
    """

    style: str
    pixels: Tensor
    shown: Tensor


def single_things(stickers: Path, style: str, count: int, side: int) -> SingleThings:
    """``count`` pictures of one style, always the same; ``stickers`` is the folder of the packages."""
    world = StickerWorld(StickerBook(stickers, [style]), side, sizes=(0.5, 0.9), things=(1, 1), seed=SEED)
    made = [image for image in map(world.image, range(count)) if image.nouns]
    pixels = torch.from_numpy(np.stack([image.pixels for image in made])).permute(0, 3, 1, 2).contiguous()
    return SingleThings(style, pixels, torch.tensor([image.nouns[0] for image in made]))


def single_things_of(maker: TensorMaker, count: int, side: int) -> SingleThings:
    """About ``count`` pictures by the maker of batches, of all its styles; always the same on one device."""
    maker.random.manual_seed(SEED)
    made = maker.make(count, side, (0.5, 0.9), (1, 1))
    shown = made.nouns[:, 0]
    return SingleThings("every style of the atlas", made.pixels[shown >= 0].cpu(), shown[shown >= 0].cpu())


@torch.no_grad()
def named_right(towers: Towers, probes: Sequence[SingleThings]) -> dict[str, dict[str, float]]:
    """Percent of the things that the image embedding names right, by style: trained words and held-out words."""
    texts = [f"a picture of a {noun.name}" for noun in nouns()]
    device = towers.logit_scale.device
    words = towers.text_features(towers.text_tokens(towers.tokenize(texts).to(device)))
    held_out = torch.tensor([noun.held_out for noun in nouns()])
    found = {}
    for probe in probes:
        right = []
        for pixels in probe.pixels.split(50):
            tokens = towers.run_layers(towers.embed(normalise(pixels.to(device), towers.image)), 0, towers.layers)
            right.append((towers.features(tokens)[0] @ words.T).cpu())
        correct = torch.cat(right).argmax(dim=1) == probe.shown
        group = held_out[probe.shown]
        found[probe.style] = {
            "trained": round(100 * float(correct[~group].float().mean()), 1),
            "held_out": round(100 * float(correct[group].float().mean()), 1),
        }
    return found


def normalise(pixels: Tensor, image: ImageSpec) -> Tensor:
    """(B, 3, S, S) uint8 -> float32 pixel values."""
    mean = torch.tensor(image.mean, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(image.std, device=pixels.device).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std
