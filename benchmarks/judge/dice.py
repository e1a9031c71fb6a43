"""Random numbers that are the same on every machine and with every version of NumPy.

Only the raw bits of PCG64 are used: NumPy promises those for ever, but not the streams of its ``Generator``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Dice:
    """A stream of random numbers, named by whole numbers."""

    def __init__(self, *name: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(name))

    def many(self, *shape: int) -> NDArray[np.float64]:
        """Numbers of 53 bits, evenly from 0 to below 1."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), np.uint64)
        return (raw >> np.uint64(11)).astype(np.float64).reshape(shape) / float(1 << 53)

    def uniform(self, low: float, high: float) -> float:
        """A number from ``low`` to below ``high``."""
        return low + (high - low) * float(self.many(1)[0])

    def integer(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both possible."""
        return low + int(float(self.many(1)[0]) * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return float(self.many(1)[0]) < probability

    def one_of(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[self.integer(0, len(choices) - 1)]

    def color(self) -> NDArray[np.float64]:
        """An RGB color, 0 to 255: random, paled or darkened, so that grays are as common as strong colors."""
        color = self.many(3) * 255
        gray = (color[0] + color[1] + color[2]) / 3
        return gray + (color - gray) * self.uniform(0.1, 1.2)
