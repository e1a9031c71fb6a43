"""A campaign of exchanges: ``python -m tests.fuzz.exchanges [--count N] [--seed N] [--engine NAME ...]``.

A bundle's files are cut, rewritten in place, exchanged or taken away at random moments while a process loads the bundle
and while it runs. Every outcome is the right masks or a refusal: never a signal, nor masks of what was not verified.

The bundle is the embedded one, and one that holds its words in place of a text encoder, in turn. Python reads files as
small ones and as large ones, in turn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.first_calls import CPP, ask, engines
from clsclip_export.words import add_words
from clsclip_runtime.bundle import opening
from clsclip_runtime.bundle.opening import EMBEDDED
from clsclip_runtime.errors import ClsclipRuntimeError

WORDS = ["dog", "boat", "bottle"]
CALLS = 3
"""Of a loaded model, so that files change while it runs too."""

LONGEST_S = 60.0

Change = Callable[[Path, random.Random], None]


def cut(path: Path, chance: random.Random) -> None:
    """Cut the file, as a program does that writes it anew."""
    os.truncate(path, chance.choice((0, path.stat().st_size // 2, max(0, path.stat().st_size - 1))))


def rewrite(path: Path, chance: random.Random) -> None:
    """Write noise over a part of it, in place."""
    with path.open("r+b") as file:
        file.seek(chance.randrange(max(1, path.stat().st_size)))
        file.write(chance.randbytes(min(1 << 16, path.stat().st_size)))


def flip(path: Path, chance: random.Random) -> None:
    """Change one bit, in place."""
    with path.open("r+b") as file:
        at = chance.randrange(path.stat().st_size)
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << chance.randrange(8)]))


def copy_over(path: Path, chance: random.Random) -> None:
    """What ``cp`` does with a file of another bundle: other numbers of the same form, in place."""
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 2, len(content) - 4, 4096):
        content[at] ^= 1
    with path.open("r+b") as file:
        file.write(content)


def replace(path: Path, chance: random.Random) -> None:
    """Another file under its name."""
    other = path.with_name("other.tmp")
    other.write_bytes(chance.randbytes(path.stat().st_size))
    other.replace(path)


def remove(path: Path, chance: random.Random) -> None:
    """No file under its name."""
    path.unlink()


def link(path: Path, chance: random.Random) -> None:
    """A link to what has no end."""
    path.unlink()
    path.symlink_to("/dev/zero")


def lengthen(path: Path, chance: random.Random) -> None:
    """More bytes behind it."""
    with path.open("ab") as file:
        file.write(chance.randbytes(chance.choice((1, 1 << 20))))


CHANGES: tuple[Change, ...] = (cut, rewrite, flip, copy_over, replace, remove, link, lengthen)


@dataclass
class Report:
    """What a campaign found: outcomes by change, and faults, a line each."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """For people."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        return f"{sum(self.outcomes.values())} exchanges ({counts}); {len(self.faults)} faults"


class Child:
    """A process that loads the bundle and runs it, whenever it is asked to."""

    def __init__(self, engine: str, folder: Path) -> None:
        """Start it."""
        self._command = [sys.executable, "-m", "tests.fuzz.exchanges", "--child", engine, "--folder", str(folder)]
        self._start()

    def _start(self) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            self._command, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._read()  # it is ready

    def begin(self) -> None:
        """Let it load."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def outcome(self) -> dict[str, Any]:
        """What became of it; a process that has ended is started anew."""
        line = self._read()
        if line:
            return dict(json.loads(line))
        code = self._process.wait(LONGEST_S)
        self._start()
        return {"ended": code}

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def serve(engine: str, folder: Path) -> None:
    """The child: for every line, load, run, and tell the digests of the masks or the error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    ask(engine, EMBEDDED)(WORDS[:1])  # the libraries are loaded
    answers.write("ready\n")
    answers.flush()
    small = opening._SMALL_FILE
    for number, _ in enumerate(sys.stdin):
        opening._SMALL_FILE = small if number // 2 % 2 else 0
        try:
            start = time.monotonic()
            segment = ask(engine, folder)
            loading = time.monotonic() - start
            found = [hashlib.sha256(np.packbits(segment(WORDS)).tobytes()).hexdigest() for _ in range(CALLS)]
            told: dict[str, Any] = {"masks": found, "loading_s": loading, "calls_s": time.monotonic() - start - loading}
        except ClsclipRuntimeError as error:
            told = {"refused": str(error)[:300]}
        except Exception as error:
            # The C API's errors are of the tests' own class, by the library's sentence.
            kind = "refused" if engine.startswith(CPP) and type(error).__name__ == "CError" else "raised"
            told = {kind: f"{type(error).__name__}: {str(error)[:300]}"}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


def campaign(engine: str, count: int, seed: int) -> Report:
    """So many exchanges beside one engine."""
    report, chance = Report(), random.Random(f"{engine} {seed}")
    with tempfile.TemporaryDirectory(prefix="clsclip-exchanges-") as scratch:
        folder, with_words = Path(scratch) / "bundle", Path(scratch) / "words"
        add_words(EMBEDDED, with_words, WORDS, text_encoder=False)
        sources = (EMBEDDED, with_words)
        restore(folder, EMBEDDED)
        child = Child(engine, folder)
        try:
            untouched = [_untouched(child) for _ in range(3)]
            calls_s = untouched[0]["calls_s"]
            loading_s = min(one["loading_s"] for one in untouched)
            restore(folder, with_words)
            untouched.append(_untouched(child))
            wanted = untouched[0]["masks"]
            if any(one["masks"] != wanted for one in untouched) or len(set(wanted)) != 1:
                raise RuntimeError(f"{engine}: calls of an untouched bundle differ")
            for number in range(count):
                source = sources[number % len(sources)]
                restore(folder, source)
                names = sorted(path.name for path in source.iterdir())
                change, name = chance.choice(CHANGES), chance.choice(names)
                # Files are read in the first part of loading.
                wait = chance.choice((loading_s / 4, loading_s / 4, loading_s, loading_s + calls_s)) * chance.random()
                child.begin()
                time.sleep(wait)
                change(folder / name, chance)
                kind, fault = judged(child.outcome(), wanted)
                report.outcomes[kind] += 1
                if fault:
                    report.faults.append(f"{engine}, {change.__name__} of {name} after {wait:.3f} s: {fault}")
        finally:
            child.close()
    return report


def _untouched(child: Child) -> dict[str, Any]:
    child.begin()
    return child.outcome()


def judged(outcome: dict[str, Any], wanted: list[str]) -> tuple[str, str]:
    """Kind of an outcome, and what is wrong with it, or nothing."""
    if "refused" in outcome:
        return "refused", ""
    if outcome.get("masks") == wanted:
        return "right", ""
    return "fault", f"{outcome}"


def restore(folder: Path, source: Path) -> None:
    """An untouched copy of a bundle: new files, so that no earlier process has them."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)


def main() -> int:
    """Run it and print the figures; 1 where there are faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.exchanges", description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="exchanges beside each engine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", nargs="+", help="all that are here if not given")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        serve(given.child, given.folder)
        return 0
    faults = 0
    for engine in given.engine or engines():
        report = campaign(engine, given.count, given.seed)
        print(f"{engine}: {report}", *report.faults, sep="\n  ", flush=True)
        faults += len(report.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
