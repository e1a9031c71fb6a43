"""ClsCLIP+ end to end on the embedded model: this project beside the same steps in ultralytics and PyTorch.

    python -m benchmarks.peers.plus --report FILE [--work DIR] [--seconds 5]

One picture, five regions, three words. Both sides are warm and get the picture's pixels: detect, crop with a margin,
encode the crops, presence, segment every crop for every word, paste and join the masks. The detector is a YOLO11n of
random weights, so what it finds means nothing: five boxes are drawn beforehand and given to both sides after it ran,
so that both do the same work. ultralytics is AGPL-3.0 and needed for this script alone.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from clsclip_bench.case import Spec, Workload
from clsclip_bench.ours import device_of
from clsclip_bench.process import CaseProcess, variables_of
from clsclip_bench.report import figure, new_document, percent, row_of, table, write_document
from clsclip_bench.session import Peaks, measure
from clsclip_runtime.backends.select import BACKENDS
from clsclip_runtime.paths import is_file

from .parity import difference

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "examples" / "cluttered.png"
CHECKPOINT = ROOT / "models" / "stickers" / "last.safetensors"
WORDS = ["bottle", "boat", "dog"]
SIDE = 640
"""Of the detector's input, pixels: ultralytics' default."""

OURS, THEIRS = "clsclip", "ultralytics and PyTorch eager"


def boxes(width: int, height: int) -> npt.NDArray[np.float32]:
    """Five boxes (5, 4) xyxy in pixels, drawn beforehand as shares of the picture."""
    shares = [[0.05, 0.1, 0.4, 0.5], [0.5, 0.05, 0.9, 0.45], [0.1, 0.55, 0.45, 0.95], [0.5, 0.5, 0.95, 0.95],
              [0.3, 0.3, 0.7, 0.7]]  # fmt: skip
    return np.asarray(shares, np.float32) * np.asarray([width, height, width, height], np.float32)


def whole_image() -> npt.NDArray[np.uint8]:
    """The picture's pixels."""
    from clsclip_runtime.images import open_image

    return np.asarray(open_image(IMAGE).image)


class Ours:
    """A warm ``Segmenter`` with a detector. A case."""

    def __init__(self, detector: str, backend: str, threads: int | None = None) -> None:
        self._detector, self._backend, self._threads = detector, backend, threads
        self._found: dict[str, Any] = {}

    def load(self) -> None:
        from clsclip_bench.ours import EXACT, filter_options
        from clsclip_runtime import Proposals, Segmenter

        self._segmenter = Segmenter.load(None, self._backend, detector=self._detector, threads=self._threads)
        self._pixels = whole_image()
        self._proposals = Proposals.from_boxes(boxes(self._pixels.shape[1], self._pixels.shape[0]))
        self._options = filter_options(EXACT, None)

    def prepare(self, workload: Workload) -> None:
        """Nothing: the work is always the same."""

    def call(self) -> dict[str, float]:
        detector = self._segmenter.detector
        if detector is None:
            raise ValueError("the segmenter has no detector")
        detector(self._pixels)
        result = self._segmenter(self._pixels, WORDS, regions=self._proposals, **self._options)
        masks = result.masks
        self._found = {"pairs": len(result.pairs), "marked": masks.sum(axis=(1, 2)).tolist(), "masks": masks}
        return {"masks": result.timings.get("masks", 0.0) / 1000}

    def facts(self) -> dict[str, Any]:
        return {name: value for name, value in self._found.items() if name != "masks"}

    def logits(self) -> npt.NDArray[np.float32]:
        """Masks as logits: 1 inside, -1 outside."""
        return np.where(self._found["masks"], 1.0, -1.0).astype(np.float32)


class Theirs:
    """The same steps as somebody writes them with ultralytics and PyTorch. A case.

    A call of the model for every word, or, where ``shared``, the encoder once a crop and one call for its words.
    """

    def __init__(self, weights: str, shared: bool, threads: int | None = None) -> None:
        self._weights, self._shared, self._threads = weights, shared, threads
        self._found: dict[str, Any] = {}

    def load(self) -> None:
        os.environ.setdefault("YOLO_OFFLINE", "true")
        import torch

        from clsclip.checkpoint import load_checkpoint
        from clsclip.preprocessing import image_spec

        with contextlib.redirect_stdout(io.StringIO()):
            from ultralytics import YOLO

            self._yolo = YOLO(self._weights)
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        self._torch = torch
        self._model, _ = load_checkpoint(CHECKPOINT)
        self._spec = image_spec(self._model)
        self._pixels = whole_image()
        self._boxes = boxes(self._pixels.shape[1], self._pixels.shape[0])
        with torch.inference_mode():
            texts = [f"a picture of a {word}" for word in WORDS]
            self._tokens, self._features = self._model.encode_words(texts)

    def prepare(self, workload: Workload) -> None:
        """Nothing: the work is always the same."""

    def call(self) -> dict[str, float]:
        from PIL import Image

        from clsclip_runtime.images import preprocess
        from clsclip_runtime.regions import ZoomIn, crop_windows

        torch, model = self._torch, self._model
        self._yolo.predict(self._pixels[..., ::-1], imgsz=SIDE, device="cpu", verbose=False)
        height, width = self._pixels.shape[:2]
        image = Image.fromarray(self._pixels)
        joined = torch.zeros(len(WORDS), height, width, dtype=torch.bool)
        windows, _ = crop_windows(self._boxes, (width, height), ZoomIn())
        with torch.inference_mode():
            for left, top, right, bottom in windows.tolist():
                crop = preprocess(image.crop((left, top, right, bottom)), self._spec)[None]
                pixels = torch.from_numpy(crop)
                stem, image_features, patch_features, *detail = model.encode_image(pixels)
                model.presence(image_features, patch_features, self._features)
                logits = self._masks(pixels, stem, patch_features, *detail)
                size = (bottom - top, right - left)
                large = torch.nn.functional.interpolate(logits[:, None], size, mode="bilinear")[:, 0]
                joined[:, top:bottom, left:right] |= large > 0
        masks = joined.numpy()
        self._found = {"pairs": len(windows) * len(WORDS), "marked": masks.sum(axis=(1, 2)).tolist(), "masks": masks}
        return {}

    def _masks(self, pixels: Any, stem: Any, patch_features: Any, *detail: Any) -> Any:
        """Logits (K, h, w) of one crop."""
        torch, count = self._torch, len(WORDS)
        if self._shared:
            crop_index, class_index = torch.zeros(count, dtype=torch.int64), torch.arange(count)
            return self._model.trunk(stem, patch_features, self._tokens, crop_index, class_index, *detail)
        zero = torch.zeros(1, dtype=torch.int64)
        return torch.cat([self._model(pixels, self._tokens[at : at + 1], zero, zero) for at in range(count)])

    def facts(self) -> dict[str, Any]:
        return {name: value for name, value in self._found.items() if name != "masks"}

    def logits(self) -> npt.NDArray[np.float32]:
        """Masks as logits: 1 inside, -1 outside."""
        return np.where(self._found["masks"], 1.0, -1.0).astype(np.float32)


def detector_files(work: Path) -> tuple[Path, Path]:
    """A YOLO11n of random weights as ``.pt`` for ultralytics, and as ONNX for us; made where they are not there yet."""
    weights, exported = work / "yolo11n-random.pt", work / "yolo11n-random.onnx"
    if not (is_file(weights) and is_file(exported)):
        os.environ.setdefault("YOLO_OFFLINE", "true")
        import torch
        from ultralytics import YOLO

        work.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        model = YOLO("yolo11n.yaml")
        model.save(str(weights))
        YOLO(str(weights)).export(format="onnx", imgsz=SIDE, dynamic=False, simplify=False, opset=17, verbose=False)
    return weights, exported


@click.command()
@click.option("--report", "report_path", required=True, type=click.Path(path_type=Path))
@click.option("--work", default=Path("build/benchmarks"), type=click.Path(path_type=Path))
@click.option("--backend", "backends", multiple=True, type=click.Choice(list(BACKENDS)), help="Default: all on CPUs.")
@click.option("--seconds", default=5.0, show_default=True, help="Of timed calls for each row.")
@click.option("--threads", type=click.IntRange(min=1))
def main(report_path: Path, work: Path, backends: tuple[str, ...], seconds: float, threads: int | None) -> None:
    """Measure both sides in rounds."""
    weights, exported = detector_files(work)
    here = "benchmarks.peers.plus:"
    common = {"weights": str(weights), "threads": threads}
    specs = [
        Spec(f"{THEIRS}, a call for every word", here + "Theirs", common | {"shared": False}),
        Spec(f"{THEIRS}, encoder shared", here + "Theirs", common | {"shared": True}),
    ]
    for name in backends or [name for name in BACKENDS if device_of(name) == "cpu"]:
        options = {"detector": str(exported), "backend": name, "threads": threads}
        specs.append(Spec(f"{OURS}, {name}", here + "Ours", options))
    document = new_document("benchmarks.peers.plus", {"words": WORDS, "regions": 5, "seconds": seconds})
    first: list[npt.NDArray[np.float32]] = []

    def after(process: CaseProcess) -> dict[str, Any]:
        path = work / f".masks-{os.getpid()}.npy"
        process.logits(path)
        masks = np.load(path, allow_pickle=False)
        path.unlink()
        first.append(masks)
        return {"reference": True} if len(first) == 1 else difference(masks, first[0])

    with Peaks(threads) as peaks:
        variables = variables_of(threads, work / "words")
        found = measure(specs, Workload(1, len(WORDS)), peaks, seconds=seconds, variables=variables, after=after)
    rows = [row_of(one) for one in found]
    for row in rows:
        known = row["whole_ms"] is not None and rows[0]["whole_ms"] is not None
        row["times_first"] = round(rows[0]["whole_ms"]["p50"] / row["whole_ms"]["p50"], 3) if known else None
    document["rows"] = rows
    write_document(report_path, document)
    click.echo(markdown(document))


def markdown(document: dict[str, Any]) -> str:
    """The table of the README."""
    lines = []
    for row in document["rows"]:
        if row["whole_ms"] is None:
            lines.append([row["name"], f"not measured: {row['reason']}", "–", "–", "–", "–"])
            continue
        same = percent((row["parity"] or {}).get("mean_iou"))
        measured = [figure(row["whole_ms"]["p50"]), figure(row["whole_ms"]["p90"]), figure(row["times_first"])]
        lines.append([row["name"], *measured, str(row["pairs"]), "reference" if row is document["rows"][0] else same])
    return table(("way", "ms", "p90", "times as fast", "pairs", "mask IoU to the first"), lines)


if __name__ == "__main__":
    main()
