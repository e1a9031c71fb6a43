"""The loss of a mask: binary cross entropy and, beside it, soft Dice; cells to ignore leave both."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def mask_loss(logits: Tensor, target: Tensor, weight: Tensor, dice: float = 0.5) -> Tensor:
    """Loss of every pair. A batch's loss is their mean, so it can be summed over parts of the batch.

    Args:
        logits: (P, h, w) float32.
        target: (P, h, w) in [0, 1], the share of each cell that is the class.
        weight: (P, h, w) in [0, 1], the share of each cell that counts; a pair without any counted cell costs 0.
        dice: weight of the soft Dice term; it is smoothed by one cell, so that an empty mask can be right.

    Returns:
        (P) float32.
    """
    entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = (weight * entropy).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1)
    if dice:
        probability, truth = weight * torch.sigmoid(logits), weight * target
        overlap = (probability * target).sum(dim=(1, 2))
        both = probability.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))
        loss = loss + dice * (1 - (2 * overlap + 1) / (both + 1))
    return loss
