"""Training ClsCLIP with masks: the linear maps, the prompts and the decoder learn, both towers stay frozen."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from clsclip.checkpoint import save_checkpoint
from clsclip.data.base import Fold, trained_words
from clsclip.errors import DataError, TrainingError
from clsclip.model import ClsClip
from clsclip.preprocessing import image_spec
from clsclip.training.config import TrainConfig, settings_of
from clsclip.training.estimate import tell_operations
from clsclip.training.pairs import Failed, Piece, Pieces
from clsclip.training.plan import Plan
from clsclip.training.presence import fit_presence
from clsclip.training.processes import Processes, join_processes
from clsclip.training.provenance import run_provenance
from clsclip.training.report import Report, Silent, open_report
from clsclip.training.state import CHECKPOINT_FILE, STATE_FILE, load_state, save_state, share_state
from clsclip.training.stepper import Stepper, StepResult
from clsclip_runtime.paths import exists, make_folder
from clsclip_runtime.text.mending import fill_template

_log = logging.getLogger(__name__)


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
    """

    checkpoint: Path
    steps: int
    epochs: float
    skipped: int
    loss: float | None
    seconds: float
    pairs_per_second: float
    presence: dict[str, float] | None


def train(
    model: ClsClip,
    fold: Fold,
    config: TrainConfig,
    out: Path,
    *,
    towers: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> TrainingSummary:
    """Train ``model`` in place and write ``out/last.safetensors``, which ``clsclip-export`` reads at any time.

    Under ``torchrun`` the processes share every batch, and the first one writes.

    Args:
        model: fresh; its weights are the start, unless the run is resumed.
        fold: pictures, masks and the words that may be trained on.
        config: see :class:`TrainConfig`.
        out: folder of the run: ``last.safetensors``, ``training_state.safetensors``, ``train.jsonl``.
        towers: where the checkpoint says that its towers are: an open_clip name with ``:tag``, or a folder relative
            to ``out``. None takes the towers' name.
        provenance: more to write into the checkpoint: ``description``, ``license``.
        resume: go on from ``out/training_state.safetensors``; without that file the run starts anew.

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
            return run.train(state_file, resume)
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
        self.processes, self.towers = processes, towers
        self.fingerprint = model.towers.fingerprint()  # once: it hashes all frozen weights
        self.settings = settings_of(model, fold, config, self.fingerprint)
        self.provenance = run_provenance(fold, config, model) | dict(provenance)
        self.total = config.total_steps(plan.steps_per_epoch)
        if processes.first:
            tell_operations(model, config, self.total)
        model.to(processes.device).eval()
        self.stepper = Stepper(model, self.text_tokens(), config, processes)

    def text_tokens(self) -> Tensor:
        """(K, d_text) of the seen words, computed once: the text tower is frozen."""
        words = [fill_template(self.config.template, word) for word in trained_words(self.fold.train, self.fold.seen)]
        with torch.no_grad():
            return self.model.encode_words(words)[0]

    def train(self, state_file: Path, resume: bool) -> TrainingSummary:
        first = self.processes.first
        start = 0
        if first:
            make_folder(self.out)
            if resume and exists(state_file):
                start = load_state(self.stepper, state_file, self.settings)
                _log.info("resumed after step %d of %d", start, self.total)
            elif resume:
                _log.info("%s holds no run to resume; starting anew", self.out)
        start = share_state(self.stepper, start)
        report = open_report(self.out, self.total, start, self.config.tensorboard) if first else Silent()
        started = time.perf_counter()
        try:
            loss = self.steps(start, report)
        finally:
            report.close()
        seconds = time.perf_counter() - started
        presence = None
        if first:
            presence = self.fit_presence()
            # Also when nothing was left to do: the last run may have been killed between its two files.
            self.save_checkpoint(self.total, presence)
        self.processes.wait()
        return TrainingSummary(
            checkpoint=self.out / CHECKPOINT_FILE,
            steps=self.total,
            epochs=round(self.total / self.plan.steps_per_epoch, 3),
            skipped=self.stepper.skipped,
            loss=loss,
            seconds=round(seconds, 3),
            pairs_per_second=round((self.total - start) * self.pairs_a_step / seconds, 1),
            presence=presence,
        )

    @property
    def pairs_a_step(self) -> int:
        """Pairs of a step; fewer than configured only where the data has fewer."""
        return sum(one.pairs for one in self.plan.step(0))

    def steps(self, start: int, report: Report) -> float | None:
        """Steps ``start`` to the last; returns the mean loss of the last line of metrics."""
        config, last_line = self.config, None
        meter = _Meter(self.pairs_a_step)
        pieces = self.pieces(start)
        for number in range(start, self.total):
            rate = config.rate(number, self.plan.steps_per_epoch)
            result = self.stepper.step(islice(pieces, config.accumulate), number + 1, rate)
            meter.add(result)
            done = number + 1
            report.step(done)
            if done % config.log_every == 0 or done == self.total:
                epoch = round(done / self.plan.steps_per_epoch, 4)
                last_line = meter.line(done, epoch, rate, self.stepper.skipped)
                report.metrics(last_line)
            if self.processes.first and (done % config.save_every == 0 or done == self.total):
                # The state first: a run that is killed in between goes on from it and writes the checkpoint again.
                save_state(self.stepper, self.out / STATE_FILE, self.settings, done)
                self.save_checkpoint(done)
        return None if last_line is None else last_line["loss"]

    def pieces(self, start: int) -> Iterator[Piece]:
        """This process's micro-batches from step ``start`` to the end, read ahead by the workers."""
        grid = self.model.towers.grid * self.model.config.upscale
        spec = image_spec(self.model)
        data = Pieces(self.fold, self.plan, spec, grid, self.processes.rank, self.processes.count)
        accumulate, workers = self.config.accumulate, self.config.workers
        order = range(start * accumulate, self.total * accumulate)
        loader: DataLoader[Piece | Failed] = DataLoader(data, batch_size=None, sampler=order, num_workers=workers)
        for piece in loader:
            if isinstance(piece, Failed):
                raise DataError(piece.message)
            yield piece

    def fit_presence(self) -> dict[str, float] | None:
        count = self.config.presence_pictures
        if not count:
            return None
        fold, config = self.fold, self.config
        return fit_presence(self.model, fold.train, fold.seen, count, template=config.template, seed=config.seed)

    def save_checkpoint(self, step: int, presence: dict[str, float] | None = None) -> None:
        provenance = self.provenance | {"steps": step, "epoch": round(step / self.plan.steps_per_epoch, 4)}
        if presence is not None:
            provenance |= {"presence_threshold": presence["threshold"], "presence_fit": presence}
        save_checkpoint(self.model, self.out / CHECKPOINT_FILE, self.towers, provenance, fingerprint=self.fingerprint)


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
