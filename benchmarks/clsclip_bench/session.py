"""Rows measured in turns: every contender of a cell once, then all of them again, until the time is used up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from clsclip_bench.contender import Cell, Spec
from clsclip_bench.process import ContenderError, ContenderProcess, variables_of
from clsclip_bench.summary import summary

TURN_SECONDS = 0.2
"""How long a contender calls before the next one's turn, where a call is shorter."""

WARM_CALLS, WARM_SECONDS = 2, 0.3
"""Before anything is timed: so many calls, and so long where they are short."""

LEAST_ROUNDS = 3


@dataclass
class Measured:
    """What was found of one contender in one cell.

    Attributes:
        spec: the contender.
        cell: its work.
        load_seconds: imports and loading in a fresh process; None where it did not come so far.
        first_call: figures of the very first call, seconds.
        calls: figures of every timed call, seconds; ``whole`` is all of it.
        facts: what the contender says of its last call.
        memory: peak memory of its process, MiB: ``mib`` and ``gpu_mib``.
        parity: what ``after`` found (see :func:`measure`).
        reason: why it was not measured; None where it was.
        limit: operations a second of the machine's matrix product, measured in the same turns; None where none was.
    """

    spec: Spec
    cell: Cell
    load_seconds: float | None = None
    first_call: dict[str, float] = field(default_factory=dict)
    calls: list[dict[str, float]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    limit: float | None = None

    def times(self, name: str = "whole") -> list[float]:
        """Seconds of one part in every call; empty where it was not measured."""
        return [call[name] for call in self.calls if name in call]

    def summary(self, name: str = "whole") -> dict[str, Any] | None:
        """Percentiles in milliseconds; None where nothing was measured."""
        times = self.times(name)
        return summary(times) if times else None


After = Callable[[ContenderProcess], dict[str, Any]]
"""Looks at a contender when it has made its first call, such as at its logits."""


class Limits:
    """Processes that multiply matrices, one a precision and device, kept for the whole session."""

    def __init__(self, threads: int | None = None, factory: str = "clsclip_bench.limits:MatrixProduct") -> None:
        """``factory`` makes the contender that is the limit; it gets ``precision``, ``device`` and ``threads``."""
        self._threads, self._factory = threads, factory
        self._processes: dict[tuple[str, str], ContenderProcess] = {}
        self.found: dict[str, dict[str, Any]] = {}
        """By ``device precision``: the facts of the product, or ``reason`` why there is none."""
        self.times: dict[tuple[str, str], list[float]] = {}

    def start(self, kinds: Iterable[tuple[str, str]]) -> None:
        """Load products of (device, precision); those that cannot be had are noted with their reason."""
        for device, precision in dict.fromkeys(kinds):
            name = f"{device} {precision}"
            if name in self.found:
                continue
            options = {"precision": precision, "device": device, "threads": self._threads}
            spec = Spec(f"matrix product, {name}", self._factory, options, precision, device)
            process = ContenderProcess(spec, variables_of(self._threads))
            try:
                process.load()
                process.prepare(Cell(1, 1))
                self.found[name] = process.facts()
            except ContenderError as error:
                process.close()
                self.found[name] = {"reason": str(error)}
            except BaseException:
                process.close()
                raise
            else:
                self._processes[(device, precision)] = process

    def turn(self, kinds: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[float]]:
        """Seconds of the fastest product, one turn of each that there is."""
        found: dict[tuple[str, str], list[float]] = {}
        for kind in dict.fromkeys(kinds):
            if kind not in self._processes:
                continue
            try:
                found[kind] = [call["product"] for call in self._processes[kind].turn()]
                self.found[" ".join(kind)] = self._processes[kind].facts()
            except ContenderError as error:  # rows go on, without their share
                self._processes.pop(kind).close()
                self.found[" ".join(kind)] = {"reason": str(error)}
            else:
                self.times.setdefault(kind, []).extend(found[kind])
        return found

    def rate(self, device: str, precision: str, seconds: Sequence[float] | None = None) -> float | None:
        """Operations a second: the median of ``seconds``, or of all turns so far; None where there is no product."""
        facts = self.found.get(f"{device} {precision}", {})
        times = self.times.get((device, precision)) if seconds is None else seconds
        if "operations" not in facts:
            return None
        if not times:
            return float(max(facts["tried"].values())) if facts.get("tried") else None
        return float(facts["operations"]) / statistics.median(times)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()

    def __enter__(self) -> Limits:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self.close()


def measure(
    specs: Sequence[Spec],
    cell: Cell,
    limits: Limits,
    *,
    seconds: float,
    variables: Mapping[str, str] | None = None,
    after: After | None = None,
    least_rounds: int = LEAST_ROUNDS,
    rows: list[Measured] | None = None,
) -> list[Measured]:
    """Measure all contenders of one cell, in turns.

    Args:
        specs: the contenders.
        cell: the work of one call.
        limits: measured in the same turns.
        seconds: of timed calls for each contender; every one gets ``least_rounds`` turns at least.
        variables: of the processes' environment; see ``process.variables_of``.
        after: called once for each, after its first call; what it returns is the row's parity.
        least_rounds: turns of each.
        rows: the new ones are added to it at once, so that an interrupt leaves what there is.

    Returns:
        One row a contender, in order. One that fails has the reason, and the others go on.
    """
    own = [Measured(spec, cell) for spec in specs]
    if rows is not None:
        rows += own
    limit_times: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        running = [(row, stack.enter_context(ContenderProcess(row.spec, variables))) for row in own]
        running = [(row, process) for row, process in running if _begin(row, process, after)]
        kinds = list(dict.fromkeys((row.spec.device, row.spec.precision) for row, _ in running))
        limits.start(kinds)
        begin, done = time.perf_counter(), 0
        while running and (done < least_rounds or time.perf_counter() - begin < seconds * len(running)):
            for kind, times in limits.turn(kinds).items():
                limit_times.setdefault(kind, []).extend(times)
            running = [(row, process) for row, process in running if _turn(row, process)]
            for row, _ in running:
                kind = (row.spec.device, row.spec.precision)
                row.limit = limits.rate(*kind, limit_times.get(kind))
            done += 1
        for row, process in running:
            _end(row, process)
    return own


def _begin(row: Measured, process: ContenderProcess, after: After | None) -> bool:
    """Load, and call until warm; False, with the reason in the row, where that fails."""
    try:
        row.load_seconds = process.load()
        process.prepare(row.cell)
        row.first_call = process.turn()[0]
        row.facts = process.facts()
        row.memory = process.memory()
        if after is not None:
            row.parity = after(process)
        if row.first_call["whole"] < WARM_SECONDS * 10:  # a long call is warm after itself
            for _ in range(WARM_CALLS - 1):
                process.turn(WARM_SECONDS)
    except ContenderError as error:
        row.reason = str(error)
        return False
    return True


def _turn(row: Measured, process: ContenderProcess) -> bool:
    try:
        calls = process.turn(TURN_SECONDS)
    except ContenderError as error:
        row.reason = str(error)
        row.calls.clear()  # a contender that failed has no figures
        return False
    # Other contenders had the caches in between: where there are several calls, the first is not like the others.
    row.calls += calls[1:] or calls
    return True


def _end(row: Measured, process: ContenderProcess) -> None:
    try:
        row.facts, row.memory = process.facts(), process.memory()
    except ContenderError as error:
        row.reason = str(error)


def in_order(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Cells with the least work first: a run that is cut short has the most rows."""
    yield from sorted(set(cells), key=lambda cell: (cell.pairs, cell.crops))
