"""How sure a mask is of itself: the logits of a faint one are lowered, which most masks of absent words are.

s       = sum of max(logit, 0)^2 / sum of max(logit, 0)         the pair's confidence: a mean of the mask's own logits
logit  <- logit - SLOPE * max(least - s, 0)
"""

from __future__ import annotations

import numpy as np

from clsclip_runtime._types import Bools, Doubles, Floats

SLOPE = 4.0
"""Logits fall by so much for each logit that the confidence is short of ``least``."""

_NOTHING = 1e-3

_AT_ONCE = 64
"""Pairs, so that what this takes does not grow with their number."""


def confidence(logits: Floats) -> Doubles:
    """Mask logits (P, h, w) float32 -> confidence (P,) float64: 0 where no logit is positive."""
    positive = np.maximum(logits, 0).astype(np.float64)
    found: Doubles = (positive * positive).mean(axis=(1, 2)) / (positive.mean(axis=(1, 2)) + _NOTHING)
    return found


def lower_faint(logits: Floats, least: float, chosen: Bools | None = None) -> None:
    """Lower mask logits (P, h, w) float32, in place, where a pair's confidence is below ``least``.

    Args:
        logits: may be written to.
        least: a logit.
        chosen: (P,) pairs that this is for; None is all.
    """
    for start in range(0, len(logits), _AT_ONCE):
        part = logits[start : start + _AT_ONCE]
        missing = np.maximum(least - confidence(part), 0).astype(np.float32)
        if chosen is not None:
            missing[~chosen[start : start + _AT_ONCE]] = 0
        if missing.any():
            part -= np.float32(SLOPE) * missing[:, None, None]


def lowered(logits: Floats, least: float) -> Floats:
    """A copy of mask logits (P, h, w) float32 after :func:`lower_faint`."""
    found: Floats = np.array(logits)
    lower_faint(found, least)
    return found
