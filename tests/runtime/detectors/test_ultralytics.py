"""Decoding against ultralytics' own predictor, on random weights of every head that it exports."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clsclip_runtime.detectors import Detector

REFERENCE = Path(__file__).with_name("ultralytics_reference.py")
LAYOUTS = {
    "yolov5n": ("yolov8", 1),
    "yolov8n": ("yolov8", 1),
    "yolo11n": ("yolov8", None),
    "yolov10n": ("yolov10", 1),
    "yolo26n": ("yolov10", 3),
    "yolov8n-nms": ("yolov10", 1),
    "rtdetr-l": ("rtdetr", 1),
}
"""Layout and batch of every export."""

LARGE = "rtdetr-l"
"""100 MB of random weights: made at night."""


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``NAME.onnx`` and ``NAME.npz`` of every small model."""
    names = [name for name in LAYOUTS if name != LARGE]
    return made_by_ultralytics(tmp_path_factory.mktemp("ultralytics"), names)


def made_by_ultralytics(folder: Path, names: list[str]) -> Path:
    """Let ultralytics make ``NAME.onnx`` and ``NAME.npz`` in a process of its own."""
    for package in ("ultralytics", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    quiet = {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(REFERENCE), *names]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **quiet}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_boxes_of_the_other_family_are_ultralytics(tmp_path: Path) -> None:
    check_boxes(made_by_ultralytics(tmp_path, [LARGE]), LARGE)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != LARGE])
def test_boxes_are_ultralytics(exports: Path, name: str) -> None:
    check_boxes(exports, name)


def check_boxes(exports: Path, name: str) -> None:
    # The engine that ultralytics runs: random weights give many scores of 1, and another engine's last digit decides
    # which of two overlapping boxes stays.
    made = Detector.load(exports / f"{name}.onnx", backend="onnxruntime-cpu", threads=1)
    assert (made.spec.output_format, made.spec.batch) == LAYOUTS[name]
    assert (made.spec.height, made.spec.width) == (160, 160)
    assert made.spec.license.startswith("AGPL-3.0")
    assert (len(made.names), made.notes) == (80, ())
    reference = np.load(exports / f"{name}.npz")
    images = [reference[f"picture{at}"] for at in range(4)]
    counts = []
    for at, found in enumerate(made.batch(images)):
        theirs = reference[f"found{at}"]
        theirs = theirs[(theirs[:, 2] > theirs[:, 0]) & (theirs[:, 3] > theirs[:, 1])]
        counts.append(len(theirs))
        assert len(found) == len(theirs)
        np.testing.assert_allclose(found.scores, theirs[:, 4], atol=1e-4)
        # The same number may be given to two boxes in either order, so boxes are sought among those of their score.
        left = list(range(len(found)))
        for x0, y0, x1, y1, score, number in theirs.tolist():
            near = [
                own
                for own in left
                if found.classes[own] == number
                and abs(found.scores[own] - score) <= 1e-4
                and np.abs(found.boxes[own] - [x0, y0, x1, y1]).max() <= 0.5
            ]
            assert near, f"picture {at}: no box like {x0:.1f} {y0:.1f} {x1:.1f} {y1:.1f} {score:.4f}"
            left.remove(near[0])
    assert max(counts) >= 20, "the comparison must have something to compare"
