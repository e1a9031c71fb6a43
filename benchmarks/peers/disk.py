"""From a photo's file to masks on disk: how much of it is not the engine.

    python -m benchmarks.peers.disk --report FILE [--work DIR] [--classes 20] [--seconds 10]

A made-up 12-megapixel JPEG, a warm Segmenter of ViT-B/16 size, every word segmented, one PNG a word written.

Random weights give masks that are noise, the worst there is for whatever looks for their edges or compresses them. So
every engine has a second row in which smooth shapes, as trained models draw them, take the place of its logits.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.peers.material import bundle_of
from clsclip_bench.case import Spec, Workload
from clsclip_bench.engine_time import EngineClock
from clsclip_bench.operations import BundleOperations
from clsclip_bench.ours import EXACT, device_of, filter_options, made_image, precision_of, words
from clsclip_bench.process import variables_of
from clsclip_bench.report import figure, new_document, peaks_json, percent, row_of, table, write_document
from clsclip_bench.session import Peaks, measure
from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.backends.select import BACKENDS
from clsclip_runtime.bundle.opening import TEXT_ENCODER, Bundle
from clsclip_runtime.doctor import BUILDS_WHEN_LOADED
from clsclip_runtime.masks.upsampling import upsample
from clsclip_runtime.paths import is_file

WIDTH, HEIGHT = 4000, 3000
PARTS = ("read", "engine", "save")


class FileToDisk:
    """Reads the photo, segments it, writes masks. A case."""

    def __init__(
        self, model: str, backend: str, photo: str, out: str, smooth: bool = False, threads: int | None = None
    ) -> None:
        self._model, self._backend, self._photo, self._threads = model, backend, photo, threads
        self._smooth = smooth
        self._out = Path(out)
        self._clock = EngineClock()
        self._facts: dict[str, Any] = {}

    def load(self) -> None:
        from clsclip_runtime import Segmenter

        engine = self._clock.watch(BACKENDS[self._backend](self._threads))
        self._segmenter = Segmenter.load(self._model, engine, presence_filter=False)

    def prepare(self, workload: Workload) -> None:
        self._words = words(workload.classes)
        mask = self._segmenter.bundle.manifest.mask
        self._shapes = smooth_logits(workload.classes, mask.height, mask.width)

    def call(self) -> dict[str, float]:
        self._clock.take()
        result = self._segmenter(self._photo, self._words, **filter_options(EXACT, None))
        if self._smooth:
            result.pairs.logits[...] = self._shapes
        begin = time.perf_counter()
        files = result.save(self._out, formats=["png"])
        saved = time.perf_counter() - begin
        seconds = self._clock.take()
        seconds.pop(TEXT_ENCODER, None)
        self._facts = {"pairs": len(result.pairs), "files": len(files), "graphs": sorted(seconds)}
        return {"engine": sum(seconds.values()), "read": result.timings["read"] / 1000, "save": saved}

    def facts(self) -> dict[str, Any]:
        return self._facts

    def logits(self) -> None:
        """None: the masks are on disk."""


def smooth_logits(count: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """(count, height, width): some blobs each, about a third of the picture."""
    coarse = np.random.default_rng(0).normal(-0.4, 1, (count, 7, 7)).astype(np.float32)
    return upsample(coarse, (width, height))


def make_photo(path: Path) -> Path:
    """The photo, made where it is not there yet."""
    if not is_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}")
        Image.fromarray(made_image(WIDTH, HEIGHT)).save(scratch, "JPEG", quality=90)
        scratch.replace(path)
    return path


@click.command()
@click.option("--report", "report_path", required=True, type=click.Path(path_type=Path))
@click.option("--work", default=Path("build/benchmarks"), type=click.Path(path_type=Path))
@click.option("--classes", default=20, show_default=True, type=click.IntRange(1, 1000))
@click.option("--seconds", default=10.0, show_default=True, help="Of timed calls for each row.")
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="Bundle. Default: random ViT-B/16, FP32.")
@click.option("--threads", type=click.IntRange(min=1))
def main(report_path: Path, work: Path, classes: int, seconds: float, model: Path | None, threads: int | None) -> None:
    """Measure every backend in rounds."""
    bundle = Bundle.open(model or bundle_of(work))
    photo, out = make_photo(work / "photo.jpg"), work / "masks"
    gpu = bool(ask_driver().gpus)
    specs = []
    for name in BACKENDS:
        if name in BUILDS_WHEN_LOADED or (device_of(name) == "gpu" and not gpu):
            continue
        options = {"model": str(bundle.folder), "backend": name, "photo": str(photo), "threads": threads}
        precision = precision_of(name, bundle.manifest.precision)
        for smooth, label in ((True, "smooth shapes"), (False, "noise")):
            own = options | {"out": str(out / name / label), "smooth": smooth}
            factory = "benchmarks.peers.disk:FileToDisk"
            specs.append(Spec(f"{name}, {label}", factory, own, precision, device_of(name)))
    document = new_document("benchmarks.peers.disk", {"classes": classes, "photo": [WIDTH, HEIGHT], "seconds": seconds})
    operations = BundleOperations(bundle)
    with Peaks(threads) as peaks:
        for measured in measure(
            specs, Workload(1, classes), peaks, seconds=seconds, variables=variables_of(threads, work / "words")
        ):
            row = row_of(measured, operations)
            row["parts_ms"] = {name: measured.summary(name) for name in PARTS}
            document["rows"].append(row)
        document["peaks"] = peaks_json(peaks)
    shutil.rmtree(out, ignore_errors=True)
    write_document(report_path, document)
    click.echo(markdown(document))


def markdown(document: dict[str, Any]) -> str:
    """The table of the README."""
    lines = []
    for row in document["rows"]:
        if row["whole_ms"] is None:
            lines.append([row["name"], f"not measured: {row['reason']}", "–", "–", "–", "–", "–"])
            continue
        parts = {name: row["parts_ms"][name]["p50"] for name in PARTS}
        rest = row["whole_ms"]["p50"] - sum(parts.values())
        times = [figure(one) for one in (row["whole_ms"]["p50"], *parts.values(), rest)]
        lines.append([row["name"], *times, percent(row["outside_share"])])
    header = ("engine and masks", "ms", "read the JPEG", "engine", "write the masks", "the rest", "outside the engine")
    return table(header, lines)


if __name__ == "__main__":
    main()
