"""Results of a video made steady: classes that come and go are held, and masks are averaged along the motion.

A class comes when the mean of its presence reaches the threshold, and goes when it falls below a share of it, so that
it does not flicker around one value. Means are over the time before, never over frames that are still to come: a live
picture is not late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clsclip_runtime._types import Doubles, Floats
from clsclip_runtime.results.pairs import WHOLE, Pairs
from clsclip_runtime.video.frames import Frame
from clsclip_runtime.video.motion import carried

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

HELD_SHARE = 0.75
"""Of the presence threshold, below which a class that was there goes."""

PRESENCE_S, MASK_S = 0.5, 0.2
"""Seconds over which presence and masks are averaged."""

LONGEST_GAP_S = 1.0
"""Between two frames; behind a longer one everything begins anew."""

_USUAL_STEP_S = 0.04
_MOST_LOGIT = 20.0
"""Logits are cut to this, so that one frame cannot outweigh all others."""


@dataclass
class _Class:
    """What is known of one class: the mean of its presence, and whether it is there."""

    presence: float | None = None
    is_shown: bool = False


class Smoother:
    """Takes the results of one video's frames in their order, of whole images, and gives steady ones.

    They must have been asked with ``held_threshold`` in place of the presence threshold: a class that is held needs a
    mask.
    """

    def __init__(self, presence_threshold: float | None) -> None:
        """Begin a video; ``presence_threshold`` is what a class must reach, None for a call without a filter."""
        self._threshold = presence_threshold
        self._classes: list[_Class] = []
        self._logits: dict[tuple[int, int], Floats] = {}
        self._seconds: float | None = None
        self._size: tuple[int, int] | None = None

    @staticmethod
    def held_threshold(presence_threshold: float) -> float:
        """The threshold to call a segmenter with."""
        return presence_threshold * HELD_SHARE

    def __call__(self, frame: Frame, result: Result, motion: Doubles | None) -> Result:
        """The steady result of a frame.

        Args:
            frame: it.
            result: of this frame alone.
            motion: of its picture since the one before, as ``Motion`` gives it.
        """
        step = self._step(frame, result)
        if len(self._classes) != len(result.classes):
            self._classes = [_Class() for _ in result.classes]
        self._average(result, motion, step)
        for one, search in zip(self._classes, result.searches, strict=True):
            self._follow(one, search.presence, search.segmented, step)
        shown = [one.is_shown and any(at == key[0] for key in self._logits) for at, one in enumerate(self._classes)]
        searches = tuple(
            replace(search, segmented=shown[at], presence=self._classes[at].presence, outnumbered=search.outnumbered)
            for at, search in enumerate(result.searches)
        )
        note = f"presence was averaged over {PRESENCE_S:g} s and masks over {MASK_S:g} s of the video"
        return replace(
            result,
            searches=searches,
            pairs=self._pairs(result, shown),
            presence_threshold=self._threshold,
            notes=[*result.notes, note],
        )

    def _step(self, frame: Frame, result: Result) -> float:
        """Seconds since the frame before; begins anew behind a gap and where pictures have another size."""
        before, self._seconds = self._seconds, frame.seconds
        if before is None or not 0 <= frame.seconds - before <= LONGEST_GAP_S or result.size != self._size:
            self._classes, self._logits = [], {}
        self._size = result.size
        return _USUAL_STEP_S if before is None or frame.seconds <= before else frame.seconds - before

    def _average(self, result: Result, motion: Doubles | None, step: float) -> None:
        """Carry what is known to this frame, and mix what was found in with it."""
        new = 1 - math.exp(-step / MASK_S)
        known = {} if motion is None else {key: carried(one, motion) for key, one in self._logits.items()}
        found = {
            (int(of_class), int(prompt)): np.clip(logits, -_MOST_LOGIT, _MOST_LOGIT)
            for of_class, prompt, logits in zip(
                result.pairs.classes, result.pairs.prompts, result.pairs.logits, strict=True
            )
        }
        for key, logits in found.items():
            before = known.get(key)
            fits = before is not None and before.shape == logits.shape
            known[key] = np.float32(new) * logits + np.float32(1 - new) * before if fits else logits
        self._logits = {key: one for key, one in known.items() if key in found or self._classes[key[0]].is_shown}

    def _follow(self, one: _Class, presence: float | None, segmented: bool, step: float) -> None:
        """Take the presence of one class in, and decide whether it is there."""
        if presence is None or self._threshold is None:
            one.presence, one.is_shown = presence, segmented
            return
        new = 1 - math.exp(-step / PRESENCE_S)
        one.presence = presence if one.presence is None else one.presence + new * (presence - one.presence)
        if one.presence >= self._threshold:
            one.is_shown = True
        elif one.presence < self.held_threshold(self._threshold):
            one.is_shown = False

    def _pairs(self, result: Result, shown: list[bool]) -> Pairs:
        kept = sorted(key for key in self._logits if shown[key[0]])
        count = len(kept)
        windows = np.tile(np.array([[0, 0, *result.size]], np.int64), (count, 1))
        shape = result.pairs.logits.shape[1:]
        presence = [self._classes[at].presence for at, _ in kept]
        return Pairs(
            classes=np.array([at for at, _ in kept], np.int64),
            prompts=np.array([prompt for _, prompt in kept], np.int64),
            windows=windows,
            limits=windows,
            boxes=np.full(count, WHOLE, np.int64),
            mask_logits=np.full(count, result.mask_logit),
            presence=np.array([np.nan if one is None else one for one in presence], np.float32),
            logits=np.stack([self._logits[key] for key in kept]) if kept else np.zeros((0, *shape), np.float32),
        )
