"""How sure a mask is of itself: the logits of a faint one are lowered, which most masks of absent words are.

s       = sum of max(logit, 0)^2 / sum of max(logit, 0)         the pair's confidence: a mean of the mask's own logits
logit  <- logit - SLOPE * max(least - s, 0)

It is a part of the trunk, so every engine, every crop and every tile has it. ``least`` is fitted when training is over
(``clsclip-eval threshold``); 0 changes nothing, and training never sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SLOPE = 4.0
"""Logits fall by so much for each logit that the confidence is short of ``least``."""

MOST = 50.0
"""Largest ``least`` that is taken; logits are seldom over 20."""

_NOTHING = 1e-3


def confidence(logits: Tensor) -> Tensor:
    """Mask logits (P, h, w) -> confidence (P, 1, 1): 0 where no logit is positive."""
    positive = torch.relu(logits)
    return (positive * positive).mean(dim=(1, 2), keepdim=True) / (positive.mean(dim=(1, 2), keepdim=True) + _NOTHING)


def lowered(logits: Tensor, least: float) -> Tensor:
    """Mask logits (P, h, w), lowered where a pair's confidence is below ``least``; those of sure masks stay."""
    return logits - SLOPE * torch.relu(least - confidence(logits)) if least > 0 else logits


def least_confidence_of(provenance: Mapping[str, Any]) -> float:
    """The confidence below which logits are lowered, as ``clsclip-eval threshold`` has fitted it, else 0."""
    found = provenance.get("least_confidence")
    return float(found) if isinstance(found, float) and 0 < found <= MOST else 0.0
