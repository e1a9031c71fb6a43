"""What is found in ONNX files of detectors."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
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
    with pytest.raises(DetectorError, match=r"values of ONNX's type 2"):
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
    for missing, message in (("none.onnx", "no such detector"), (".", "is a folder"), ("a\0b", "detector|cannot")):
        with pytest.raises(DetectorError, match=message):
            read_spec(tmp_path / missing)
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(DetectorError, match="is not an ONNX file"):
        read_spec(tmp_path / "bad.onnx")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("yolo11n.pt", b"PK\x03\x04", "PyTorch"),
        ("yolo11n.ONNX", b"PK\x03\x04", "PyTorch"),
        ("yolo11n.engine", b"\0\0\0\0", "TensorRT"),
        ("yolo11n.xml", b"<?xml", "OpenVINO"),
        ("weights", b"<?xml", "OpenVINO"),
        ("yolo11n.tflite", b"TFL3", "TensorFlow"),
    ],
)
def test_files_of_other_formats_are_named(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DetectorError, match=rf"is a file of {kind}.*yolo export model=\S+\.pt format=onnx"):
        read_spec(tmp_path / name)


def test_a_file_that_is_too_new_says_so_however_long_its_path(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a folder with a long name" * 4] * 4)
    folder.mkdir(parents=True)
    path = save_onnx(folder / "new.onnx", V8, metadata={"names": "['a', 'b']"})
    model = onnx.load(path)
    model.ir_version = 99
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DetectorError, match=r"ONNX format 99.*version_converter"):
        read_spec(path)


@pytest.mark.parametrize(
    "shape",
    [(1, 3, 10**6, 10**6), (1000, 3, 640, 640), (10**6, 3, 64, 64), (1, 3, 16, 16), (1, 3, 8192, 8192)],
)
def test_inputs_are_bounded_before_memory_is_taken(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "a.onnx", V8, shape=shape, metadata={"names": "['a', 'b']"})
    with pytest.raises(DetectorError, match=r"pictures of [0-9,]+x[0-9,]+ pixels a call"):
        read_spec(path)
    nothing = save_onnx(tmp_path / "b.onnx", V8, shape=(1, 3, 0, 0), metadata={"names": "['a', 'b']"})
    with pytest.raises(DetectorError, match="an axis of a size that none has"):
        read_spec(nothing)


def test_metadata_are_bounded(tmp_path: Path) -> None:
    for metadata in ({"names": "[" + "'a'," * 300_000 + "]"}, {"names": "['a', 'b']", "x": "y" * (1 << 20)}):
        with pytest.raises(DetectorError, match="its metadata are over 1024 KiB"):
            read_spec(save_onnx(tmp_path / "a.onnx", V8, metadata=metadata))


def test_rtdetr_is_told_by_its_metadata(tmp_path: Path) -> None:
    def layout(columns: int, names: int, **metadata: str) -> str:
        known = {"names": str(dict(enumerate("abcdefgh"[:names]))), **metadata}
        return read_spec(save_onnx(tmp_path / "a.onnx", np.zeros((1, 300, columns)), metadata=known))[0].output_format

    head, older = {"head": "RTDETRDecoder"}, {"description": "Ultralytics rtdetr-l model trained on coco.yaml"}
    assert layout(6, 3, **head) == layout(6, 3, **older) == layout(6, 2, **head) == "rtdetr"
    assert layout(7, 3, **older) == layout(6, 2, **older) == "rtdetr-scores"
    assert layout(6, 3) == "yolov10"
    with pytest.raises(DetectorError, match="its metadata say RT-DETR"):
        layout(9, 3, **head)
    spec, _ = read_spec(save_onnx(tmp_path / "a.onnx", np.zeros((1, 300, 6)), metadata={"names": "['a']", **head}))
    assert spec.letterbox == "stretch"
