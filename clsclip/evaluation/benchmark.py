"""Scoring as the training-free literature does: every pixel gets the strongest name, and counts once.

A class may have several names; its strongest one counts. Where the benchmark has background, a pixel is background
where no name exceeds the model's mask threshold, and where a name that stands for background wins. mIoU is the mean
over the classes of intersection over union, pixels pooled over all pictures, background a class like the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsclip.data.base import IGNORE
from clsclip.data.benchmarks import Benchmark
from clsclip.data.files import read_lines
from clsclip.errors import DataError
from clsclip.evaluation.evaluate import Progress
from clsclip.evaluation.protocol import Protocol
from clsclip_runtime.paths import plain
from clsclip_runtime.regions import TILES
from clsclip_runtime.results.result import Result
from clsclip_runtime.segmenter import Segmenter

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Names:
    """What a model is asked for a benchmark's classes.

    Attributes:
        asked: the classes that are asked, each with its names, in order.
        classes: the benchmark's class of each.
    """

    asked: dict[str, tuple[str, ...]]
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Asking:
    """How the model is asked.

    Attributes:
        protocol: sizes; its episodes are not read.
        tiles: search tiles besides the whole picture.
        refine: sharpen the masks' edges by the picture's own.
        presence: leave out names whose presence is below the model's own threshold.
    """

    protocol: Protocol = field(default_factory=Protocol)
    tiles: bool = False
    refine: bool = False
    presence: bool = False

    def describe(self) -> str:
        """In words, for a report."""
        size = self.protocol.size
        extras = [name for name in ("tiles", "refine", "presence") if getattr(self, name)]
        return ", ".join(["pictures' own sizes" if size is None else f"squashed to {size}x{size}", *extras])


@dataclass(frozen=True)
class BenchmarkScore:
    """What was found. IoU and accuracy in percent; NaN where nothing was counted.

    Attributes:
        benchmark: its name.
        method: what drew the masks.
        protocol: in words.
        classes: (name, IoU, pixels of the truth) of every class.
        miou: mean over the classes that the truth or the model has anywhere.
        accuracy: share of the counted pixels that have the right class.
        images: their number.
        seconds: time it took.
        notes: sentences for the reader.
    """

    benchmark: str
    method: str
    protocol: str
    classes: tuple[tuple[str, float, int], ...]
    miou: float
    accuracy: float
    images: int
    seconds: float
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; NaN becomes null."""
        keys = ("name", "iou", "pixels")
        classes = [dict(zip(keys, one, strict=True)) for one in self.classes]
        document: dict[str, Any] = plain(asdict(self) | {"classes": classes})
        document["pictures"] = document.pop("images")
        return document


def read_names(path: Path, benchmark: Benchmark) -> Names:
    """Names of a benchmark's classes from a file: a line a class, in their order, names apart by commas.

    With background the file may have one line more, its first: names that stand for background.

    Raises:
        DataError: the file cannot be read, has another number of lines, or gives a class's own name to another.
    """
    lines = [tuple(name.strip() for name in line.split(",") if name.strip()) for line in read_lines(path, pipe=True)]
    first = int(benchmark.background)
    wanted = benchmark.classes - first
    with_background = benchmark.background and len(lines) == benchmark.classes
    if len(lines) != wanted and not with_background:
        more = f", or {benchmark.classes} with names of background first" if benchmark.background else ""
        raise DataError(f"{path} has {len(lines)} lines, and {benchmark.name} has {wanted} classes: a line each{more}.")
    asked = {line[0]: line for line in lines if line}
    if len(asked) < len(lines):
        raise DataError(f"{path} has a line without a name, or two lines that begin with the same name.")
    # Lists of data sets share synonyms, but what is one class's own name is no synonym of another.
    owners = {own.casefold(): own for own in asked}
    for own, line in asked.items():
        for name in line[1:]:
            other = owners.get(name.casefold(), own)
            if other != own:
                raise DataError(f"{path} gives {name!r} to {own!r}, and it is a class of its own. Leave it out there.")
    return Names(asked, tuple(range(0 if with_background else first, benchmark.classes)))


def label_map(result: Result, names: Names, benchmark: Benchmark) -> NDArray[np.int64]:
    """(H, W) int64: the class of every pixel; ``benchmark.classes`` where it has none."""
    none = 0 if benchmark.background else benchmark.classes
    table = np.array([none, *names.classes], np.int64)
    found: NDArray[np.int64] = table[result.labels(background=benchmark.background)]
    return found


def confusion(truth: NDArray[np.uint8], predicted: NDArray[np.int64], classes: int) -> Counts:
    """Pixels by true and predicted class.

    Args:
        truth: (H, W) uint8, 255 is not counted.
        predicted: (H, W), 0 to ``classes``; the last stands for no class.
        classes: N.

    Returns:
        (N, N + 1) int64: rows are true classes, columns predicted ones, the last column pixels without a class.

    Raises:
        ValueError: the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"a label map of shape {predicted.shape} cannot be compared with one of {truth.shape}")
    counted = truth != IGNORE
    both = truth[counted].astype(np.int64) * (classes + 1) + predicted[counted]
    counts: Counts = np.bincount(both, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
    return counts


def ious(counts: Counts) -> NDArray[np.float64]:
    """IoU of every class in percent, from :func:`confusion`; NaN where neither truth nor model has it."""
    square = counts[:, :-1]
    both = np.diag(square)
    either = counts.sum(axis=1) + square.sum(axis=0) - both
    return np.where(either > 0, 100.0 * both / np.maximum(either, 1), np.nan)


def score_benchmark(
    benchmark: Benchmark,
    segmenter: Segmenter,
    names: Names,
    asking: Asking | None = None,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> BenchmarkScore:
    """Score a bundle.

    Args:
        benchmark: pictures and label maps.
        segmenter: the loaded bundle.
        names: what it is asked.
        asking: how it is asked.
        limit: only the first pictures; the report says so.
        progress: told after every picture.

    Raises:
        DataError: a picture or label map cannot be read.
    """
    asking = asking or Asking()
    start = time.perf_counter()
    images = min(len(benchmark.images), limit or len(benchmark.images))
    if not images:
        raise DataError(f"{benchmark.name} has no pictures there.")
    counts = np.zeros((benchmark.classes, benchmark.classes + 1), np.int64)
    told: dict[str, None] = {}
    for index in range(images):
        result = segmenter(
            asking.protocol.image(benchmark.images.image(index)),
            names.asked,
            presence_filter=None if asking.presence else False,
            regions=TILES if asking.tiles else None,
            refine=asking.refine,
        )
        truth = asking.protocol.mask(benchmark.images.labels(index))
        counts += confusion(truth, label_map(result, names, benchmark), benchmark.classes)
        told.update(dict.fromkeys(result.notes))
        if progress is not None:
            progress(index + 1, images)
    method = f"{segmenter.bundle.manifest.name} ({segmenter.backend})"
    cut = [f"only the first {images} pictures: not the whole benchmark"] if limit == images else []
    return _report(benchmark, method, asking, names, counts, time.perf_counter() - start, images, [*cut, *told])


def _report(
    benchmark: Benchmark,
    method: str,
    asking: Asking,
    names: Names,
    counts: Counts,
    seconds: float,
    images: int,
    notes: Sequence[str],
) -> BenchmarkScore:
    shown = {at: name for name, at in zip(names.asked, names.classes, strict=True)}
    if benchmark.background:
        shown[0] = "background"
    found, pixels = ious(counts), counts.sum(axis=1)
    absent = [shown[at] for at in range(benchmark.classes) if np.isnan(found[at])]
    if absent:
        notes = [*notes, f"nowhere in truth and masks, so not in the mean: {', '.join(absent)}"]
    total = int(pixels.sum())
    return BenchmarkScore(
        benchmark=benchmark.name,
        method=method,
        protocol=asking.describe(),
        classes=tuple((shown[at], float(found[at]), int(pixels[at])) for at in range(benchmark.classes)),
        miou=float(np.nanmean(found)) if len(absent) < benchmark.classes else float("nan"),
        accuracy=100.0 * int(np.trace(counts)) / total if total else float("nan"),
        images=images,
        seconds=seconds,
        notes=tuple(notes),
    )


def benchmark_table(score: BenchmarkScore) -> str:
    """A Markdown table; classes, protocol and notes below."""
    figures = [f"{value:.1f}" if value == value else "-" for value in (score.miou, score.accuracy)]
    lines = [
        "| method | benchmark | mIoU | pixel accuracy | pictures |",
        "|---|---|---:|---:|---:|",
        f"| {score.method} | {score.benchmark} | {figures[0]} | {figures[1]} | {score.images} |",
        "",
        "IoU: " + ", ".join(f"{name} {iou:.1f}" if iou == iou else f"{name} -" for name, iou, _ in score.classes),
        f"protocol: {score.protocol}; {score.seconds:.0f} s",
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in score.notes)])
