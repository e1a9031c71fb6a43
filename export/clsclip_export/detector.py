"""Putting a detector into a bundle: made ONNX where it is not, described in the manifest, run once before it counts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from clsclip_export.errors import DetectorFileError
from clsclip_export.trial import try_bundle
from clsclip_runtime.backends.select import select_backend
from clsclip_runtime.bundle.folder import check_target, file_entries, staged_folder
from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.bundle.graph_rules import DETECTORS
from clsclip_runtime.bundle.opening import DETECTOR, MANIFEST, Bundle
from clsclip_runtime.detectors import Detector, DetectorSpec, read_spec
from clsclip_runtime.errors import BackendError, BundleError, DetectorError
from clsclip_runtime.extras import install_command
from clsclip_runtime.paths import is_file, write_bytes, write_json

SIDE = 640
"""Input side in pixels that ultralytics weights are exported at."""

_MINUTES = 20
_QUIET = {
    # Nothing is fetched or installed, no settings of the user's are read or written, and of pickles only
    # ultralytics' own and torch's classes are loaded (by versions that know this setting).
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "true",
}


@dataclass(frozen=True)
class DetectorSource:
    """A detector as a user has it.

    Attributes:
        path: an ONNX file, or ultralytics' ``.pt``.
        names: its class names, a file of them, or "coco"; None takes those in the file.
        output_format: of its outputs; "auto" finds it.
        license: of its weights; None takes what the file says.
        trust_pickle: a ``.pt`` may be loaded, which can run code that is in it.
        side: input side in pixels for a ``.pt``; a multiple of 32.
    """

    path: Path
    names: Sequence[str] | str | None = None
    output_format: str = "auto"
    license: str | None = None
    trust_pickle: bool = False
    side: int = SIDE


@dataclass(frozen=True)
class PreparedDetector:
    """A detector that is ready to be copied into a bundle.

    Attributes:
        path: its ONNX file, weights included.
        spec: how it is run.
        source: name of the file that it comes from.
        batches: numbers of images that it was run on.
        notes: what had to be assumed, for the user.
    """

    path: Path
    spec: DetectorSpec
    source: str
    batches: tuple[int, ...]
    notes: tuple[str, ...]

    def section(self) -> dict[str, Any]:
        """Its part of the manifest."""
        return {**asdict(self.spec), "source": self.source}

    def lines(self) -> list[str]:
        """For people."""
        spec = self.spec
        classes = "knows no classes" if spec.class_agnostic else f"{len(spec.names)} classes"
        ran = " and ".join(str(count) for count in self.batches)
        batch = "any batch" if spec.batch is None else f"batch {spec.batch}"
        facts = f"{spec.output_format}, {classes}, {spec.width}x{spec.height}, {batch}"
        found = [f"[ok] {DETECTOR:18} {facts}, ran on {ran} images"]
        found += [f"[i] {note}" for note in self.notes]
        return [*found, f"[i] license of the detector's weights: {spec.license}"]


@contextmanager
def prepared_detector(source: DetectorSource) -> Iterator[PreparedDetector]:
    """The detector as ONNX in a temporary folder, described and tried.

    Raises:
        DetectorFileError: the file cannot be made ONNX, needs trust that was not given, or is no detector of a known
            format with class names.
        DetectorError, BackendError: it does not run.
        OptionError: there is no such layout.
    """
    if not is_file(source.path):
        raise DetectorFileError(f"no such detector: {source.path}. Give an ONNX file, or ultralytics' .pt")
    with tempfile.TemporaryDirectory(prefix="clsclip-detector-") as folder:
        path = Path(folder) / DETECTOR
        if source.path.suffix.lower() in (".pt", ".pth"):
            convert_weights(source, path)
        else:
            copy_whole(source.path, path)
        try:
            spec, notes = read_spec(
                path, names=source.names, output_format=source.output_format, license=source.license
            )
        except DetectorError as error:
            message = str(error).replace(str(path), str(source.path))
            raise DetectorFileError(f"{message}. Here: --detector-names, --detector-format") from error
        if spec.license == "unknown":
            notes = (*notes, "the file does not say its weights' license. State it: --detector-license")
        batches = (1, 2) if spec.batch is None else (spec.batch,)
        try_out(path, spec, batches)
        notes = tuple(note.replace(DETECTOR, source.path.name) for note in notes)
        yield PreparedDetector(path, spec, source.path.name, batches, notes)


def copy_whole(source: Path, target: Path) -> None:
    """Copy an ONNX file; weights that it keeps in other files go into it."""
    try:
        write_bytes(target, read_graph(source, DETECTORS).model())
    except (DetectorError, BackendError, BundleError) as error:
        raise DetectorFileError(str(error)) from error


def convert_weights(source: DetectorSource, target: Path) -> None:
    """ultralytics' ``.pt`` to an ONNX file of a fixed side that takes any number of images."""
    if not source.trust_pickle:
        raise DetectorFileError(
            f"{source.path} is a pickle, and loading one can run code that is in it. If you trust where it comes from, "
            "give --trust-pickle; or make it ONNX elsewhere and give that: "
            f"yolo export model={source.path.name} format=onnx"
        )
    if importlib.util.find_spec("ultralytics") is None:
        raise DetectorFileError(
            f"{source.path} needs ultralytics (AGPL-3.0), which is not installed. Run: {install_command('detect')}; "
            "or give the detector as ONNX"
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        weights = Path(folder) / "detector.pt"
        shutil.copyfile(source.path, weights)
        environment = {**os.environ, **_QUIET, "YOLO_CONFIG_DIR": folder}
        command = [sys.executable, "-m", "clsclip_export.ultralytics_worker", str(weights), str(source.side)]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60 * _MINUTES, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DetectorFileError(f"ultralytics did not export {source.path} within {_MINUTES} minutes") from error
        made = weights.with_suffix(".onnx")
        if done.returncode != 0 or not is_file(made):
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it gave no reason"]
            raise DetectorFileError(
                f"ultralytics cannot export {source.path}: {lines[-1].strip()[:300]}. Try its own command, and "
                f"give the ONNX file: yolo export model={source.path.name} format=onnx"
            )
        model = onnx.load(made)
        # Only the number of images stays open: engines are built for one size.
        for axis in (2, 3):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = source.side
        onnx.save(model, target)


def try_out(path: Path, spec: DetectorSpec, batches: tuple[int, ...]) -> None:
    """Run the detector on noise, black and white. DetectorError or BackendError where it cannot be."""
    detector = Detector(select_backend("onnxruntime-cpu").load(read_graph(path, DETECTORS)), spec, confidence=0.0)
    noise = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width // 2, 3), dtype=np.uint8)
    images = [noise, np.zeros((32, 64, 3), np.uint8), np.full((64, 32, 3), 255, np.uint8)]
    for count in batches:
        detector.batch([images[at % len(images)] for at in range(count)])


def add_to_bundle(bundle: Path, detector: PreparedDetector, out: Path, *, force: bool = False) -> None:
    """Write the bundle again with this detector; nothing stands at ``out`` until it is whole.

    Args:
        bundle: an existing bundle, which is verified first; it may be ``out``.
        detector: takes the place of one that is there.
        out: the new bundle.
        force: replace what stands at ``out``.

    Raises:
        BundleError: ``bundle`` is none, or damaged.
        OutputError: ``out`` exists and ``force`` is not set, or its folder cannot be written.
    """
    check_target(out, force=force)
    opened = Bundle.open(bundle)
    with staged_folder(out, force=force) as folder:
        opened.copy(set(opened.manifest.files) - {DETECTOR}, folder)
        shutil.copyfile(detector.path, folder / DETECTOR)
        document = dict(opened.manifest.raw)
        document["files"] = file_entries(folder)
        document["detector"] = detector.section()
        parts = {**document["license"].get("parts", {}), DETECTOR: detector.spec.license}
        document["license"] = {**document["license"], "parts": parts}
        write_json(folder / MANIFEST, document)
        try_bundle(folder)
