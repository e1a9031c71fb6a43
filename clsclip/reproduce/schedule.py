"""Learning rates by step: a warm-up, then a cosine to zero, or a plateau whose end may be set later."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step.

    Attributes:
        peak: after the warm-up.
        warmup: steps of linear warm-up.
        steps: length of the run.
        cooldown: None is a cosine from the warm-up to the end. A number is a plateau that ends in so many steps of
            linear descent: such a run can be made longer or shorter while it is still on the plateau.
    """

    peak: float
    warmup: int
    steps: int
    cooldown: int | None = None

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.cooldown is None:
            share = (step - self.warmup) / max(1, self.steps - self.warmup)
            return self.peak * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        return self.peak * min(1.0, (self.steps - step) / max(1, self.cooldown))
