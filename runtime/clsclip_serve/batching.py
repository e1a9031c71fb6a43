"""How many requests share a call of the engine: measured, since it depends on the engine alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clsclip_runtime.segmenter import Segmenter

TOGETHER = 8
ROUNDS = 3
SECONDS = 2.0
"""After which no other round is begun."""

_WORTH = 0.9
_CLEAR = (0.8, 1.15)
"""Shares of the time below and above which one round says enough: a server that starts again should not wait."""

_WORDS = ("dog",)
_SIDE = 512


@dataclass(frozen=True)
class Measured:
    """What was measured: seconds for ``TOGETHER`` pictures one by one, and in one call."""

    alone: float
    together: float

    @property
    def batch(self) -> int:
        """The better of 1 and ``TOGETHER``; a request that waits for others must gain from it."""
        return TOGETHER if self.together <= _WORTH * self.alone else 1

    def __str__(self) -> str:
        """A line for whoever starts a server."""
        alone, together = 1000 * self.alone, 1000 * self.together
        return (
            f"{TOGETHER} pictures take {alone:.0f} ms one by one and {together:.0f} ms together: --batch {self.batch}"
        )


def measure_batch(segmenter: Segmenter) -> Measured:
    """Segment some pictures one by one and together, in turns; the best time of each counts."""
    pixels = np.random.default_rng(0).integers(0, 256, (TOGETHER, _SIDE, _SIDE, 3), np.uint8)
    images = list(pixels)

    def alone() -> None:
        for image in images:
            segmenter(image, _WORDS, presence_threshold=0)

    def together() -> None:
        segmenter.batch(images, _WORDS, presence_threshold=0)

    segmenter(images[0], _WORDS, presence_threshold=0)  # the engine prepares itself, and the words are encoded
    begun = time.perf_counter()
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        times.append((_seconds(alone), _seconds(together)))
        share = times[-1][1] / times[-1][0]
        if not _CLEAR[0] < share < _CLEAR[1] or time.perf_counter() - begun > SECONDS:
            break
    return Measured(min(one for one, _ in times), min(one for _, one in times))


def _seconds(run: Callable[[], None]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
