"""The picture maker on tensors: whole batches at once, on a GPU where there is one.

It makes pictures of the same kind as :mod:`clsclip.reproduce.stickers.pictures` (not the same pictures): squashed
grounds, turned, squashed and tinted things, noise, blur and quantised blocks. Training on a GPU needs thousands of
pictures a second, which no processor draws. Drawings and grounds travel in one file (:class:`Atlas`), so that the
machine with the GPU needs no packages of stickers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad

from clsclip.errors import DataError
from clsclip.reproduce.stickers.grounds import ground_pool
from clsclip.reproduce.stickers.images import VISIBLE_SHARE
from clsclip.reproduce.stickers.sheets import StickerBook
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip.tensors import read_tensor
from clsclip_runtime.paths import write_bytes
from clsclip_runtime.tensor_files import TensorFile

FORMAT = "clsclip-sticker-atlas-1"
LEVELS = 3
"""Copies of a drawing: sharp, and blurred to a half and a quarter of its detail, for things that small."""


@dataclass(frozen=True)
class Atlas:
    """Drawings and grounds as tensors.

    Attributes:
        drawings: (N, 4, s, s) uint8, colour premultiplied by alpha; the longer side fills the square. Sorted by noun.
        noun_of: (N,) int64.
        grounds: (G, 3, g, g) uint8.
    """

    drawings: Tensor
    noun_of: Tensor
    grounds: Tensor

    @staticmethod
    def of(book: StickerBook, side: int = 48, grounds: int = 200, ground_side: int = 128, seed: int = 0) -> Atlas:
        """The stickers of a book, and so many grounds of a seed."""
        drawings, noun_of = [], []
        for noun in nouns():
            for sticker in dict.fromkeys(
                map(id, (one for style in book.styles for one in book.stickers[style, noun.index]))
            ):
                drawings.append(sticker)
                noun_of.append(noun.index)
        by_id = {id(one): one for found in book.stickers.values() for one in found}
        made = np.stack([_square(by_id[sticker], side) for sticker in drawings])
        pool = ground_pool(seed, grounds)
        cut = [np.asarray(levels[0].convert("RGB").resize((ground_side, ground_side))) for levels in pool]
        return Atlas(
            torch.from_numpy(made).permute(0, 3, 1, 2).contiguous(),
            torch.tensor(noun_of),
            torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).contiguous(),
        )

    def save(self, path: Path) -> None:
        """Write the atlas, atomically."""
        tensors = {"drawings": self.drawings, "noun_of": self.noun_of, "grounds": self.grounds}
        write_bytes(path, save(tensors, {"format": FORMAT}))

    @staticmethod
    def load(path: Path) -> Atlas:
        """Read an atlas.

        Raises:
            DataError: the file is absent, damaged or another kind of file.
        """
        try:
            with TensorFile(path) as opened:
                if opened.metadata.get("format") != FORMAT:
                    raise DataError(f"{path} is no sticker atlas. Make one: python -m clsclip.reproduce.stickers atlas")
                return Atlas(*(read_tensor(opened, name) for name in ("drawings", "noun_of", "grounds")))
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}. Make it anew.") from error


def _square(sticker: Image.Image, side: int) -> np.ndarray:
    """(side, side, 4): the sticker in the middle, its longer side as long as the square's."""
    scale = side / max(sticker.size)
    size = (max(1, round(sticker.width * scale)), max(1, round(sticker.height * scale)))
    # Pillow resizes "RGBa" as premultiplied colour, which is what is kept.
    scaled = sticker.convert("RGBa").resize(size, Image.Resampling.BICUBIC)
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = np.asarray(scaled)
    square[..., :3] = np.minimum(square[..., :3], square[..., 3:])
    return square


@dataclass(frozen=True)
class Made:
    """A batch of pictures.

    Attributes:
        pixels: (B, 3, S, S) uint8.
        nouns: (B, T) int64, the noun of every thing; -1 where there is none, or hardly any of it is seen.
        owner: (B, S, S) int64; 0 is ground, t + 1 is thing t.
    """

    pixels: Tensor
    nouns: Tensor
    owner: Tensor


class TensorMaker:
    """Makes batches of pictures on a device.

    Args:
        atlas: drawings and grounds.
        device: where pictures are made.
        aspect: longest side over shortest of the pictures before they are squashed.
        seed: of the device's own random numbers: the same device makes the same pictures again.
    """

    def __init__(self, atlas: Atlas, device: str = "cpu", aspect: float = 2.2, seed: int = 0) -> None:
        self.device, self.aspect = torch.device(device), aspect
        self.random = torch.Generator(self.device).manual_seed(seed)
        sharp = atlas.drawings.to(self.device).half()
        side = sharp.shape[-1]
        levels = [sharp]
        for level in range(1, LEVELS):
            small = interpolate(sharp.float(), size=side >> level, mode="area")
            levels.append(interpolate(small, size=side, mode="bilinear").half())
        self.drawings = torch.stack(levels)
        self.grounds = atlas.grounds.to(self.device).half()
        self.noun_of = atlas.noun_of.to(self.device)
        self.count = torch.bincount(self.noun_of, minlength=len(nouns()))
        self.first = torch.cumsum(self.count, 0) - self.count
        self.known = torch.nonzero(self.count)[:, 0]

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Random numbers of a shape, evenly from low to high."""
        return low + (high - low) * torch.rand(*shape, generator=self.random, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Flags of a shape."""
        return torch.rand(*shape, generator=self.random, device=self.device) < probability

    @torch.no_grad()
    def make(self, batch: int, side: int, sizes: tuple[float, float], things: tuple[int, int]) -> Made:
        """A batch; ``sizes`` and ``things`` as in :class:`clsclip.reproduce.stickers.pictures.StickerWorld`."""
        most = things[1]
        squash = torch.exp(self.uniform(-0.5, 0.5, batch) * math.log(self.aspect))
        squash = torch.where(self.chance(0.8, batch), squash, torch.ones_like(squash))
        canvas = self._grounds(batch, side, squash)
        number = (self.uniform(things[0], things[1] + 1, batch)).long()
        there = torch.arange(most, device=self.device)[None] < number[:, None]
        noun = self.known[(self.uniform(0, 1, batch, most) * len(self.known)).long()]
        drawing = self.first[noun] + (self.uniform(0, 1, batch, most) * self.count[noun]).long()
        layers = self._layers(drawing, side, sizes, squash)
        own, owner = [], torch.zeros(batch, side, side, dtype=torch.long, device=self.device)
        for at in range(most):
            layer = layers[:, at] * there[:, at, None, None, None]
            solid = layer[:, 3] > 127.5
            own.append(solid.sum(dim=(1, 2)))
            canvas = canvas * (1 - layer[:, 3:] / 255) + layer[:, :3]
            owner = torch.where(solid, at + 1, owner)
        seen = torch.stack([(owner == at + 1).sum(dim=(1, 2)) for at in range(most)], dim=1)
        enough = (seen >= 4) & (seen >= VISIBLE_SHARE * torch.stack(own, dim=1)) & there
        pixels = self._finished(canvas).clamp(0, 255).round().to(torch.uint8)
        return Made(pixels, torch.where(enough, noun, -1), owner)

    def _grounds(self, batch: int, side: int, squash: Tensor) -> Tensor:
        """(B, 3, S, S) float32: windows of random grounds, squashed, flipped and tinted."""
        chosen = (self.uniform(0, 1, batch) * len(self.grounds)).long()
        window = torch.exp(self.uniform(math.log(0.2), 0, batch))
        wide, tall = window / squash, window * squash
        fit = torch.maximum(torch.ones_like(wide), torch.maximum(wide, tall))
        wide, tall = wide / fit, tall / fit
        x, y = (self.uniform(-1, 1, batch) * (1 - one) for one in (wide, tall))
        mirror = torch.where(self.chance(0.5, batch), -1.0, 1.0)
        zero = torch.zeros_like(wide)
        window_of = torch.stack([torch.stack([wide * mirror, zero, x], 1), torch.stack([zero, tall, y], 1)], dim=1)
        grid = affine_grid(window_of, [batch, 3, side, side], align_corners=False)
        cut = grid_sample(self.grounds[chosen].float(), grid, align_corners=False, padding_mode="border")
        contrast = self.uniform(0.5, 1.1, batch, 1, 1, 1)
        return ((cut - 128) * contrast + 128 + self.uniform(-40, 40, batch, 3, 1, 1)).clamp(0, 255)

    def _layers(self, drawing: Tensor, side: int, sizes: tuple[float, float], squash: Tensor) -> Tensor:
        """(B, T, 4, S, S) float32: every drawing (B, T) somewhere in its picture, premultiplied."""
        batch, most = drawing.shape
        longer = (self.uniform(*sizes, batch, most) * side).clamp(min=3.0)
        stretch = torch.exp(self.uniform(-0.2, 0.2, batch, most))
        angle = torch.randn(batch, most, generator=self.random, device=self.device) * 0.35
        angle = angle * self.chance(0.7, batch, most)
        flip = torch.where(self.chance(0.5, batch, most), -1.0, 1.0)
        across, down = flip * stretch * longer / side, longer / stretch / side
        wider = squash[:, None]
        a, b = across * angle.cos() * wider, -down * angle.sin() * wider
        c, d = across * angle.sin() / wider, down * angle.cos() / wider
        # Centres: a quarter of a thing may stand outside the picture.
        reach_x, reach_y = a.abs() + b.abs(), c.abs() + d.abs()
        x = self.uniform(-1, 1, batch, most) * (1 - 0.5 * reach_x).clamp(min=0.1)
        y = self.uniform(-1, 1, batch, most) * (1 - 0.5 * reach_y).clamp(min=0.1)
        area = a * d - b * c
        ia, ib, ic, id_ = d / area, -b / area, -c / area, a / area
        back = torch.stack(
            [torch.stack([ia, ib, -ia * x - ib * y], -1), torch.stack([ic, id_, -ic * x - id_ * y], -1)], dim=-2
        ).reshape(batch * most, 2, 3)
        detail = self.drawings.shape[-1] / longer
        level = torch.log2(detail.clamp(min=1)).floor().long().clamp(max=LEVELS - 1)
        source = self.drawings[level.flatten(), drawing.flatten()].float()
        grid = affine_grid(back, [batch * most, 4, side, side], align_corners=False)
        layers = grid_sample(source, grid, align_corners=False).reshape(batch, most, 4, side, side)
        return self._tinted(layers)

    def _tinted(self, layers: Tensor) -> Tensor:
        """Half of the layers in other light, as ``recolored`` of the other maker does it."""
        batch, most = layers.shape[:2]
        color, alpha = layers[:, :, :3], layers[:, :, 3:]
        tinted = color * self.uniform(0.85, 1.15, batch, most, 3, 1, 1)
        gray = tinted.mean(dim=2, keepdim=True)
        tinted = gray + (tinted - gray) * self.uniform(0.6, 1.3, batch, most, 1, 1, 1)
        tinted = (tinted + alpha / 255 * self.uniform(-15, 25, batch, most, 1, 1, 1)).clamp(min=0).minimum(alpha)
        return torch.cat([torch.where(self.chance(0.5, batch, most, 1, 1, 1), tinted, color), alpha], dim=2)

    def _finished(self, canvas: Tensor) -> Tensor:
        """Noise in three of ten pictures, blur in two, blocks as of JPEG in a quarter."""
        batch, _, side, _ = canvas.shape
        noise = torch.randn(canvas.shape, generator=self.random, device=self.device)
        canvas = canvas + noise * self.uniform(2, 10, batch, 1, 1, 1) * self.chance(0.3, batch, 1, 1, 1)
        sigma = self.uniform(0.2, 1.0, batch) * side / 128
        taps = torch.arange(-2, 3, device=self.device)[None] / sigma[:, None]
        weights = torch.softmax(-0.5 * taps**2, dim=1).repeat_interleave(3, 0)
        flat = canvas.clamp(0, 255).reshape(1, batch * 3, side, side)
        rows = conv2d(pad(flat, (0, 0, 2, 2), "replicate"), weights[:, None, :, None], groups=batch * 3)
        soft = conv2d(pad(rows, (2, 2, 0, 0), "replicate"), weights[:, None, None, :], groups=batch * 3)
        canvas = torch.where(self.chance(0.2, batch, 1, 1, 1), soft.reshape(canvas.shape), canvas)
        return torch.where(self.chance(0.25, batch, 1, 1, 1), self._blocks(canvas), canvas)

    def _blocks(self, canvas: Tensor) -> Tensor:
        """Frequencies of 8 x 8 blocks rounded, high ones more coarsely; only whole blocks."""
        batch, _, side, _ = canvas.shape
        whole = side // 8 * 8
        if not whole:
            return canvas
        at = torch.arange(8, device=self.device)
        cosines = torch.cos((2 * at[None] + 1) * at[:, None] * math.pi / 16) / 2
        cosines[0] /= math.sqrt(2)
        steps = (1 + at[:, None] + at[None]) * self.uniform(0.5, 8, batch, 1, 1, 1, 1, 1)
        blocks = canvas[..., :whole, :whole].reshape(batch, 3, whole // 8, 8, whole // 8, 8).transpose(3, 4)
        frequencies = cosines @ blocks @ cosines.T
        coarse = cosines.T @ (torch.round(frequencies / steps) * steps) @ cosines
        result = canvas.clone()
        result[..., :whole, :whole] = coarse.transpose(3, 4).reshape(batch, 3, whole, whole)
        return result
