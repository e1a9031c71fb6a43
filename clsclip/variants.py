"""Other ways to use the text token than replacing [CLS], and learned prompts for the image tower.

The paper compares its replacement with channel attention, spatial attention and prompt tuning; ``film`` is what
CLIPSeg does. The first three leave the encoder alone: it then runs once a crop, whatever the words.

All of them act on the decoder's *normalised* tokens. Before the normalisation a factor per patch would be divided
out again, and a handful of outlier channels of CLIP's last layer would drown every factor per channel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation by a word: every channel of every patch times a gate in (0, 1) made from the text."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(text_width, width)

    def forward(self, tokens: Tensor, text_tokens: Tensor) -> Tensor:
        """(P, m, d) patch tokens, (P, d_text) -> (P, m, d)."""
        return tokens * torch.sigmoid(self.gate(text_tokens)).unsqueeze(1)


class SpatialAttention(nn.Module):
    """Every patch times a gate in (0, 1): its scaled product with a linear map of the text."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(text_width, width)

    def forward(self, tokens: Tensor, text_tokens: Tensor) -> Tensor:
        """(P, m, d) patch tokens, (P, d_text) -> (P, m, d)."""
        scores = (tokens * self.query(text_tokens).unsqueeze(1)).sum(dim=-1, keepdim=True)
        return tokens * torch.sigmoid(scores * tokens.shape[-1] ** -0.5)


class Film(nn.Module):
    """Feature-wise modulation: gamma(T) * x + beta(T), with gamma around 1."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.gamma = nn.Linear(text_width, width)
        self.beta = nn.Linear(text_width, width)

    def forward(self, tokens: Tensor, text_tokens: Tensor) -> Tensor:
        """(P, m, d) patch tokens, (P, d_text) -> (P, m, d)."""
        return tokens * (1 + self.gamma(text_tokens)).unsqueeze(1) + self.beta(text_tokens).unsqueeze(1)


def text_modulation(use_of_text: str, text_width: int, width: int) -> nn.Module | None:
    """The module by which the decoder's tokens meet the text; None for ``replace``, where the encoder does it."""
    kinds = {"channel": ChannelAttention, "spatial": SpatialAttention, "film": Film}
    return kinds[use_of_text](text_width, width) if use_of_text in kinds else None


class VisualPrompts(nn.Module):
    """Learned tokens between [CLS] and the patches (visual prompt tuning, shallow: the first layer's input only).

    Args:
        count: number of tokens.
        width: d of the image tower.
        patch: side of a patch in pixels; it sets the scale of the start, as in the original.
    """

    def __init__(self, count: int, width: int, patch: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (3 * patch * patch + width))
        self.tokens = nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))

    def forward(self, embedded: Tensor) -> Tensor:
        """(C, 1 + m, d) -> (C, 1 + count + m, d): [CLS], the prompts, the patches."""
        prompts = self.tokens.to(embedded.dtype).expand(embedded.shape[0], -1, -1)
        return torch.cat([embedded[:, :1], prompts, embedded[:, 1:]], dim=1)
