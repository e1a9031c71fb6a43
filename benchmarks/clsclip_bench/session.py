"""Rows measured in rounds: every case of a workload once, then all of them again, until the time is used up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from clsclip_bench.case import Spec, Workload
from clsclip_bench.process import CaseError, CaseProcess, variables_of
from clsclip_bench.summary import summary

ROUND_SECONDS = 0.2
"""How long a case calls in a round, where a call is shorter."""

WARM_CALLS, WARM_SECONDS = 2, 0.3
"""Before anything is timed: so many calls, and so long where they are short."""

LEAST_ROUNDS = 3


@dataclass
class Measured:
    """What was found of one case in one workload.

    Attributes:
        spec: the case.
        workload: its work.
        load_seconds: imports and loading in a fresh process; None where it did not come so far.
        first_call: figures of the very first call, seconds.
        calls: figures of every timed call, seconds; ``whole`` is all of it.
        facts: what the case says of its last call.
        memory: peak memory of its process, MiB: ``mib`` and ``gpu_mib``.
        parity: what ``after`` found (see :func:`measure`).
        reason: why it was not measured; None where it was.
        peak: operations a second of the machine's matrix product, measured in the same rounds; None where none was.
    """

    spec: Spec
    workload: Workload
    load_seconds: float | None = None
    first_call: dict[str, float] = field(default_factory=dict)
    calls: list[dict[str, float]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    peak: float | None = None

    def times(self, name: str = "whole") -> list[float]:
        """Seconds of one part in every call; empty where it was not measured."""
        return [call[name] for call in self.calls if name in call]

    def summary(self, name: str = "whole") -> dict[str, Any] | None:
        """Percentiles in milliseconds; None where nothing was measured."""
        times = self.times(name)
        return summary(times) if times else None


After = Callable[[CaseProcess], dict[str, Any]]
"""Looks at a case when it has made its first call, such as at its logits."""


class Peaks:
    """Processes that multiply matrices, one a precision and device, kept for the whole session."""

    def __init__(self, threads: int | None = None, factory: str = "clsclip_bench.peak:MatrixProduct") -> None:
        """``factory`` makes the case that is the peak; it gets ``precision``, ``device`` and ``threads``."""
        self._threads, self._factory = threads, factory
        self._processes: dict[tuple[str, str], CaseProcess] = {}
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
            process = CaseProcess(spec, variables_of(self._threads))
            try:
                process.load()
                process.prepare(Workload(1, 1))
                self.found[name] = process.facts()
            except CaseError as error:
                process.close()
                self.found[name] = {"reason": str(error)}
            except BaseException:
                process.close()
                raise
            else:
                self._processes[(device, precision)] = process

    def round(self, kinds: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[float]]:
        """Seconds of the fastest product, one round of all that there are."""
        found: dict[tuple[str, str], list[float]] = {}
        for kind in dict.fromkeys(kinds):
            if kind not in self._processes:
                continue
            try:
                found[kind] = [call["product"] for call in self._processes[kind].round()]
                self.found[" ".join(kind)] = self._processes[kind].facts()
            except CaseError as error:  # rows go on, without their share
                self._processes.pop(kind).close()
                self.found[" ".join(kind)] = {"reason": str(error)}
            else:
                self.times.setdefault(kind, []).extend(found[kind])
        return found

    def rate(self, device: str, precision: str, seconds: Sequence[float] | None = None) -> float | None:
        """Operations a second: the median of ``seconds``, or of all rounds so far; None where there is no product."""
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

    def __enter__(self) -> Peaks:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self.close()


def measure(
    specs: Sequence[Spec],
    workload: Workload,
    peaks: Peaks,
    *,
    seconds: float,
    variables: Mapping[str, str] | None = None,
    after: After | None = None,
    least_rounds: int = LEAST_ROUNDS,
    rows: list[Measured] | None = None,
) -> list[Measured]:
    """Measure all cases of one workload, in rounds.

    Args:
        specs: the cases.
        workload: the work of one call.
        peaks: measured in the same rounds.
        seconds: of timed calls for each case; every one gets ``least_rounds`` at least.
        variables: of the processes' environment; see ``process.variables_of``.
        after: called once for each, after its first call; what it returns is the row's parity.
        least_rounds: of all cases.
        rows: the new ones are added to it at once, so that an interrupt leaves what there is.

    Returns:
        One row a case, in order. One that fails has the reason, and the others go on.
    """
    own = [Measured(spec, workload) for spec in specs]
    if rows is not None:
        rows += own
    peak_times: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        running = [(row, stack.enter_context(CaseProcess(row.spec, variables))) for row in own]
        running = [(row, process) for row, process in running if _begin(row, process, after)]
        kinds = list(dict.fromkeys((row.spec.device, row.spec.precision) for row, _ in running))
        peaks.start(kinds)
        begin, done = time.perf_counter(), 0
        while running and (done < least_rounds or time.perf_counter() - begin < seconds * len(running)):
            for kind, times in peaks.round(kinds).items():
                peak_times.setdefault(kind, []).extend(times)
            running = [(row, process) for row, process in running if _round(row, process)]
            for row, _ in running:
                kind = (row.spec.device, row.spec.precision)
                row.peak = peaks.rate(*kind, peak_times.get(kind))
            done += 1
        for row, process in running:
            _end(row, process)
    return own


def _begin(row: Measured, process: CaseProcess, after: After | None) -> bool:
    """Load, and call until warm; False, with the reason in the row, where that fails."""
    try:
        row.load_seconds = process.load()
        process.prepare(row.workload)
        row.first_call = process.round()[0]
        row.facts = process.facts()
        row.memory = process.memory()
        if after is not None:
            row.parity = after(process)
        if row.first_call["whole"] < WARM_SECONDS * 10:  # a long call is warm after itself
            for _ in range(WARM_CALLS - 1):
                process.round(WARM_SECONDS)
    except CaseError as error:
        row.reason = str(error)
        return False
    return True


def _round(row: Measured, process: CaseProcess) -> bool:
    try:
        calls = process.round(ROUND_SECONDS)
    except CaseError as error:
        row.reason = str(error)
        row.calls.clear()  # a case that failed has no figures
        return False
    # Other cases had the caches in between: where there are several calls, the first is not like the others.
    row.calls += calls[1:] or calls
    return True


def _end(row: Measured, process: CaseProcess) -> None:
    try:
        row.facts, row.memory = process.facts(), process.memory()
    except CaseError as error:
        row.reason = str(error)


def in_order(workloads: Iterable[Workload]) -> Iterator[Workload]:
    """Workloads with the least work first: a run that is cut short has the most rows."""
    yield from sorted(set(workloads), key=lambda workload: (workload.pairs, workload.crops))
