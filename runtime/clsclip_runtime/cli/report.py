"""What the command line prints about results."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from clsclip_runtime.bundle.manifest import Manifest
    from clsclip_runtime.results.result import Result


def describe_model(manifest: Manifest, backend: str) -> str:
    """Which model runs where, and what it is and is not."""
    lines = f"model {manifest.name} ({manifest.precision}, weights {manifest.licence}) on {backend}"
    return f"{lines}\n{manifest.description}" if manifest.description else lines


def table(result: Result) -> str:
    """One line for every word: presence score, share of the picture, verdict; and where it was found."""
    rows = [("word", "presence", "area %", "verdict" + ("    looked at" if result.zoomed else ""))]
    for at, (word, verdict) in enumerate(zip(result.classes, result.verdicts, strict=True)):
        known = result.presence is not None and result.presence[at] == result.presence[at]
        score = f"{result.presence[at]:.2f}" if result.presence is not None and known else "-"
        share = f"{result.percents[at]:.1f}" if verdict == "found" else "-"
        where = f"{verdict:<9}  {_looked_at(result, at)}" if result.zoomed else verdict
        rows.append((word, score, share, where))
    return _columns(rows)


def frame_table(
    words: Sequence[str], found: npt.NDArray[np.int64], percents: npt.NDArray[np.float64], count: int
) -> str:
    """One line for every word of a video: in how many of ``count`` frames it was found, mean share of the picture."""
    rows = [("word", "frames", "area %", "")]
    for word, frames, percent in zip(words, found, percents, strict=True):
        rows.append((word, f"{frames}/{count}", f"{percent:.1f}" if frames else "-", ""))
    return _columns(rows)


def _looked_at(result: Result, at: int) -> str:
    """``2 regions of airplane (synonym)``, ``3 regions``, or ``whole image``."""
    count = sum(one.index == at for one in result.regions)
    if not count:
        return result.looked_at(at)
    match = result.matches[at]
    of = f" of {', '.join(match.names)}" if match.names else ""
    how = f" ({match.how})" if match.how not in ("exact", "any") else ""
    return f"{count} region{'s' if count != 1 else ''}{of}{how}"


def _columns(rows: Sequence[tuple[str, str, str, str]]) -> str:
    width = max(_cells(row[0]) for row in rows)
    return "\n".join(
        f"  {row[0]}{' ' * (width - _cells(row[0]))}  {row[1]:>8}  {row[2]:>6}  {row[3]}".rstrip() for row in rows
    )


def _cells(text: str) -> int:
    """Cells that a terminal takes: two for wide East Asian characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
