"""One run: what the output holds is left out, rows are written as they come, and every end keeps them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.cli.stopping import as_event
from clsclip_runtime.errors import BackendError, OutputError
from clsclip_serve.batch.rows import FAULT
from clsclip_serve.batch.shards import Held, Writer
from clsclip_serve.batch.sources import Chunk

MOST_FAULTS = 20
"""Errors that are not the images' own, one after another, after which the run ends: they would fill the table."""


class Pool(Protocol):
    """What makes rows: processes, or actors of Ray."""

    notes: list[str]

    def rows(self, chunks: Sequence[Chunk], stop: Any) -> Iterator[dict[str, Any] | None]:
        """The rows of all chunks as they come; None now and then, while none comes."""


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        images: of the source.
        before: of those, with a row before this run.
        rows: that this run wrote.
        errors: rows of the table with an error.
        first_errors: a few of this run's: name and reason.
        started: seconds from the beginning to the first row.
        seconds: from the first row to the last.
        stopped: a signal ended it early.
        notes: for the user.
    """

    images: int
    before: int = 0
    rows: int = 0
    errors: int = 0
    first_errors: list[str] = field(default_factory=list)
    started: float = 0.0
    seconds: float = 0.0
    stopped: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Images a second from the first row to the last; 0 where there are too few to tell."""
        return (self.rows - 1) / self.seconds if self.rows > 1 and self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "images": self.images,
            "before": self.before,
            "rows": self.rows,
            "errors": self.errors,
            "first_errors": self.first_errors,
            "start_s": round(self.started, 3),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.rate, 3),
            "stopped": self.stopped,
            "notes": self.notes,
        }


def run(pool: Pool, chunks: Sequence[Chunk], writer: Writer, held: Held, total: int, *, shown: bool) -> Outcome:
    """Make the rows of all chunks, and write them.

    Args:
        pool: makes them.
        chunks: to do.
        writer: writes them.
        held: what was there before.
        total: images of the source.
        shown: draw progress.

    Raises:
        OutputError: rows cannot be written; what was written stays.
        BackendError: images fail one after another, and not by themselves.
        ClsclipRuntimeError: as ``Pool.rows``.
    """
    outcome = Outcome(total, before=len(held.done), errors=held.errors, notes=list(held.notes))
    begun, first, last = time.monotonic(), 0.0, 0.0
    doubtful: list[dict[str, Any]] = []

    def take(row: dict[str, Any]) -> None:
        if row["error"] is not None:
            outcome.errors += 1
            if len(outcome.first_errors) < 5:
                outcome.first_errors.append(f"{row['path']}: {row['error']}")
        writer.add(row)

    with as_event() as stop, Progress("images", total, begin=outcome.before, shown=shown, alive=True) as progress:
        try:
            with closing(pool.rows(chunks, stop)) as rows:  # type: ignore[type-var]
                for row in rows:
                    if row is None:
                        writer.flush_if_due()
                        continue
                    last = time.monotonic()
                    first = first or last
                    outcome.rows += 1
                    if row.pop(FAULT, False):
                        doubtful.append(row)
                        if len(doubtful) >= MOST_FAULTS:
                            raise BackendError(_faults(doubtful))
                        continue
                    for one in (*doubtful, row):
                        take(one)
                    doubtful.clear()
                    detail = f"{outcome.errors} with an error" if outcome.errors else None
                    progress.update(outcome.before + outcome.rows, detail=detail)
            outcome.stopped = stop.is_set()
            if doubtful and not outcome.stopped:
                if outcome.rows == len(doubtful) > 1:
                    raise BackendError(_faults(doubtful))
                for one in doubtful:
                    take(one)
        finally:
            writer.flush()
    writer.check(held.files)
    outcome.started, outcome.seconds = (first or time.monotonic()) - begun, last - first
    outcome.rows = sum(writer.files.values())
    outcome.notes += _few(pool.notes)
    missing = total - outcome.before - outcome.rows
    if missing and not outcome.stopped:
        raise OutputError(f"{missing:,} images have no row. Run the same command again: it does them")
    return outcome


def _faults(rows: Sequence[Mapping[str, Any]]) -> str:
    return (
        f"{len(rows)} images one after another failed, and not by themselves; the last: {rows[-1]['error']}. They have "
        "no row. Mend that, then run the same command again: what was written is left out"
    )


def _few(notes: Sequence[str]) -> list[str]:
    return [*notes[:5], *([f"and {len(notes) - 5:,} more such"] if len(notes) > 5 else [])]
