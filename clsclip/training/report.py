"""What a run tells while it runs: ``train.jsonl``, its progress, and TensorBoard when asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from clsclip.errors import TrainingError
from clsclip.run_files import LOG_FILE
from clsclip.training.estimate import Estimate
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.documents import DocumentError, parse_json
from clsclip_runtime.paths import append_line, is_file, write_text


class Report(Protocol):
    """Hears of every step and every line of metrics."""

    def step(self, done: int) -> None:
        """``done`` steps are done."""

    def metrics(self, line: dict[str, Any]) -> None:
        """One line of metrics: step, epoch, loss, lr, grad_norm, pairs_per_second, skipped."""

    def close(self) -> None:
        """The run is over."""


class Silent:
    """For the processes that do not write."""

    def step(self, done: int) -> None:
        pass

    def metrics(self, line: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class JsonLines:
    """Appends to ``train.jsonl``; every line is whole even when the run is killed between two.

    Args:
        path: the file.
        step: steps already done; lines of later steps are of a run that was killed, and go.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in read_lines(path) if (line.get("step") or 0) <= step] if step else []
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def step(self, done: int) -> None:
        pass

    def metrics(self, line: dict[str, Any]) -> None:
        append_line(self.path, json.dumps(line))

    def close(self) -> None:
        pass


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; none where there is no file. A line cut off by a crash is left out."""
    if not is_file(path):
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = parse_json(text)
        except DocumentError:
            continue
        # Figures are numbers, or None where there is none; a line of others is none of ours.
        if isinstance(line, dict) and all(_is_number(line.get(key)) for key in ("step", "loss", "miou")):
            lines.append(line)
    return lines


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


class Shown:
    """The progress display, with the newest metrics."""

    def __init__(self, total: int, step: int) -> None:
        self.progress = Progress("training, steps", total, begin=step, alive=True)

    def step(self, done: int) -> None:
        self.progress.update(done)

    def metrics(self, line: dict[str, Any]) -> None:
        loss, rate = line["loss"], line["lr"]
        self.progress.update(line["step"], detail=f"loss {loss}  lr {rate:.1e}  {line['pairs_per_second']} pairs/s")

    def close(self) -> None:
        self.progress.close()


class TensorBoard:
    """Event files in the run's folder.

    Raises:
        TrainingError: the package is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                f"TensorBoard's package cannot be imported ({error}). Run: pip install tensorboard; "
                "or leave --tensorboard out, train.jsonl has the same figures."
            ) from error
        self.writer = SummaryWriter(str(folder))

    def step(self, done: int) -> None:
        pass

    def metrics(self, line: dict[str, Any]) -> None:
        for name, value in line.items():
            if name != "step" and isinstance(value, (int, float)):
                self.writer.add_scalar(f"train/{name}", value, line["step"])

    def close(self) -> None:
        self.writer.close()


class Reports:
    """Several reports as one."""

    def __init__(self, reports: list[Report]) -> None:
        self.reports = reports

    def step(self, done: int) -> None:
        for report in self.reports:
            report.step(done)

    def metrics(self, line: dict[str, Any]) -> None:
        for report in self.reports:
            report.metrics(line)

    def close(self) -> None:
        for report in self.reports:
            report.close()


def open_report(out: Path, total: int, step: int, tensorboard: bool) -> Report:
    """All that the writing process reports to.

    Args:
        out: the run's folder.
        total: steps of the run.
        step: steps already done.
        tensorboard: write event files too.
    """
    reports: list[Report] = [TensorBoard(out / "tensorboard")] if tensorboard else []
    reports.append(JsonLines(out / LOG_FILE, step))
    reports += [Estimate(total, step), Shown(total, step)]
    return Reports(reports)
