"""Training ClsCLIP with masks: the linear maps, the prompts and the decoder learn, both towers stay frozen."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from clsclip.data.base import Fold, trained_words
from clsclip.errors import DataError, TrainingError
from clsclip.model import ClsClip
from clsclip.preprocessing import image_spec
from clsclip.run_files import CHECKPOINT_FILE, STATE_FILE
from clsclip.training.config import TrainConfig, settings_of
from clsclip.training.estimate import tell_operations
from clsclip.training.keeping import Keeper
from clsclip.training.pairs import Failed, Piece, Pieces, Unshared
from clsclip.training.plan import Plan
from clsclip.training.processes import Processes, join_processes
from clsclip.training.provenance import run_provenance
from clsclip.training.report import Report, Silent, open_report
from clsclip.training.state import load_state, share_state
from clsclip.training.stepper import Stepper, StepResult
from clsclip.training.validation import Validator
from clsclip_runtime.paths import exists, make_folder
from clsclip_runtime.text.mending import fill_template

_log = logging.getLogger(__name__)

T = TypeVar("T")

_NAMED = 5
"""Pictures that could not be read and are named in the log."""


@dataclass(frozen=True)
class TrainingSummary:
    """What a run came to.

    Attributes:
        checkpoint: path of ``last.safetensors``.
        steps: of the whole run, those before a resumption included.
        epochs: passes over the training pairs.
        skipped: steps whose loss or gradient was not finite.
        loss: mean over the last line of metrics; None when nothing was left to do.
        seconds: of this start, loading not counted.
        pairs_per_second: of this start, over all processes.
        presence: fit of the presence head (threshold and the shares kept at it), or None.
        validation: figures of the last validation, see ``validation.jsonl``; None without one.
        best: path of the checkpoint with the best validation mIoU; None without validation.
        passed_over: why each picture that could not be read was passed over, by name.
    """

    checkpoint: Path
    steps: int
    epochs: float
    skipped: int
    loss: float | None
    seconds: float
    pairs_per_second: float
    presence: dict[str, float] | None
    validation: dict[str, Any] | None = None
    best: Path | None = None
    passed_over: dict[str, str] = field(default_factory=dict)


def train(
    model: ClsClip,
    fold: Fold,
    config: TrainConfig,
    out: Path,
    *,
    towers: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    resume: bool = False,
    validation: Fold | None = None,
) -> TrainingSummary:
    """Train ``model`` in place and write ``out/last.safetensors``, which ``clsclip-export`` reads at any time.

    Under ``torchrun`` the processes share every batch, and the first one writes. A run that is interrupted, or ended by
    an error, writes what is done before it ends.

    Args:
        model: fresh; its weights are the start, unless the run is resumed.
        fold: pictures, masks and the words that may be trained on.
        config: see :class:`TrainConfig`.
        out: folder of the run: see :mod:`clsclip.run_files`.
        towers: where the checkpoint says that its towers are: an open_clip name with ``:tag``, or a folder relative
            to ``out``. None takes the towers' name.
        provenance: more to write into the checkpoint: ``description``, ``license``.
        resume: go on from ``out/training_state.safetensors``; without that file the run starts anew. With more steps
            than before the run goes on beyond its end.
        validation: its test side is asked while training; None for no validation.

    Returns:
        figures of the run; ``model`` holds the trained weights, in evaluation mode, on the CPU.

    Raises:
        TrainingError: the run cannot start, go on or be resumed; the message says why.
        DataError: a picture or a mask cannot be read, or the fold has nothing to train on.
        TowersError: the towers hold NaN.
    """
    plan = Plan(fold, config)
    state_file = out / STATE_FILE
    with join_processes(config.device) as processes:
        if processes.first and exists(state_file) and not resume:
            raise TrainingError(f"{out} holds a training run. Go on with it: --resume; or give another --out.")
        run = _Run(model, fold, config, out, plan, processes, towers or model.towers.name, provenance or {})
        try:
            return run.train(state_file, resume, validation)
        finally:
            model.to("cpu").eval()


class _Run:
    """One run; see :func:`train`."""

    def __init__(
        self,
        model: ClsClip,
        fold: Fold,
        config: TrainConfig,
        out: Path,
        plan: Plan,
        processes: Processes,
        towers: str,
        provenance: Mapping[str, Any],
    ) -> None:
        self.model, self.fold, self.config, self.out, self.plan = model, fold, config, out, plan
        self.processes = processes
        self.identity = model.towers.identity()  # once: it hashes all frozen weights
        self.settings = settings_of(model, fold, config, self.identity)
        self.provenance = run_provenance(fold, config, model) | dict(provenance)
        self.total = config.total_steps(plan.steps_per_epoch)
        if processes.first:
            tell_operations(model, config, self.total)
        self.settings["lengths"] = [[0, self.total]]
        self.passed_over: dict[str, str] = {}
        model.to(processes.device).eval()
        self.stepper = Stepper(model, self.text_tokens(), config, processes)
        self.keeper = Keeper(self.stepper, out, plan, self.settings, self.provenance, towers, self.identity)

    def text_tokens(self) -> Tensor:
        """(K, d_text) of the seen words, computed once: the text tower is frozen."""
        words = [fill_template(self.config.template, word) for word in trained_words(self.fold.train, self.fold.seen)]
        with torch.no_grad():
            return self.model.encode_words(words)[0]

    def train(self, state_file: Path, resume: bool, validation: Fold | None) -> TrainingSummary:
        first = self.processes.first
        start = self.restore(state_file, resume) if first else 0
        start = share_state(self.stepper, start)
        self.stepper.done = self.keeper.saved = start
        report = open_report(self.out, self.total, start, self.config.tensorboard) if first else Silent()
        validator = None
        started = time.perf_counter()
        try:
            if first:
                self.keeper.fit_presence(self.fold)
                if validation is not None:
                    validator = Validator(self.model, validation, self.config, self.out, start)
                    self.keeper.validation = validator.last
            loss = self.steps(start, report, validator)
        except BaseException as error:
            if first:
                self.keeper.rescue(error, self.total)
            raise
        finally:
            report.close()
        seconds = time.perf_counter() - started
        if first:
            # Also when nothing was left to do: the last run may have been killed between its two files.
            self.keeper.save_checkpoint(self.total)
        self.processes.wait()
        return TrainingSummary(
            checkpoint=self.out / CHECKPOINT_FILE,
            steps=self.total,
            epochs=round(self.total / self.plan.steps_per_epoch, 3),
            skipped=self.stepper.skipped,
            loss=loss,
            seconds=round(seconds, 3),
            pairs_per_second=round((self.total - start) * self.pairs_a_step / seconds, 1),
            presence=self.keeper.presence,
            validation=self.keeper.validation,
            best=None if validator is None else self.keeper.best_file(),
            passed_over=self.passed_over,
        )

    def restore(self, state_file: Path, resume: bool) -> int:
        """Go on from what the run's folder holds, if that is asked for; returns the steps that are done."""
        make_folder(self.out)
        if not resume:
            return 0
        if not exists(state_file):
            _log.info("%s holds no run to resume; starting anew", self.out)
            return 0
        restored = load_state(self.stepper, state_file, self.settings)
        if restored.step > self.total:
            raise TrainingError(
                f"{self.out} has done {restored.step} steps already, and this run would have {self.total}. "
                f"Give more: --steps {2 * restored.step}"
            )
        before = self.keeper.lengthen(restored, self.total)
        if before is not None:
            _log.info(
                "the run had %d steps and goes on to %d; from step %d its learning rate falls towards the new end",
                *(before, self.total, restored.step + 1),
            )
        _log.info("resumed after step %d of %d", restored.step, self.total)
        return restored.step

    @property
    def pairs_a_step(self) -> int:
        """Pairs of a step; fewer than configured only where the data has fewer."""
        return sum(one.pairs for one in self.plan.step(0))

    def steps(self, start: int, report: Report, validator: Validator | None) -> float | None:
        """Steps ``start`` to the last; returns the mean loss of the last line of metrics."""
        config = self.config
        last_line: dict[str, Any] | None = None
        meter = _Meter(self.pairs_a_step)
        pieces = self.pieces(start)
        for number in range(start, self.total):
            rate = config.rate(number, self.plan.steps_per_epoch)
            done = number + 1

            def told(result: StepResult, done: int = done, rate: float = rate) -> None:
                nonlocal last_line
                meter.add(result)
                report.step(done)
                if done % config.log_every == 0 or done == self.total:
                    epoch = round(done / self.plan.steps_per_epoch, 4)
                    last_line = meter.line(done, epoch, rate, self.stepper.skipped)
                    report.metrics(last_line)

            self.stepper.step(islice(pieces, config.accumulate), done, rate, told)
            if self.processes.first:
                validates = validator is not None and (validator.due() or done == self.total)
                if self.keeper.due(done) or done == self.total or validates:
                    self.keeper.save(done)
                if validator is not None and validates:
                    self.validate(validator, done)
        return None if last_line is None else last_line["loss"]

    def validate(self, validator: Validator, done: int) -> None:
        """Validate, and keep the weights where they are the best so far."""
        better = validator.run(done)
        self.keeper.validation = validator.last
        self.keeper.save_checkpoint(done)
        if better:
            self.keeper.save_best(done)

    def pieces(self, start: int) -> Iterator[Piece]:
        """This process's micro-batches from step ``start`` to the end, read ahead by the workers."""
        config = self.config
        grid = self.model.towers.grid * self.model.config.upscale
        spec = image_spec(self.model)
        data = Pieces(self.fold, self.plan, spec, grid, self.processes.rank, self.processes.count, strict=config.strict)
        order = range(start * config.accumulate, self.total * config.accumulate)
        loader: DataLoader[Piece | Unshared | Failed] = DataLoader(
            data, batch_size=None, sampler=order, num_workers=config.workers
        )
        for found in _alive(loader):
            if isinstance(found, Failed):
                raise DataError(found.message)
            piece = found.piece() if isinstance(found, Unshared) else found
            self.count_passed_over(piece)
            yield piece

    def count_passed_over(self, piece: Piece) -> None:
        """Tell of pictures that could not be read. DataError when they are more than half of all."""
        if not piece.passed_over:
            return
        for key, why in piece.passed_over:
            if key in self.passed_over:
                continue
            self.passed_over[key] = why
            if len(self.passed_over) <= _NAMED:
                _log.warning("passed over: %s", why)
            elif len(self.passed_over) == _NAMED + 1:
                _log.warning("more pictures cannot be read; they are counted, and named in the checkpoint")
            self.provenance["passed_over"] = sorted(self.passed_over)[:100]
        if 2 * len(self.passed_over) > len({index for index, _ in self.fold.train_pairs}):
            raise DataError(
                f"More than half of the pictures cannot be read ({len(self.passed_over)} so far). "
                f"The first: {next(iter(self.passed_over.values()))}"
            )


def _alive(loader: Iterable[T]) -> Iterator[T]:
    """What a loader gives. TrainingError where one of its processes died."""
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = " ".join(str(error).split())
        raise TrainingError(
            f"A process that reads pictures died ({reason[:200]}): as a rule there was too little memory, or "
            "too little shared memory (docker run --shm-size 1g). Go on with --resume; if it happens again, with "
            "--workers 0."
        ) from error


class _Meter:
    """Means over the steps since the last line of metrics."""

    def __init__(self, pairs_a_step: int) -> None:
        self.pairs_a_step = pairs_a_step
        self.results: list[StepResult] = []
        self.since = time.perf_counter()

    def add(self, result: StepResult) -> None:
        self.results.append(result)

    def line(self, step: int, epoch: float, rate: float, skipped: int) -> dict[str, Any]:
        """One line of metrics; means leave out the skipped steps, and are None where there was no other."""
        good = [result for result in self.results if result.applied]
        now = time.perf_counter()
        speed = len(self.results) * self.pairs_a_step / (now - self.since)
        line = {
            "step": step,
            "epoch": epoch,
            "loss": round(sum(result.loss for result in good) / len(good), 6) if good else None,
            "lr": rate,
            "grad_norm": round(sum(result.grad_norm for result in good) / len(good), 6) if good else None,
            "pairs_per_second": round(speed, 1),
            "skipped": skipped,
        }
        self.results, self.since = [], now
        return line
