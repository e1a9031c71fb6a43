"""A picture of a run: time by number of classes, and shares of the machine's peak."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from clsclip_bench.report import write
from clsclip_runtime.errors import OptionError
from clsclip_runtime.extras import install_command
from clsclip_runtime.libraries import import_matplotlib

_STROKES = ("-", "--", ":", "-.")
_MARKERS = "os^Dv"
"""Of the numbers of crops; colours are of the engines."""


def load_matplotlib() -> Any:
    """``matplotlib.pyplot``, drawing into files. OptionError if it is not installed."""
    try:
        import_matplotlib()
        return import_module("matplotlib.pyplot")
    except ImportError as error:
        raise OptionError(
            f"a plot needs matplotlib, which cannot be imported ({error}). Run: {install_command('bench')}"
        ) from error


def plot(document: Mapping[str, Any], path: Path) -> None:
    """Write a PNG.

    Args:
        document: of a run.
        path: the file.

    Raises:
        OptionError: matplotlib is not installed, or nothing was measured.
        OutputError: the file cannot be written.
    """
    rows = [row for row in document["rows"] if row["whole_ms"] is not None]
    if not rows:
        raise OptionError("nothing was measured, so there is nothing to plot. See the reasons in the JSON")
    pyplot = load_matplotlib()
    lines: dict[tuple[str, int], list[Any]] = {}
    for row in rows:
        lines.setdefault((row["name"], row["crops"]), []).append(row)
    names, sizes = (list(dict.fromkeys(one)) for one in zip(*lines, strict=True))
    below = -(-len(lines) // 3)
    figure, (times, shares) = pyplot.subplots(1, 2, figsize=(13, 4.8 + 0.18 * below), layout="constrained")
    for (name, crops), line in lines.items():
        line.sort(key=lambda row: row["classes"])
        label = f"{name}, {crops} {'crop' if crops == 1 else 'crops'}"
        classes = [row["classes"] for row in line]
        colour, size = names.index(name), sizes.index(crops)
        style: dict[str, Any] = {"color": f"C{colour}", "marker": _MARKERS[size % len(_MARKERS)]}
        style["linestyle"] = _STROKES[size % len(_STROKES)]
        times.plot(classes, [row["whole_ms"]["p50"] for row in line], label=label, **style)
        known = [row for row in line if row["peak_share"] is not None]
        shares.plot([row["classes"] for row in known], [100 * row["peak_share"] for row in known], **style)
    for axes, title in ((times, "median ms of a call, from pixels to masks"), (shares, "engine, % of the peak")):
        axes.set_xscale("log")
        axes.set_xlabel("classes")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    times.set_yscale("log")
    figure.legend(loc="outside lower center", ncols=3, fontsize=7)
    shares.set_ylim(bottom=0)
    try:
        write(path, lambda file: figure.savefig(file, dpi=110, format="png"))
    finally:
        pyplot.close(figure)
