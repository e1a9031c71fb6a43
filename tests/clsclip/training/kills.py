"""A campaign of stops: ``python -m tests.clsclip.training.kills [--count N] [--seed N]``.

``clsclip-train`` is ended by KILL, TERM, HUP or INT at random moments of a small run, and resumed, again and again.
After each stop every file of the run's folder is whole. One that was asked to stop has written the step that it was at;
of one that was killed no more is lost than ``--save-minutes`` allow. Each time the run comes to its end, its weights
are those of a run that was left alone, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

from clsclip.run_files import CHECKPOINT_FILE, LOG_FILE, STATE_FILE
from clsclip.tower_files import save_towers
from clsclip.training.report import read_lines
from clsclip.training.state import read_header
from clsclip_runtime.scratch import is_scratch
from tests.clsclip.training.tiny_fold import write_squares
from tests.tiny import tiny_config, tiny_towers

NAMES = ("SIGHUP", "SIGINT", "SIGKILL", "SIGTERM")
STEPS, BATCH = 600, 4
AT_ONCE = 0.2
"""Share of the stops that may come before the first step; the others wait for one."""

SAVE_MINUTES = 0.02
SLACK_S = 6.0
"""For a step, the writing, and a machine with other work."""


@dataclass
class Report:
    """What a campaign found.

    Attributes:
        stops: by signal, while steps were made.
        early: before the first step.
        ends: how often the run came to its end.
        faults: one line each.
    """

    stops: Counter[str] = field(default_factory=Counter)
    early: int = 0
    ends: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """For people."""
        stops = ", ".join(f"{name} {count}" for name, count in sorted(self.stops.items()))
        return f"{sum(self.stops.values())} stops ({stops}), {self.early} before the first step, {self.ends} ends; " + (
            "0 faults" if not self.faults else "\n".join(self.faults)
        )


def make_data(folder: Path) -> None:
    """Towers, and squares as pictures and masks."""
    save_towers(tiny_towers(), tiny_config(), folder / "towers")
    write_squares(folder / "data", 10)


def start(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    """Begin a run, or go on with it."""
    paths = os.pathsep.join(path for path in sys.path if path)
    options = ["--towers", folder / "towers", "--data", "folder", "--root", folder / "data", "--out", out, "--resume"]
    options += ["--steps", STEPS, "--batch", BATCH, "--workers", 0, "--device", "cpu", "--val", "0.2", "--log-every", 1]
    options += ["--save-every", 10**6, "--save-minutes", SAVE_MINUTES, "--validate-minutes", 0.1, "--absent", 0.25]
    return subprocess.Popen(
        [sys.executable, "-m", "clsclip.cli.train", *map(str, options)],
        env=os.environ | {"CLSCLIP_CACHE": str(folder / "cache"), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A parent that runs in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)],
    )


def codes(name: str) -> set[int]:
    """What a stop may end with: where Python itself is at work, before and after the command, it ends by the signal.

    A shell has the same number for both.
    """
    number = int(getattr(signal, name))
    return {-number} if name == "SIGKILL" else {-number, 128 + number}


def steps_done(out: Path) -> int:
    """The newest step of the log."""
    return max((int(line["step"]) for line in read_lines(out / LOG_FILE)), default=0)


def check_files(out: Path, report: Report, when: str) -> None:
    """Every tensor file is whole."""
    for path in out.rglob("*"):
        if path.suffix == ".safetensors" and not is_scratch(path.name):
            try:
                load_file(path)
            except Exception as error:
                report.faults.append(f"{when}: {path.name} is damaged: {error}")


def campaign(count: int, seed: int, folder: Path) -> Report:
    """Stop a run ``count`` times after its first step."""
    rng, report = random.Random(seed), Report()
    make_data(folder)
    whole, torn = folder / "whole", folder / "torn"
    begun = time.monotonic()
    process = start(folder, whole)
    _, told = process.communicate()
    if process.returncode:
        raise RuntimeError(told.decode())
    longest = time.monotonic() - begun
    stepping = sum(BATCH / line["pairs_per_second"] for line in read_lines(whole / LOG_FILE))
    wanted = load_file(whole / CHECKPOINT_FILE)
    while sum(report.stops.values()) < count and len(report.faults) < 10:
        before = steps_done(torn)
        process = start(folder, torn)
        name, at_once = rng.choice(NAMES), rng.random() < AT_ONCE
        while not at_once and process.poll() is None and steps_done(torn) <= before:
            time.sleep(0.02)
        stepped = time.time()
        limit = time.monotonic() + rng.uniform(0, longest if at_once else stepping)
        while time.monotonic() < limit and process.poll() is None:
            time.sleep(0.01)
        stopped = time.time()
        if process.poll() is None:
            process.send_signal(getattr(signal, name))
        _, told = process.communicate()
        done = steps_done(torn)
        when = f"{name} after step {done}"
        check_files(torn, report, when)
        if process.returncode == 0:
            report.ends += 1
            report.faults += differs(wanted, torn, when)
            shutil.rmtree(torn)
            continue
        if process.returncode not in codes(name):
            report.faults.append(f"{when}: exit code {process.returncode}: {told.decode()[-300:]}")
        if done <= before:
            report.early += 1
            continue
        report.stops[name] += 1
        written = int(read_header(torn / STATE_FILE)[1]["step"]) if (torn / STATE_FILE).exists() else 0
        if name != "SIGKILL" and written < done:
            report.faults.append(f"{when}: step {written} is written")
        if name == "SIGKILL" and written < done and (torn / STATE_FILE).exists():
            # The state may be of the start before: what its loading took is not lost.
            lost = stopped - max(stepped, (torn / STATE_FILE).stat().st_mtime)
            if lost > 60 * SAVE_MINUTES + SLACK_S:
                report.faults.append(f"{when}: {lost:.1f} s are lost")
    process = start(folder, torn)
    _, told = process.communicate()
    report.ends += process.returncode == 0
    report.faults += differs(wanted, torn, "at the end") if process.returncode == 0 else [told.decode()[-300:]]
    return report


def differs(wanted: dict[str, torch.Tensor], out: Path, when: str) -> list[str]:
    """What is wrong with the weights of a run that came to its end."""
    found = load_file(out / CHECKPOINT_FILE)
    equal = found.keys() == wanted.keys() and all(
        value.numpy().tobytes() == wanted[name].numpy().tobytes() for name, value in found.items()
    )
    steps = [line["step"] for line in read_lines(out / LOG_FILE)]
    faults = [] if equal else [f"{when}: the weights are others"]
    return faults + ([] if steps == list(range(1, STEPS + 1)) else [f"{when}: the log has other steps"])


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = campaign(given.count, given.seed, Path(folder))
    print(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
