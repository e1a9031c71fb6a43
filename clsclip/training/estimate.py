"""What a run will cost: its operations, counted before it starts, and its time, from the rate of its first steps."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from clsclip.model import ClsClip
from clsclip.training.config import TrainConfig

MEASURED = 20
"""Steps that the estimate is made from."""

_LEFT_OUT = 5
"""First steps that are slower than the others: processes start, memory is taken."""

_log = logging.getLogger(__name__)


def operations(model: ClsClip, images: int, pairs: int) -> float:
    """Floating point operations of one step, forward and backward; a multiplication and an addition are two.

    Matrix products and convolutions are counted, on tensors without memory, so that nothing is computed.

    Args:
        model: as it is trained.
        images: of a step; each goes through the stem once.
        pairs: of a step, pictures and words; each goes through the trunk.
    """
    alone, two = (_counted(model, count) for count in (1, 2))
    each_pair = two - alone
    return float((alone - each_pair) * images + each_pair * pairs)


def _counted(model: ClsClip, pairs: int) -> int:
    """Operations of a step with one picture."""
    size = model.towers.image.size
    empty: dict[str, torch.Tensor] = {
        name: torch.empty_like(value, device="meta", dtype=torch.float32).requires_grad_(
            isinstance(value, nn.Parameter) and value.requires_grad
        )
        for name, value in (*model.named_parameters(), *model.named_buffers())
    }
    index = torch.zeros(pairs, dtype=torch.int64, device="meta")
    pixels = torch.empty(1, 3, size, size, device="meta")
    words = torch.empty(1, model.towers.text_width, device="meta")
    with FlopCounterMode(display=False) as counter:
        functional_call(model, empty, (pixels, words, index, index)).sum().backward()
    return int(counter.get_total_flops())


def tell_operations(model: ClsClip, config: TrainConfig, steps: int) -> None:
    """Write into the log what a run of so many steps will compute; counted only where the log is read."""
    if not _log.isEnabledFor(logging.INFO):
        return
    images = config.pairs_per_step // config.words_per_picture
    step = operations(model, images, config.pairs_per_step)
    _log.info(
        "%s a step of %d pairs, forward and backward: %s for %d steps. The time follows after %d steps",
        *(amount(step), config.pairs_per_step, amount(step * steps), steps, MEASURED),
    )


class Estimate:
    """Tells how long the whole run will take, once its first steps are done; a report.

    Args:
        total: steps of the run.
        step: steps already done.
        clock: seconds.
        told: gets the sentence; None is the log.
    """

    def __init__(
        self,
        total: int,
        step: int,
        clock: Callable[[], float] = time.perf_counter,
        told: Callable[[str], None] | None = None,
    ) -> None:
        self.total, self.begin, self.clock = total, step, clock
        self.told = told or (lambda line: _log.info("%s", line))
        self.times = [clock()]

    def step(self, done: int) -> None:
        """``done`` steps are done; after twenty the sentence is told."""
        if len(self.times) > MEASURED:
            return
        self.times.append(self.clock())
        if len(self.times) > MEASURED and done < self.total:
            self.told(self.sentence(done))

    def sentence(self, done: int) -> str:
        """How long the run takes at the rate of the steps so far."""
        each = [after - before for before, after in zip(self.times, self.times[1:], strict=False)][_LEFT_OUT:]
        # The mean, not the median: steps that wait for pictures are part of the run.
        spent, left = self.times[-1] - self.times[0], (self.total - done) * statistics.fmean(each)
        return (
            f"about {lasting(spent + left)} for {self.total - self.begin} steps, at the rate just measured over "
            f"{len(each)} steps ({statistics.fmean(each):.3g} s a step); writing and validation come on top"
        )

    def metrics(self, line: dict[str, Any]) -> None:
        """Lines of metrics tell nothing new."""

    def close(self) -> None:
        """Nothing is held."""


def lasting(seconds: float) -> str:
    """A time for people, to two or three digits: ``45 s``, ``12 min``, ``9.2 hours``, ``3.1 days``."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def amount(count: float) -> str:
    """A number of operations for people: ``6.8 TFLOP``."""
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e9:.3g} GFLOP"
