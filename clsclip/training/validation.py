"""Validation while training: figures, contact sheets of fixed pictures, curves, and the best checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clsclip.data.base import Fold
from clsclip.errors import DataError
from clsclip.evaluation.controls import prompted
from clsclip.evaluation.evaluate import Method, evaluate
from clsclip.evaluation.predictors import CheckpointPredictor
from clsclip.evaluation.protocol import Protocol
from clsclip.model import ClsClip
from clsclip.run_files import CURVES_FILE, LOG_FILE, SHEETS_FOLDER, VALIDATION_FILE
from clsclip.training.config import TrainConfig
from clsclip.training.report import JsonLines, read_lines
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.libraries import import_matplotlib

if TYPE_CHECKING:
    from clsclip.evaluation.evaluate import Report

_log = logging.getLogger(__name__)

SHEET_PAIRS = 6
"""Pairs of a contact sheet."""

SHARE = 0.2
"""Largest share of the time that validations take."""

EVERY = Protocol(None, every=True)


class Validator:
    """Validates a model that is being trained.

    Attributes:
        last: figures of the newest validation; None before the first.
        best: the largest mIoU so far, percent; None before the first.

    Args:
        model: on its device; it is asked, never changed.
        fold: its test side is validated on.
        config: how often, on how many pictures.
        out: folder of the run.
        step: steps already done: figures of later ones are of a run that was killed, and go.
    """

    def __init__(self, model: ClsClip, fold: Fold, config: TrainConfig, out: Path, step: int) -> None:
        self.fold, self.config, self.out = some_images(fold, config.validation_pictures, config.seed), config, out
        self._log = JsonLines(out / VALIDATION_FILE, step)
        lines = read_lines(out / VALIDATION_FILE)
        self.last: dict[str, Any] | None = lines[-1] if lines else None
        self.best: float | None = max((one["miou"] for one in lines if one.get("miou") is not None), default=None)
        self._predictor = CheckpointPredictor(model, (config.template,), device=str(next(model.parameters()).device))
        self._method = prompted(Method(self._predictor), fold.test)
        self._next = time.monotonic() + 60 * config.validate_minutes
        self._draws = True

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() >= self._next

    def run(self, step: int) -> bool:
        """Validate after ``step`` steps; returns whether the mIoU is the best so far.

        Raises:
            DataError: with ``strict``, a picture cannot be read.
        """
        begun = time.monotonic()
        with Progress("validation, pictures") as progress:
            report = evaluate(self.fold, self._method, EVERY, progress=progress.update, strict=self.config.strict)
        seconds = time.monotonic() - begun
        self.last = figures_of(report, step, seconds)
        self._log.metrics(self.last)
        _log.info("validation after step %d: %s", step, told(self.last))
        miou = self.last["miou"]
        better = miou is not None and (self.best is None or miou > self.best)
        self.best = miou if better else self.best
        self.draw(step)
        self._next = time.monotonic() + max(60 * self.config.validate_minutes, seconds * (1 / SHARE - 1))
        return better

    def draw(self, step: int) -> None:
        """Draw the contact sheet and the curves; without Matplotlib it is said once that there are none."""
        if not self._draws:
            return
        try:
            import_matplotlib()
        except ImportError:
            _log.warning("no contact sheets and curves: Matplotlib is not installed. Run: pip install matplotlib")
            self._draws = False
            return
        from clsclip.evaluation.figures import curves_figure, save_figure, side_by_side

        curves = curves_figure(read_lines(self.out / LOG_FILE), read_lines(self.out / VALIDATION_FILE))
        save_figure(curves, self.out / CURVES_FILE)
        pairs = fixed_pairs(self.fold, SHEET_PAIRS)
        try:
            sheet = side_by_side(self.fold, [self._method], EVERY, pairs, names=[f"step {step}"])
        except DataError as error:
            _log.warning("no contact sheet: %s", error)
            return
        save_figure(sheet, self.out / SHEETS_FOLDER / f"step_{step:07d}.png")


def some_images(fold: Fold, most: int, seed: int) -> Fold:
    """The fold with at most so many pictures in its test, chosen by the seed."""
    images = sorted({index for index, _ in fold.test_pairs})
    if len(images) <= most:
        return fold
    kept = set(np.random.default_rng([seed, 5]).permutation(images)[:most].tolist())
    return replace(fold, test_pairs=tuple(pair for pair in fold.test_pairs if pair[0] in kept))


def fixed_pairs(fold: Fold, count: int) -> list[tuple[int, int]]:
    """Pairs to show, the same at every step: of as many classes as there is room for."""
    by_class: dict[int, list[tuple[int, int]]] = {}
    for pair in dict.fromkeys(fold.test_pairs):
        by_class.setdefault(pair[1], []).append(pair)
    rounds: Sequence[Sequence[tuple[int, int]]] = list(by_class.values())
    longest = max(map(len, rounds), default=0)
    found = [own[at] for at in range(longest) for own in rounds if at < len(own)]
    return found[:count]


def figures_of(report: Report, step: int, seconds: float) -> dict[str, Any]:
    """A line of ``validation.jsonl``: rounded figures, None where nothing was counted."""

    def plain(value: float, digits: int) -> float | None:
        return round(value, digits) if value == value else None

    return {
        "step": step,
        "miou": plain(report.miou, 2),
        "which_word": plain(report.which_word, 2),
        "leakage": plain(report.leakage, 4),
        "pictures": report.images,
        "pairs": report.pairs,
        "classes": {one.word: plain(one.iou, 1) for one in report.classes if one.episodes},
        "seconds": round(seconds, 1),
    }


def told(line: dict[str, Any]) -> str:
    """A line of figures in words."""

    def shown(name: str, digits: int) -> str:
        return "-" if line[name] is None else f"{line[name]:.{digits}f}"

    return (
        f"mIoU {shown('miou', 1)}, which-word mIoU {shown('which_word', 1)}, leakage {shown('leakage', 2)} "
        f"on {line['pictures']} pictures"
    )
