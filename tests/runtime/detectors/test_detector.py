"""Detectors: layouts, names, geometry, suppression; and a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clsclip_runtime.detectors import Detector, same_class
from clsclip_runtime.detectors.layouts import find_layout, parse_names, yolov8
from clsclip_runtime.detectors.letterbox import GREY, letterbox
from clsclip_runtime.detectors.nms import keep_best
from clsclip_runtime.errors import DetectorError, OptionError
from tests.shared_data import shared_data


class Session:
    """An ONNX Runtime session that gives fixed rows (centre x, y, width, height, scores ...)."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.output = np.array(rows, np.float32).T[None]

    def get_inputs(self) -> list[object]:
        class Input:
            name = "images"

        return [Input()]

    def run(self, outputs: object, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert feeds["images"].shape == (1, 3, 64, 64)
        return [self.output]


def detector(rows: list[list[float]], **options: float) -> Detector:
    return Detector(Session(rows), yolov8, ("cat", "dog"), (64, 64), **options)  # type: ignore[arg-type]


PICTURE = np.zeros((32, 64, 3), np.uint8)


def test_boxes_come_back_to_the_picture() -> None:
    # The 64x32 picture lies in rows 16 to 48 of the input.
    found = detector([[32, 32, 20, 10, 0.1, 0.9], [0, 16, 40, 20, 0.6, 0.2]])(PICTURE)
    assert found.classes.tolist() == [1, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.6])
    np.testing.assert_allclose(found.boxes, [[22, 11, 42, 21], [0, 0, 20, 10]])
    assert (found.boxes.dtype, found.classes.dtype, len(found)) == (np.float32, np.int64, 2)


def test_boxes_that_are_nothing() -> None:
    rows = [
        [32, 32, 0, 10, 0.9, 0.1],  # no width
        [32, 4, 20, 10, 0.9, 0.1],  # in the border
        [500, 500, 20, 20, 0.9, 0.1],  # outside
        [32, 32, 10, 10, 0.2, 0.1],  # unsure
        [float("nan"), 32, 10, 10, 0.9, 0.1],
        [32, 32, float("inf"), 10, 0.9, 0.1],
    ]
    found = detector(rows)(PICTURE)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    with pytest.raises(DetectorError, match="NaN"):
        detector([[32, 32, 10, 10, float("nan"), 0.1]])(PICTURE)


def test_five_thousand_boxes() -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.uniform(0, 64, (5000, 4)), rng.random((5000, 2))], axis=1)
    found = detector(rows.tolist(), max_detections=50)(PICTURE)
    assert len(found) == 50
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_bad_calls() -> None:
    for bad in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(OptionError, match="must be"):
            detector([[1, 1, 1, 1, 1, 1]])(bad)
    with pytest.raises(OptionError, match="confidence"):
        detector([], confidence=2)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([(64, 64), (96, 64), (64, 128)]))
def test_letterbox_and_back(width: int, height: int, size: tuple[int, int]) -> None:
    values, placed = letterbox(np.full((height, width, 3), 255, np.uint8), size)
    assert values.shape == (1, 3, *size)
    white = values[0, 0] == 1
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    assert (values[0, 0][~white] == np.float32(GREY) / np.float32(255)).all()
    inner = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    np.testing.assert_allclose(placed.to_picture(inner)[0], [0, 0, width, height], atol=1e-2)
    assert len(rows) == size[0] or len(columns) == size[1]


@st.composite
def box_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 60, (count, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(count).astype(np.float32) / max(count, 1)
    return boxes, scores, rng.integers(0, 3, count)


@given(box_sets(), st.sampled_from([0.3, 0.45, 0.7]))
def test_suppression_is_torchvisions(made: tuple[np.ndarray, np.ndarray, np.ndarray], iou: float) -> None:
    pytest.importorskip("torchvision")
    import torch
    from torchvision.ops import nms

    boxes, scores, classes = made
    theirs = []
    for one in range(3):
        own = np.flatnonzero(classes == one)
        theirs += own[nms(torch.from_numpy(boxes[own]), torch.from_numpy(scores[own]), iou).numpy()].tolist()
    theirs.sort(key=lambda at: -scores[at])
    assert keep_best(boxes, scores, classes, iou).tolist() == theirs


def test_boxes_without_area_drop_nothing() -> None:
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]], np.float32)
    assert keep_best(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64), 0.5).tolist() == [0, 1, 2]


def test_names() -> None:
    assert parse_names("{0: 'person', 1: 'hot dog'}", "x") == ("person", "hot dog")
    assert parse_names("['a', 'b']", "x") == ("a", "b")
    for text in ("", "{1: 'a'}", "{0: 3}", "[]", "{'0': 'a'}", "open('x')", "{0: 'a'", "(" * 3000, "7"):
        with pytest.raises(DetectorError, match=r"names=|no class names"):
            parse_names(text, "x")


@given(st.text(max_size=60))
def test_any_text_as_names(text: str) -> None:
    try:
        names = parse_names(text, "x")
    except DetectorError:
        return
    assert names
    assert all(isinstance(name, str) for name in names)


def test_layouts_that_are_not_known() -> None:
    assert find_layout([1, 84, 8400], 80, "x") is yolov8
    assert find_layout(["batch", 84, "anchors"], 80, "x") is yolov8
    for shape in ([1, 300, 6], [1, 3549, 85], [1, 84], [1, None, 8400]):
        with pytest.raises(DetectorError, match=r"\(1, 84, N\) is expected"):
            find_layout(shape, 80, "x")


def test_words_for_one_class() -> None:
    pairs = [
        ("aeroplane", "airplane"), ("motorbike", "motorcycle"), ("sofa", "couch"), ("tvmonitor", "tv"),
        ("tv monitor", "TV"), ("diningtable", "dining table"), ("pottedplant", " Potted  Plant"), ("dog", "Dog"),
    ]  # fmt: skip
    for one, other in pairs:
        assert same_class(one, other)
        assert same_class(other, one)
    assert not same_class("bus", "train")
    assert not same_class("plant", "potted plant")


def test_files_that_are_no_detectors(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no such detector"):
        Detector.load(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(DetectorError, match="cannot be loaded"):
        Detector.load(tmp_path / "bad.onnx")


def test_real_detectors() -> None:
    picture = np.asarray(Image.open(shared_data("pictures", "bus.jpg")).convert("RGB"))
    for name in ("yolov8n_640_fp32.onnx", "yolov8n_320_int8.onnx"):
        detector = Detector.load(shared_data("models", name), threads=1)
        assert len(detector.names) == 80
        found = detector(picture)
        words = [detector.names[one] for one in found.classes]
        assert words.count("bus") == 1
        assert words.count("person") in (3, 4)
        bus = found.boxes[words.index("bus")]
        np.testing.assert_allclose(bus, [20, 230, 800, 750], atol=40)
    with pytest.raises(DetectorError, match="no class names"):
        Detector.load(shared_data("models", "yolox_nano_416.onnx"))
    with pytest.raises(DetectorError, match="is expected"):
        Detector.load(shared_data("models", "yolox_nano_416.onnx"), names=tuple(str(one) for one in range(80)))
