"""Two runs side by side: how much slower or faster every row became."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clsclip_bench.report import KEY, figure, table


@dataclass(frozen=True)
class Change:
    """One row in both runs.

    Attributes:
        key: values of ``report.KEY``.
        old, new: median milliseconds of the whole call.
        old_share, new_share: of the machine's peak; None where that is not known.
    """

    key: tuple[Any, ...]
    old: float
    new: float
    old_share: float | None
    new_share: float | None

    @property
    def ratio(self) -> float:
        """New time by old; above 1 is slower."""
        return self.new / self.old

    @property
    def ratio_of_shares(self) -> float | None:
        """Old share by new: as ``ratio``, but blind to how fast the machine was in each run; None if not known."""
        return self.old_share / self.new_share if self.old_share and self.new_share else None


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Rows that were measured in both runs, in the order of the new one."""
    before = {_key(row): row for row in old["rows"] if row.get("whole_ms")}
    changes = []
    for row in new["rows"]:
        other = before.get(_key(row))
        if other is not None and row.get("whole_ms"):
            times = other["whole_ms"]["p50"], row["whole_ms"]["p50"]
            changes.append(Change(_key(row), *times, other.get("peak_share_whole"), row.get("peak_share_whole")))
    return changes


def slower(changes: Sequence[Change], tolerance: float) -> list[Change]:
    """Rows whose time grew by more than ``tolerance`` (0.1 is 10 %)."""
    return [change for change in changes if change.ratio > 1 + tolerance]


def comparison_table(changes: Sequence[Change]) -> str:
    """Markdown; ``by share`` leaves out how fast the machine was."""
    header = ("model, engine", "crops", "classes", "old ms", "new ms", "new / old", "by share")
    rows = []
    for change in changes:
        by_share = change.ratio_of_shares
        times = figure(change.old), figure(change.new), f"{change.ratio:.2f}"
        rows.append([*map(str, change.key), *times, "–" if by_share is None else f"{by_share:.2f}"])
    return table(header, rows) + "\n"


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)
