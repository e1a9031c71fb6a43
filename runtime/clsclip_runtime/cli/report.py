"""What the command line prints about results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clsclip_runtime.cli.output import cells
from clsclip_runtime.errors import one_line

if TYPE_CHECKING:
    from clsclip_runtime.bundle.specs import Manifest
    from clsclip_runtime.results.class_result import ClassResult
    from clsclip_runtime.results.result import Result


FOR_PHOTOGRAPHS = (
    "For photographs: clsclip-export --clipseg CIDAS/clipseg-rd64-refined --out clipseg.clsclip, "
    "then --model clipseg.clsclip; or train your own: clsclip-train --help"
)
"""The way out for who has the embedded model alone."""


def describe_model(manifest: Manifest, backend: str, *, embedded: bool = False) -> str:
    """Say which model runs where, and what it is and is not; of the embedded one, how to get another."""
    licenses = ", ".join(f"{part} {text}" for part, text in manifest.licenses.items())
    lines = [f"model {manifest.name} ({manifest.precision}, {licenses}) on {backend}", manifest.description]
    lines += [FOR_PHOTOGRAPHS] if embedded else []
    return "\n".join(one_line(one) for one in (*lines, manifest.trust) if one)


def table(result: Result) -> str:
    """One line for every class: presence score, share of the image, status; and where it was searched."""
    zoomed = result.regions is not None
    rows = [("class", "presence", "area %", "status" + ("    searched" if zoomed else ""))]
    for one in result:
        score = "-" if one.presence is None else f"{one.presence:.2f}"
        share = f"{one.area_percent:.1f}" if one.status == "found" else "-"
        where = f"{one.status:<8}  {_searched(result, one)}" if zoomed else one.status
        rows.append((one.name, score, share, where))
    return _columns(rows)


def frame_table(
    words: Sequence[str], found: npt.NDArray[np.int64], percents: npt.NDArray[np.float64], count: int
) -> str:
    """One line for every word of a video: in how many of ``count`` frames it was found, mean share of the picture."""
    rows = [("class", "frames", "area %", "")]
    for word, frames, percent in zip(words, found, percents, strict=True):
        rows.append((word, f"{frames}/{count}", f"{percent:.1f}" if frames else "-", ""))
    return _columns(rows)


def _searched(result: Result, one: ClassResult) -> str:
    """``2 regions of airplane (synonym)``, ``3 regions``, or ``whole image``."""
    count = sum(other.index == one.index and not other.whole_image for other in result.all_instances())
    if not count:
        return ", ".join(place.replace("-", " ") for place in one.searched) or "nowhere"
    names = one.match.names if one.match is not None else ()
    of = f" of {', '.join(names)}" if names else ""
    how = f" ({one.match.how})" if one.match is not None and one.match.how not in ("exact", "any") else ""
    return f"{count} region{'s' if count != 1 else ''}{of}{how}"


def _columns(rows: Sequence[tuple[str, str, str, str]]) -> str:
    width = max(cells(row[0]) for row in rows)
    return "\n".join(
        f"  {row[0]}{' ' * (width - cells(row[0]))}  {row[1]:>8}  {row[2]:>6}  {row[3]}".rstrip() for row in rows
    )
