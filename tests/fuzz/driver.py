"""Runs mutants through a target, each in a child with limits, and counts the outcomes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

SECONDS = 20
"""After which a mutant counts as hung."""

RESIDENT = 4 << 30
"""Bytes of resident memory above which a mutant counts as one that ate the machine."""

ADDRESSES = 16 << 30
"""Bytes of address space that a child gets."""

GOOD = ("same", "other", "refused")
"""Outcomes that are right, unless the mutator says more."""


@dataclass(frozen=True)
class Mutant:
    """A file or folder to be read.

    Attributes:
        path: of it.
        label: what was done to it, for people.
        expect: "any" right outcome; "refused" where it must not be taken; "same" where it must give what the honest
            one gives.
    """

    path: Path
    label: str
    expect: str = "any"


class Mutator(Protocol):
    """Makes mutants of one kind of file."""

    name: str
    targets: Sequence[str]
    """Names of :data:`tests.fuzz.targets.TARGETS` that read this kind."""

    def honest(self, folder: Path) -> Path:
        """Write what the mutants are made from into ``folder``, an empty one: every target must read it."""
        ...

    def make(self, number: int, folder: Path) -> Mutant:
        """Write mutant ``number`` into ``folder``, an empty one. The same number always gives the same bytes."""
        ...


@dataclass
class Report:
    """What came of a campaign."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)
    """Outcomes that are no right ones, with number, label and message."""

    def lines(self) -> Iterator[str]:
        """For people."""
        yield ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        for one in self.faults:
            yield f"  mutant {one['number']} ({one['label']}): {one['kind']}: {one.get('message', '')}"


class Child:
    """A process that has loaded what a target needs, and forks for every mutant."""

    def __init__(self, target: str) -> None:
        """Start it; ``target`` is a name of :data:`tests.fuzz.targets.TARGETS`."""
        environment = {**os.environ, "CLSCLIP_CACHE": "off", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", target, str(SECONDS), str(ADDRESSES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def read(self, path: Path) -> dict[str, Any]:
        """Let a child read ``path``: a dictionary with ``kind`` and what belongs to it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(str(path)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that forks for every mutant has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class Command:
    """A program that reads a mutant, one process for each. Exit codes 1 and 2 with a message are refusals."""

    def __init__(self, command: Sequence[str]) -> None:
        """``command`` has ``{}`` where the mutant's path goes; it prints its result as JSON."""
        self._command = tuple(command)

    def read(self, path: Path) -> dict[str, Any]:
        """Run it on ``path``: a dictionary with ``kind`` and what belongs to it."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            begun = time.monotonic()
            process = subprocess.Popen(
                [part.replace("{}", str(path)).replace("{folder}", str(path.parent)) for part in self._command],
                stdout=out,
                stderr=err,
                preexec_fn=limit,
            )
            status, peak, hung = wait(process.pid, begun + SECONDS)
            process.returncode = 0  # it has been waited for
            out.seek(0)
            err.seek(0)
            told, said = out.read(1 << 20), err.read(4000).decode("utf-8", "replace")
        found: dict[str, Any] = {"seconds": time.monotonic() - begun, "bytes": peak, "message": said[:600]}
        if hung:
            return found | {"kind": "hung"}
        if os.WIFSIGNALED(status):
            return found | {"kind": "crashed", "message": f"signal {os.WTERMSIG(status)}: {said[:300]}"}
        code = os.WEXITSTATUS(status)
        if code in (1, 2) and said.strip():
            return found | {"kind": "refused"}
        if code != 0:
            return found | {"kind": "raised", "message": f"exit code {code}: {said[:300]}"}
        try:
            document = json.loads(told)
        except ValueError:
            return found | {"kind": "raised", "message": f"printed no JSON: {told[:100]!r}"}
        if isinstance(document, dict) and "error" in document:
            return found | {"kind": "refused", "message": str(document["error"])}
        return found | {"kind": "ok", "result": reduced(document)}

    def close(self) -> None:
        """Nothing is left running."""


def reduced(document: Any) -> Any:
    """What is compared of the command line's JSON: the areas of the classes."""
    if isinstance(document, dict) and isinstance(document.get("classes"), list):
        return [one.get("area") for one in document["classes"]]
    return document


def wait(pid: int, until: float) -> tuple[int, int, bool]:
    """Wait for a child, and end it at ``until``: its status, peak of resident bytes, and whether it was ended."""
    hung = False
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return status, usage.ru_maxrss << 10, hung
        if not hung and time.monotonic() > until:
            os.kill(pid, 9)
            hung = True
        time.sleep(0.002)


def campaign(mutator: Mutator, reader: Child | Command, numbers: Iterable[int], *, scratch: Path) -> Report:
    """Run mutants ``numbers`` through ``reader``.

    Args:
        mutator: makes them.
        reader: reads them.
        numbers: which.
        scratch: an empty folder to write to.

    Raises:
        RuntimeError: the honest file is not read, so nothing that is refused would say anything.
    """
    base = scratch / "honest"
    base.mkdir()
    first = reader.read(mutator.honest(base))
    if first["kind"] != "ok":
        raise RuntimeError(f"the honest file is not read: {first}")
    report = Report()
    for number in numbers:
        folder = scratch / "mutant"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        mutant = mutator.make(number, folder)
        outcome = judged(reader.read(mutant.path), mutant, first["result"])
        report.counts[outcome["kind"]] += 1
        if outcome["kind"] not in GOOD:
            report.faults.append({**outcome, "number": number, "label": mutant.label})
    return report


def judged(outcome: dict[str, Any], mutant: Mutant, honest: Any) -> dict[str, Any]:
    """The outcome, named by what it means for this mutant."""
    kind = outcome["kind"]
    if kind in ("ok", "refused", "raised") and outcome.get("bytes", 0) > RESIDENT:
        return outcome | {"kind": "ate", "message": f"{outcome['bytes'] >> 20} MiB ({kind})"}
    if kind == "ok":
        kind = "same" if outcome["result"] == honest else "other"
    if mutant.expect != "any" and kind in GOOD and kind != mutant.expect:
        return outcome | {"kind": "wrong", "message": f"{kind}, and {mutant.expect} was expected"}
    return outcome | {"kind": kind}
