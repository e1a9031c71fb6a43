"""Detectors in bundles: copied, described, tried, added to what stands; and weights that need another package."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result

from clsclip_export.cli import command as export
from clsclip_export.detector import DetectorSource, add_to_bundle, prepared_detector
from clsclip_export.errors import DetectorFileError
from clsclip_runtime import Bundle, BundleError, DetectorError, OutputError, Segmenter
from clsclip_runtime.backends.select import select_backend
from clsclip_runtime.detectors import COCO_NAMES, Detector
from tests.runtime.detectors.doubles import IMAGE, SIDE, save_onnx
from tests.runtime.tiny_bundle import make_bundle, paint

NAMES = {"names": "{0: 'red', 1: 'green'}", "license": "AGPL-3.0"}


def yolov8(path: Path, metadata: dict[str, str] | None = None) -> Path:
    """A detector that finds one red thing in the middle of every picture."""
    output = np.zeros((1, 6, 84), np.float32)
    output[0, :, 0] = [32, 32, 20, 10, 0.9, 0.1]
    return save_onnx(path, output, shape=("n", 3, SIDE, SIDE), metadata=NAMES if metadata is None else metadata)


def prepare(source: DetectorSource) -> None:
    """Prepare a detector and let it go."""
    with prepared_detector(source):
        pass


needs_ultralytics = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="ultralytics is not installed"
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.clsclip")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(export, [str(one) for one in arguments])


def test_a_detector_is_added_to_a_bundle(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "with.clsclip"
    done = run("--from-bundle", bundle, "--detector", yolov8(tmp_path / "mine.onnx"), "--out", out)
    assert done.exit_code == 0, done.output
    assert "[ok] detector.onnx      yolov8, 2 classes, 64x64, any batch, ran on 1 and 2 images" in done.output
    assert "license of the detector's weights: AGPL-3.0" in done.output
    again = run("--from-bundle", bundle, "--detector", tmp_path / "mine.onnx", "--out", out, "--force", "--json")
    assert "[ok] detector.onnx" in again.stderr
    document = json.loads(again.stdout)
    assert document["engines"] == []
    assert document["bundle"] == {
        "path": str(out),
        "bytes": sum(path.stat().st_size for path in out.iterdir()),
        "name": "tiny",
        "precision": "fp32",
        "parity": None,
    }
    opened, old = Bundle.open(out), Bundle.open(bundle)
    assert set(opened.manifest.files) == {*old.manifest.files, "detector.onnx"}
    assert opened.manifest.detector is not None
    assert (opened.manifest.detector.license, opened.manifest.detector.batch) == ("AGPL-3.0", None)
    assert opened.manifest.raw["detector"]["source"] == "mine.onnx"
    changed = {"detector": 0, "files": 0, "license": 0}
    assert {**opened.manifest.raw, **changed} == {**old.manifest.raw, **changed}
    assert opened.manifest.raw["license"] == {**old.manifest.raw["license"], "parts": {"detector.onnx": "AGPL-3.0"}}
    found = Detector.from_bundle(opened, select_backend(threads=1))(IMAGE)
    np.testing.assert_allclose(found.boxes, [[22, 11, 42, 21]])
    with Segmenter.load(out, threads=1) as segmenter:
        result = segmenter(paint({"red": (slice(1, 4), slice(1, 5))}), ["reds", "blue"], zoom_in=True)
    assert [match and match.how for match in (result["reds"].match, result["blue"].match)] == ["plural", "none"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.onnx", "tiny.clsclip", "with.clsclip"]


def test_a_bundle_may_be_replaced_by_itself(bundle: Path, tmp_path: Path) -> None:
    source = DetectorSource(yolov8(tmp_path / "a.onnx"))
    with prepared_detector(source) as detector:
        with pytest.raises(OutputError, match="--force"):
            add_to_bundle(bundle, detector, bundle)
        add_to_bundle(bundle, detector, bundle, force=True)
    other = DetectorSource(yolov8(tmp_path / "b.onnx", {"names": "['a', 'b']"}), license="MIT")
    with prepared_detector(other) as detector:
        add_to_bundle(bundle, detector, bundle, force=True)
    spec = Bundle.open(bundle).manifest.detector
    assert spec is not None
    assert (spec.names, spec.license) == (("a", "b"), "MIT")


def test_a_damaged_bundle_is_not_taken_over(bundle: Path, tmp_path: Path) -> None:
    (bundle / "trunk.onnx").write_bytes(b"x")
    source = DetectorSource(yolov8(tmp_path / "a.onnx"))
    with prepared_detector(source) as detector, pytest.raises(BundleError, match="damaged"):
        add_to_bundle(bundle, detector, tmp_path / "out.clsclip")
    assert not (tmp_path / "out.clsclip").exists()


def test_weights_in_another_file_come_along(tmp_path: Path) -> None:
    path = yolov8(tmp_path / "a.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="a.data", size_threshold=0)
    with prepared_detector(DetectorSource(path)) as detector:
        (tmp_path / "a.data").unlink()
        found = Detector.load(detector.path, threads=1)(IMAGE)
    np.testing.assert_allclose(found.boxes, [[22, 11, 42, 21]])


def test_names_and_license_are_given_or_said(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "coco.onnx", np.zeros((1, 84, 2100)), shape=(1, 3, 320, 320))
    with prepared_detector(DetectorSource(path)) as detector:
        lines = "\n".join(detector.lines())
    assert detector.spec.names == COCO_NAMES
    assert "[i] coco.onnx holds no class names; it has 80 classes, so COCO's names are taken" in lines
    assert "State it: --detector-license" in lines
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    with prepared_detector(DetectorSource(yolov8(path, {}), names=str(names), output_format="yolo11")) as detector:
        assert detector.spec.names == ("cat", "dog")


def test_detectors_that_cannot_come_along(tmp_path: Path) -> None:
    def fails(path: Path, message: str, output_format: str = "auto") -> None:
        with pytest.raises((DetectorFileError, DetectorError), match=message):
            prepare(DetectorSource(path, output_format=output_format))

    path = tmp_path / "a.onnx"
    fails(path, "no such detector")
    path.write_bytes(b"no model")
    fails(path, "not an ONNX file|cannot be loaded")
    fails(yolov8(path, {}), r"a\.onnx holds no class names.*--detector-names", output_format="yolov8")
    wrong = save_onnx(path, np.full((1, 6, 84), 3.0), shape=(1, 3, SIDE, SIDE), metadata=NAMES)
    fails(wrong, "gave scores from 3 to 3")
    onnx.save(onnx.load(yolov8(path)), path, save_as_external_data=True, location="a.data", size_threshold=0)
    (tmp_path / "a.data").unlink()
    fails(path, "cannot read")


def test_wrong_use(bundle: Path, tmp_path: Path) -> None:
    detector, out = yolov8(tmp_path / "a.onnx"), tmp_path / "out"
    for message, *arguments in (
        ("one of them", "--out", out),
        ("one of the two", "--from-bundle", bundle, "--ckpt", detector, "--out", out),
        ("needs what to do with it", "--from-bundle", bundle, "--out", out),
        ("--name is for --ckpt", "--from-bundle", bundle, "--detector", detector, "--name", "x", "--out", out),
        ("which is missing", "--ckpt", detector, "--detector-format", "yolov8", "--out", out),
        ("which is missing", "--ckpt", detector, "--trust-pickle", "--out", out),
        ("for a .pt", "--from-bundle", bundle, "--detector", detector, "--detector-side", "64", "--out", out),
        ("multiple of 32", "--from-bundle", bundle, "--detector", "a.pt", "--detector-side", "65", "--out", out),
        ("--force", "--from-bundle", bundle, "--detector", detector, "--out", bundle),
    ):
        done = run(*arguments)
        assert done.exit_code == 2, done.output
        assert message in done.output


def test_pickles_need_trust(bundle: Path, tmp_path: Path) -> None:
    weights = tmp_path / "mine.pt"
    weights.write_bytes(b"anything")
    with pytest.raises(DetectorFileError, match=r"is a pickle.*--trust-pickle.*yolo export model=mine\.pt"):
        prepare(DetectorSource(weights))


def test_ultralytics_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "mine.pt"
    weights.write_bytes(b"anything")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DetectorFileError, match=r"pip install .*\[detect\]'"):
        prepare(DetectorSource(weights, trust_pickle=True))


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@needs_ultralytics
def test_other_pickles_are_not_loaded_even_so(tmp_path: Path) -> None:
    weights, trace = tmp_path / "mine.pt", tmp_path / "trace"
    torch.save({"model": Harmful(trace)}, weights)
    with pytest.raises(DetectorFileError, match=r"ultralytics cannot export .*mine\.pt"):
        prepare(DetectorSource(weights, trust_pickle=True))
    assert not trace.exists()


MAKE = """
import sys, torch
from ultralytics import YOLO
torch.manual_seed(0)
YOLO("yolo26n.yaml").save(sys.argv[1])
"""


@needs_ultralytics
def test_ultralytics_weights(bundle: Path, tmp_path: Path) -> None:
    weights, out = tmp_path / "mine.pt", tmp_path / "with.clsclip"
    quiet = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, "-c", MAKE, str(weights)],
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    arguments = ("--detector", weights, "--trust-pickle", "--detector-side", "96", "--out", out)
    done = run("--from-bundle", bundle, *arguments)
    assert done.exit_code == 0, done.output
    spec = Bundle.open(out).manifest.detector
    assert spec is not None
    assert (spec.output_format, spec.height, spec.width, spec.batch) == ("yolov10", 96, 96, None)
    assert spec.license.startswith("AGPL-3.0")
    assert json.loads((out / "manifest.json").read_text("utf-8"))["detector"]["source"] == "mine.pt"
    shape = onnx.load(out / "detector.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_value for axis in shape] == [0, 3, 96, 96]
