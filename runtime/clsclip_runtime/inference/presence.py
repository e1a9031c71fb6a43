"""The gate: which pairs of a crop and a word are segmented, told by CLIP's own features before the trunk runs.

One pass of the unmodified encoder, which shares the stem, scores all words of a crop; a pair whose presence is below
the threshold, or that is outside the best ``top_k`` of its crop, never reaches the trunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clsclip_runtime._types import Bools, Floats
from clsclip_runtime.errors import OptionError
from clsclip_runtime.options import number_in

GATES = ("clip", "off")
"""``clip``: by CLIP's image and patch features. ``off``: every word of every crop is segmented."""


@dataclass(frozen=True)
class Gate:
    """What a pair must reach to be segmented.

    Attributes:
        threshold: least presence, 0..1.
        top_k: most words of a crop, the likeliest of those at or above ``threshold``; None for any number.
    """

    threshold: float
    top_k: int | None = None

    def choose(self, asked: Bools, named: Bools, presence: Floats) -> tuple[Bools, Bools]:
        """Which pairs are segmented.

        Args:
            asked: (C, K), which words are asked of which crop.
            named: (C,), crops of which their source says what they show: their words are always segmented, and take no
                place among the ``top_k``.
            presence: (C, K) in 0..1.

        Returns:
            (C, K) pairs to segment, and (C, K) those that only ``top_k`` keeps out. Of equal words the first is taken.
        """
        guessed = asked & ~named[:, None] & (presence >= np.float32(self.threshold))
        sure = asked & named[:, None]
        if self.top_k is None or guessed.shape[1] <= self.top_k:
            return sure | guessed, np.zeros_like(asked)
        order = np.argsort(np.where(guessed, -presence, np.inf), axis=1, kind="stable")
        best = np.zeros_like(asked)
        np.put_along_axis(best, order[:, : self.top_k], True, axis=1)
        return sure | (guessed & best), guessed & ~best


def choose_gate(
    name: str | None,
    presence_threshold: float | None,
    top_k: int | None,
    *,
    trained: float | None,
) -> tuple[Gate | None, list[str]]:
    """The gate of a call.

    Args:
        name: one of ``GATES``; None is ``clip`` where the bundle's threshold was trained or a value is given here, else
            ``off``.
        presence_threshold: 0..1; None is the bundle's own.
        top_k: see ``Gate``.
        trained: the bundle's own threshold, 0 where none was trained; None for a bundle without a gate.

    Returns:
        The gate, None for every word; and sentences for the user.

    Raises:
        OptionError: a value makes no sense, contradicts another, or needs a gate that the bundle lacks.
    """
    check_gate(name, presence_threshold, top_k)
    if name == "off":
        return None, []
    if trained is None:
        if name == "clip" or top_k is not None:
            asked = "gate='clip'" if name == "clip" else "top_k"
            raise OptionError(
                f"{asked} needs a gate, and the bundle has none. Export it again with clsclip-export, or use gate='off'"
            )
        useless = ["presence_threshold has no effect: the bundle has no presence gate"] if presence_threshold else []
        return None, useless
    if name is None and presence_threshold is None and top_k is None and not trained:
        return None, []
    return Gate(trained if presence_threshold is None else float(presence_threshold), top_k), []


def check_gate(name: str | None, presence_threshold: float | None, top_k: int | None) -> None:
    """Raise OptionError for values that make no sense whatever the bundle."""
    if name is not None and name not in GATES:
        raise OptionError(f"gate must be one of {', '.join(GATES)}, or None, and it is {name!r}")
    if presence_threshold is not None:
        number_in("presence_threshold", presence_threshold, 0, 1)
    is_whole = isinstance(top_k, (int, np.integer)) and not isinstance(top_k, bool)
    if top_k is not None and (not is_whole or top_k < 1):
        raise OptionError(f"top_k must be a whole number of 1 or more, or None, and it is {top_k!r}")
    if name == "off" and (presence_threshold or top_k is not None):
        given = "top_k" if top_k is not None else "presence_threshold"
        raise OptionError(f"{given} needs the gate, and gate is 'off'. Use gate='clip', or leave {given} out")
