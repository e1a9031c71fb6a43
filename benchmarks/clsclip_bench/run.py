"""A whole run of ``clsclip-bench``: bundles x backends x modes, workload by workload, within a number of minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clsclip_bench.case import Spec, Workload
from clsclip_bench.operations import BundleOperations
from clsclip_bench.ours import EXACT, MODES, SPELLINGS, bundle_specs
from clsclip_bench.process import variables_of
from clsclip_bench.report import figure, new_document, peaks_json, percent, row_of
from clsclip_bench.session import LEAST_ROUNDS, Measured, Peaks, in_order, measure
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.doctor import BUILDS_WHEN_LOADED

CROPS, CLASSES = (1, 4, 16), (1, 5, 20, 100, 1000)

_UNTIMED_CALLS = 2
_LEAST_SECONDS, _MOST_SECONDS = 0.1, 20.0
"""Of timed calls for one row."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        bundles: opened bundles.
        backends: names of engines; empty measures every one that works here and does not build for minutes first.
        modes: of ``clsclip_bench.ours.MODES``.
        crops, classes: the workloads are all their combinations, least work first.
        minutes: rows that would not fit are left out, with that reason.
        max_classes: of filtered rows.
        options: of the cases: ``threads``, ``memory_mb``, ``image``, ``side``, ``asked``.
    """

    bundles: tuple[Bundle, ...]
    backends: tuple[str, ...] = ()
    modes: tuple[str, ...] = MODES
    crops: tuple[int, ...] = CROPS
    classes: tuple[int, ...] = CLASSES
    minutes: float = 1.0
    max_classes: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """For the document."""
        named = {"models": [one.folder.name for one in self.bundles], "backends": list(self.backends)}
        grid = {"modes": list(self.modes), "crops": list(self.crops), "classes": list(self.classes)}
        return named | grid | {"minutes": self.minutes, "max_classes": self.max_classes} | self.options

    def specs(self) -> list[Spec]:
        """Every case."""
        backends = self.backends or [name for name in SPELLINGS if name not in BUILDS_WHEN_LOADED]
        return [
            spec
            for bundle in self.bundles
            for backend in backends
            for spec in bundle_specs(bundle, backend, self.modes, self.options, (self.max_classes,))
        ]


class Run:
    """Measures a plan; ``document`` has what was found so far, whatever happens."""

    def __init__(self, plan: Plan, progress: Progress, *, peaks: Peaks | None = None) -> None:
        """``progress`` is told of every workload; ``peaks`` are the machine's own if they are None."""
        self._plan, self._progress = plan, progress
        self._peaks = peaks or Peaks(plan.options.get("threads"))
        self._operations = {str(bundle.folder): BundleOperations(bundle) for bundle in plan.bundles}
        self._known: dict[str, Measured] = {}
        self._end = time.monotonic() + 60 * plan.minutes
        self._overhead: list[float] = []
        self.document = new_document("clsclip-bench", plan.settings())
        self.document["left_out"] = {}

    def measure(self, save: Callable[[dict[str, Any]], None]) -> None:
        """Measure everything; ``save`` gets the document after every workload, and when the run is interrupted.

        Raises:
            KeyboardInterrupt: Ctrl-C; the document has all rows up to there and says that it is not complete.
        """
        workloads = list(
            in_order(Workload(crops, classes) for crops in self._plan.crops for classes in self._plan.classes)
        )
        specs = self._plan.specs()
        rows: list[Measured] = []
        try:
            with self._peaks, TemporaryDirectory(prefix="clsclip-bench-") as cache:
                variables = variables_of(self._plan.options.get("threads"), Path(cache))
                for number, workload in enumerate(workloads, 1):
                    self._progress.update(number - 1, len(workloads), f"now {workload}")
                    rows = []
                    fit = [spec for spec in specs if self._fits(spec, workload, rows)]
                    measure(
                        fit,
                        workload,
                        self._peaks,
                        seconds=self._seconds(len(fit) * (len(workloads) - number + 1)),
                        variables=variables,
                        rows=rows,
                    )
                    specs = self._keep(rows, specs)
                    rows = []
                    save(self.document)
        except KeyboardInterrupt:
            self._keep([row for row in rows if row.calls], specs)
            self.document["interrupted"] = True
            save(self.document)
            raise

    @property
    def failed(self) -> bool:
        """Nothing was measured, a row failed, or an engine that was asked for by name does not work."""
        rows = self.document["rows"]
        measured = any(row["whole_ms"] is not None for row in rows)
        broken = any(row["reason"] not in (None, _NO_TIME) for row in rows)
        return not measured or (bool(self._plan.backends) and (broken or bool(self.document["left_out"])))

    def _keep(self, rows: Sequence[Measured], specs: list[Spec]) -> list[Spec]:
        """Put rows into the document; the cases that are worth going on with."""
        self.document["peaks"] = peaks_json(self._peaks)
        for row in rows:
            if row.load_seconds is None and row.reason not in (None, _NO_TIME):
                self.document["left_out"][row.spec.name] = row.reason
                specs = [spec for spec in specs if spec.name != row.spec.name]
                continue
            if row.calls:
                self._known[row.spec.name] = row
                self._overhead.append((row.load_seconds or 0) + row.first_call.get("whole", 0))
            found = row_of(row, self._operations.get(str(row.spec.options.get("model"))))
            self.document["rows"].append(found)
        return specs

    def _fits(self, spec: Spec, workload: Workload, rows: list[Measured]) -> bool:
        """Whether a row fits into the time that is left; a row that does not is added to ``rows`` with the reason."""
        if self._expected(spec, workload) <= self._end - time.monotonic():
            return True
        rows.append(Measured(spec, workload, reason=_NO_TIME))
        return False

    def _expected(self, spec: Spec, workload: Workload) -> float:
        """Seconds that a row takes at least, guessed from a smaller one; 0 where there is none."""
        known = self._known.get(spec.name)
        if known is None:
            return 0.0
        times = known.times()
        exact = spec.labels.get("mode") == EXACT
        growth = workload.pairs / known.workload.pairs if exact else workload.crops / known.workload.crops
        text = known.first_call.get("text", 0.0) * workload.classes / known.workload.classes
        calls = _UNTIMED_CALLS + LEAST_ROUNDS
        return (known.load_seconds or 0) + text + calls * max(1.0, growth) * sorted(times)[len(times) // 2]

    def _seconds(self, rows_left: int) -> float:
        """Seconds of timed calls for each row of the next workload."""
        overhead = sum(self._overhead) / len(self._overhead) if self._overhead else 0.0
        share = (self._end - time.monotonic()) / max(1, rows_left) - overhead
        return min(_MOST_SECONDS, max(_LEAST_SECONDS, share))


_NO_TIME = "it would not fit into the time that is left. Give more --minutes, or fewer --crops and --classes"


def line_of(row: dict[str, Any]) -> str:
    """One row for people who wait."""
    if row["whole_ms"] is None:
        return f"{row['name']}: {row['reason']}"
    share = f", {percent(row['peak_share'])} of {row['precision']}" if row["peak_share"] is not None else ""
    return f"{row['name']}: {figure(row['whole_ms']['p50'])} ms{share} ({row['whole_ms']['calls']} calls)"


def open_bundles(paths: Sequence[Path]) -> tuple[Bundle, ...]:
    """Open every bundle; the embedded one where there is no path. BundleError if one cannot be used."""
    return tuple(Bundle.open(path) for path in paths) or (Bundle.open(),)
