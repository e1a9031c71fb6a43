"""What is found in ONNX files of detectors."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from clsclip_runtime.detectors import COCO_NAMES, DetectorSpec, read_spec
from clsclip_runtime.errors import DetectorError, OptionError
from tests.runtime.detectors.doubles import SIDE, save_onnx

V8 = np.zeros((1, 6, 84))
V8_COCO = np.zeros((1, 84, 84))


def test_a_file_that_says_all(tmp_path: Path) -> None:
    metadata = {"names": "{0: 'cat', 1: 'dog'}", "license": "AGPL-3.0\n License", "task": "detect"}
    spec, notes = read_spec(save_onnx(tmp_path / "a.onnx", V8, metadata=metadata))
    assert notes == ()
    assert spec == DetectorSpec(
        output_format="yolov8",
        names=("cat", "dog"),
        height=SIDE,
        width=SIDE,
        channel_order="rgb",
        input_scale=1.0,
        letterbox="center",
        batch=1,
        input_type="float32",
        class_agnostic=False,
        license="AGPL-3.0 License",
    )


def test_open_axes_are_found_by_running(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "a.onnx", np.zeros((1, 300, 6)), shape=("n", 3, "h", "w"), open_axes=True)
    spec, _ = read_spec(path, names=["a"] * 5, license="MIT")
    assert (spec.output_format, spec.batch, spec.height, spec.width, spec.license) == ("yolov10", None, 640, 640, "MIT")
    for text, size in (("[96, 64]", (96, 64)), ("64", (64, 64)), ("[1, 2]", (640, 640)), ("x(", (640, 640))):
        path = save_onnx(
            path, np.zeros((1, 300, 6)), shape=("n", 3, "h", "w"), open_axes=True, metadata={"imgsz": text}
        )
        spec, _ = read_spec(path, names=["a"] * 5)
        assert (spec.height, spec.width) == size


def test_coco_is_taken_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save_onnx(tmp_path / "a.onnx", V8_COCO)
    with caplog.at_level(logging.WARNING):
        spec, notes = read_spec(path, output_format="yolov8")
    assert spec.names == COCO_NAMES
    assert "COCO's names are taken" in notes[0]
    assert notes[0] in caplog.text
    assert read_spec(path, output_format="yolov8", names="coco")[1] == ()


def test_half_files(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "a.onnx", V8, input_type=TensorProto.FLOAT16)
    assert read_spec(path, names=["a", "b"])[0].input_type == "float16"
    with pytest.raises(DetectorError, match=r"takes a tensor\(uint8\)"):
        read_spec(save_onnx(path, V8, input_type=TensorProto.UINT8), names=["a", "b"])


def test_one_class(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "a.onnx", np.zeros((1, 5, 84)), metadata={"names": "{0: 'Things'}"})
    assert read_spec(path)[0].class_agnostic
    path = save_onnx(tmp_path / "a.onnx", np.zeros((1, 5, 84)), metadata={"names": "{0: 'bus'}"})
    assert not read_spec(path)[0].class_agnostic


def test_files_that_cannot_be_detectors(tmp_path: Path) -> None:
    def fails(message: str, *outputs: np.ndarray, **options: object) -> None:
        given = {key: options.pop(key) for key in ("names", "output_format") if key in options}
        path = save_onnx(tmp_path / "a.onnx", *outputs, **options)  # type: ignore[arg-type]
        with pytest.raises(DetectorError, match=message):
            read_spec(path, **given)  # type: ignore[arg-type]

    fails(r"holds no class names, and it has 2 classes.*names='coco'", V8, output_format="yolov8")
    fails("do not say how many classes", np.zeros((1, 300, 6)))
    fails(
        "has 2 classes in the layout yolov8, and there are 3 class names",
        V8,
        names=["a", "b", "c"],
        output_format="yolov8",
    )
    fails("for 3 classes", V8, names=["a", "b", "c"])
    fails("layout yolov10 cannot have", V8, names=["a", "b"], output_format="yolo26")
    fails("a detector takes one", V8, shape=(1, 4, SIDE, SIDE))
    fails("a detector takes one", V8, shape=(1, 3, SIDE))
    fails("task 'segment'", V8, metadata={"task": "segment", "names": "['a', 'b']"})
    fails("cannot be read", V8, metadata={"names": "{0: "})
    with pytest.raises(OptionError, match="no layout 'yolo'"):
        read_spec(tmp_path / "a.onnx", output_format="yolo")


def test_files_that_are_none(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(DetectorError, match="no such detector"):
            read_spec(missing)
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(DetectorError, match="cannot be loaded"):
        read_spec(tmp_path / "bad.onnx")
