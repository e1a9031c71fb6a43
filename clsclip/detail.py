"""What a grid of patches cannot give a mask: edges from the pixels, and CLIP's own cosine below the decoder's logits.

D       = a few convolutions on the pixels at the resolution of the logits, once a crop whatever the words   (h, w, c)
logit   = decoder + sum over c of W * D         W: (h, w, c), linear in the decoder's tokens, like the logits themselves

Around each place a mask is so a linear function of the pixels' features, as in a guided filter, but one that is
learned, and chosen by the word.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = 16
"""c, features of a cell."""

STRIDES = (1, 2, 4)
"""Pixels a cell of the logits, a side."""


class Detail(nn.Module):
    """Features of the pixels at one cell in ``stride`` pixels, with what is seen at half of that.

    Args:
        stride: pixels a cell a side, one of :data:`STRIDES`.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 2 * stride - 1 if stride > 1 else 3, stride, padding=max(1, stride - 1)),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        )
        self.coarse = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, 2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * CHANNELS, 4 * CHANNELS, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.join = nn.Sequential(nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(C, 3, S, S) -> (C, S / stride, S / stride, c)."""
        fine = self.fine(pixel_values)
        features: Tensor = self.join(fine + self.coarse(fine))
        return features.permute(0, 2, 3, 1)


class CosineResidual(nn.Module):
    """Patch-word cosines as logits: ``scale * (10 * cosine - shift)``, between patches by straight lines.

    Args:
        grid: patches a side.
        upscale: cells of the logits a side of one patch.
    """

    between: Tensor

    def __init__(self, grid: int, upscale: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("between", straight_lines(grid, upscale), persistent=False)

    def forward(self, similarity: Tensor) -> Tensor:
        """(P, m) cosines -> (P, h, w) logits."""
        grid = self.between.shape[1]
        cosines = self.scale * (10 * similarity - self.shift)
        return self.between @ cosines.reshape(-1, grid, grid) @ self.between.T


def straight_lines(grid: int, upscale: int) -> Tensor:
    """(grid * upscale, grid): each row a cell's weights of the two nearest patches, by their centres."""
    places = ((torch.arange(grid * upscale) + 0.5) / upscale - 0.5).clamp(0, grid - 1)
    return (1 - (places[:, None] - torch.arange(grid)).abs()).clamp(min=0)
