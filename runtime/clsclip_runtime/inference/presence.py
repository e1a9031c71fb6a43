"""The presence filter: which pairs of a crop and a word are segmented, or kept, by the presence of the word.

CLIP's own image embedding scores all words of a crop in one pass that shares the stem. So a pair whose presence is
below the threshold, or that is outside the best ``max_classes`` of its crop, never reaches the trunk. Where only the
trunk knows presence, the same rules drop pairs after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Bools, Floats, Integers
from clsclip_runtime.bundle.specs import LOGIT, PresenceSpec
from clsclip_runtime.errors import OptionError
from clsclip_runtime.options import number_in


@dataclass(frozen=True)
class PresenceFilter:
    """What a pair must reach.

    Attributes:
        threshold: least presence, 0..1.
        max_classes: most words of a crop, the likeliest of those at or above ``threshold``; None for any number.
        in_tiles: least presence in a tile; None is ``threshold``.
        least_confidence: the logits of masks that are less sure are lowered, but of crops whose source says what they
            show; 0 lowers none.
    """

    threshold: float
    max_classes: int | None = None
    in_tiles: float | None = None
    least_confidence: float = 0.0

    def choose(
        self, asked: Bools, named: Bools, tiled: Bools, presence: Floats, *, classes: Integers | None = None
    ) -> tuple[Bools, Bools]:
        """Choose pairs.

        Args:
            asked: (C, K), which words are asked of which crop.
            named: (C,), crops of which their source says what they show: their words always pass, and take no place
                among the ``max_classes``.
            tiled: (C,), crops that are tiles.
            presence: (C, K) in 0..1.
            classes: (K,) which class each word is a prompt of; None where each word is a class. A class is as likely as
                its likeliest prompt.

        Returns:
            (C, K) pairs that pass, and (C, K) those that only ``max_classes`` keeps out. Of equal words the first is
            taken.
        """
        in_tiles = self.threshold if self.in_tiles is None else self.in_tiles
        least = np.where(tiled, np.float32(in_tiles), np.float32(self.threshold))
        guessed = asked & ~named[:, None] & (presence >= least[:, None])
        sure = asked & named[:, None]
        if self.max_classes is None or guessed.shape[1] <= self.max_classes:
            return sure | guessed, np.zeros_like(asked)
        likely = np.where(guessed, presence, -np.inf)
        if classes is not None:
            of_classes = np.full((int(classes.max()) + 1, len(likely)), -np.inf, np.float32)
            np.maximum.at(of_classes, classes, likely.T)
            likely = of_classes.T
        order = np.argsort(-likely, axis=1, kind="stable")
        best = np.zeros(likely.shape, np.bool_)
        np.put_along_axis(best, order[:, : self.max_classes], True, axis=1)
        if classes is not None:
            best = best[:, classes]
        return sure | (guessed & best), guessed & ~best


def as_probability(values: npt.NDArray[np.generic], form: str) -> Floats:
    """Presence as a graph gives it, as probabilities: logits go through the sigmoid, all are clipped to 0..1."""
    numbers = values.astype(np.float32)
    if form == LOGIT:
        numbers = (np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * numbers))).astype(np.float32)
    return np.clip(numbers, np.float32(0), np.float32(1))


def choose_filter(
    presence_filter: bool | None,
    presence_threshold: float | None,
    max_classes: int | None,
    *,
    spec: PresenceSpec | None,
) -> tuple[PresenceFilter | None, tuple[str, ...]]:
    """The filter of a call.

    Args:
        presence_filter: None is True where the bundle's threshold was fitted or a value is given here, else False.
        presence_threshold: 0..1; None is the bundle's own.
        max_classes: see ``PresenceFilter``.
        spec: what the bundle knows about presence; None for nothing.

    Returns:
        The filter, None to segment every word; and sentences for the user.

    Raises:
        OptionError: a value makes no sense, contradicts another, or needs presence, which the bundle lacks.
    """
    check_filter(presence_filter, presence_threshold, max_classes)
    if presence_filter is False:
        return None, ()
    if spec is None:
        if presence_filter or max_classes is not None:
            asked = "presence_filter=True" if presence_filter else "max_classes"
            raise OptionError(
                f"{asked} needs presence, and the bundle cannot tell it. Export it again with clsclip-export, or use "
                "presence_filter=False"
            )
        return None, (
            "presence_threshold has no effect: the bundle cannot tell presence",
        ) if presence_threshold else ()
    fitted = spec.threshold or spec.least_confidence
    if presence_filter is None and presence_threshold is None and max_classes is None and not fitted:
        return None, ()
    threshold = spec.threshold if presence_threshold is None else float(presence_threshold)
    # A threshold of 0 that the caller gives asks for every word as the model draws it.
    least = 0.0 if presence_threshold == 0 else spec.least_confidence
    return PresenceFilter(threshold, max_classes, least_confidence=least), ()


def check_filter(presence_filter: bool | None, presence_threshold: float | None, max_classes: int | None) -> None:
    """Raise OptionError for values that make no sense whatever the bundle."""
    if presence_filter is not None and not isinstance(presence_filter, bool):
        raise OptionError(f"presence_filter must be True, False or None, and it is {presence_filter!r}")
    if presence_threshold is not None:
        number_in("presence_threshold", presence_threshold, 0, 1)
    is_whole = isinstance(max_classes, (int, np.integer)) and not isinstance(max_classes, bool)
    if max_classes is not None and (not is_whole or max_classes < 1):
        raise OptionError(f"max_classes must be a whole number of 1 or more, or None, and it is {max_classes!r}")
    if presence_filter is False and (presence_threshold or max_classes is not None):
        given = "max_classes" if max_classes is not None else "presence_threshold"
        raise OptionError(
            f"{given} needs the presence filter, and presence_filter is False. Use presence_filter=True, or leave "
            f"{given} out"
        )
