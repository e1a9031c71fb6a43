"""Detectors as a whole: pictures to boxes, batches, options, files, and real ones."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from clsclip_runtime import Bundle
from clsclip_runtime.backends.select import select_backend
from clsclip_runtime.detectors import LAYOUTS, Detector
from clsclip_runtime.detectors.base import OPEN_BATCH
from clsclip_runtime.errors import BackendError, DetectorError, OptionError
from clsclip_runtime.regions import Proposals
from clsclip_runtime.text.matching import match_words
from tests.runtime.detectors.doubles import IMAGE, SIDE, FixedGraph, detector, save_onnx, spec
from tests.runtime.tiny_bundle import sign
from tests.shared_data import shared_data


def yolov8(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6).T[None]


def test_boxes_that_are_nothing() -> None:
    found = detector(
        "yolov8",
        yolov8(
            [32, 32, 0, 10, 0.9, 0.1],  # no width
            [32, 32, -20, 10, 0.9, 0.1],  # less than none
            [32, 4, 20, 10, 0.9, 0.1],  # in the border
            [500, 500, 20, 20, 0.9, 0.1],  # outside
            [32, 32, 10, 10, 0.25, 0.1],  # not above the threshold
            [float("nan"), 32, 10, 10, 0.9, 0.1],
            [32, 32, float("inf"), 10, 0.9, 0.1],
        ),
    )(IMAGE)
    assert len(found) == 0
    assert (found.boxes.shape, found.classes.shape, found.scores.shape) == ((0, 4), (0,), (0,))


def test_overlaps_of_one_class_only() -> None:
    rows = [
        [32, 32, 20, 10, 0.9, 0.1],
        [33, 32, 20, 10, 0.8, 0.1],
        [32, 32, 20, 10, 0.1, 0.7],
        [12, 32, 8, 8, 0.5, 0.1],
    ]
    found = detector("yolov8", yolov8(*rows))(IMAGE)
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.5])
    assert len(detector("yolov8", yolov8(*rows), iou=1.0)(IMAGE)) == 4
    assert len(detector("yolov8", yolov8(*rows), max_detections=2)(IMAGE)) == 2
    assert len(detector("yolov8", yolov8(*rows), confidence=0.75, iou=1)(IMAGE)) == 2
    assert len(detector("yolov8", yolov8(*rows), iou=1)(IMAGE, confidence=0.75)) == 2
    with pytest.raises(OptionError, match="confidence must be a number from 0 to 1"):
        detector("yolov8", yolov8(*rows))(IMAGE, confidence=2)


def test_boxes_are_compared_before_they_are_cut() -> None:
    # Two boxes that reach beyond the picture's left edge overlap less than the parts of them that are inside.
    rows = yolov8([0, 32, 40, 10, 0.9, 0.1], [10, 32, 20, 10, 0.8, 0.1])
    assert len(detector("yolov8", rows)(IMAGE)) == 2


def test_five_thousand_boxes() -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.uniform(0, 64, (5000, 4)), rng.random((5000, 2))], axis=1)
    found = detector("yolov8", yolov8(*rows.tolist()), max_detections=50)(IMAGE)
    assert 25 < len(found) <= 50
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def shapes_of(layout: str) -> list[tuple[int, ...]]:
    """Outputs of the layout at 64 px for two classes and one picture."""
    if layout == "yolov7-nms":
        return [(5, 7)]
    if layout == "tensorrt-nms":
        return [(1, 1), (1, 5, 4), (1, 5), (1, 5)]
    if layout == "yolov10":
        return [(1, 6, 6)]
    return [(1, 6, 84)] if layout == "yolov8" else [(1, 84, 7)]


@st.composite
def any_outputs(draw: st.DrawFn) -> tuple[str, list[np.ndarray]]:
    """Any floats as boxes; scores are scores, and classes are classes, half of the time."""
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    floats = st.floats(width=32)
    outputs = [draw(arrays.arrays(np.float32, shape, elements=floats)) for shape in shapes_of(layout)]
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

        def tame(view: np.ndarray, *, whole: int = 0) -> None:
            view[...] = rng.integers(0, whole, view.shape) if whole else rng.random(view.shape)

        if layout == "yolov7-nms":
            tame(outputs[0][:, 0], whole=1)
            tame(outputs[0][:, 5], whole=2)
            tame(outputs[0][:, 6])
        elif layout == "tensorrt-nms":
            tame(outputs[0], whole=6)
            tame(outputs[2])
            tame(outputs[3], whole=2)
        elif layout == "yolov10":
            tame(outputs[0][:, :, 4])
            tame(outputs[0][:, :, 5], whole=2)
        else:
            tame(outputs[0][:, 4:] if layout == "yolov8" else outputs[0][:, :, 4:])
    return layout, outputs


@given(any_outputs(), st.tuples(st.integers(1, 200), st.integers(1, 200)))
def test_any_floats(made: tuple[str, list[np.ndarray]], size: tuple[int, int]) -> None:
    layout, outputs = made
    try:
        found = detector(layout, *outputs, confidence=0.0)(np.zeros((*size, 3), np.uint8))
    except DetectorError:
        return
    assert np.isfinite(found.boxes).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [size[1], size[0]] * 2).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert np.isin(found.classes, [0, 1]).all()


def brightness(values: np.ndarray) -> list[np.ndarray]:
    """For every picture one box in the middle, as sure as the picture's middle is bright."""
    made = np.zeros((len(values), 6, 1), np.float32)
    made[:, :4, 0] = [32, 32, 20, 10]
    made[:, 4, 0] = values[:, 0, 32, 32]
    return [made]


@pytest.mark.parametrize(("batch", "calls"), [(1, 20), (3, 7), (None, 2), (32, 1)])
def test_batches(batch: int | None, calls: int) -> None:
    graph = FixedGraph(make=brightness)
    made = Detector(graph, spec(batch=batch), confidence=0.1)  # type: ignore[arg-type]
    images = [np.full((32 + at, 64, 3), 100 + at, np.uint8) for at in range(20)]
    found = made.batch(images)
    assert len(graph.seen) == calls == math.ceil(20 / made.batch_size)
    assert all(len(seen) == batch for seen in graph.seen if batch is not None)
    np.testing.assert_allclose([own.scores[0] for own in found], np.arange(100, 120) / 255, rtol=1e-6)
    alone = [made(image) for image in images]
    for own, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(own.boxes, other.boxes)
    assert made.batch([]) == []


def test_open_batches_are_bounded() -> None:
    assert Detector(FixedGraph(), spec(batch=None)).batch_size == OPEN_BATCH  # type: ignore[arg-type]
    assert Detector(FixedGraph(), spec(batch=None, height=8192, width=8192)).batch_size == 1  # type: ignore[arg-type]


def test_bad_calls() -> None:
    good = detector("yolov8", yolov8())
    for bad in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8), "a.jpg"):
        with pytest.raises(OptionError, match="must be"):
            good(bad)  # type: ignore[arg-type]
    for options in ({"confidence": 2}, {"iou": -0.1}, {"confidence": math.nan}, {"iou": True}, {"iou": "x"}):
        with pytest.raises(OptionError, match=r"confidence|iou"):
            detector("yolov8", yolov8(), **options)  # type: ignore[arg-type]
    for most in (0, 1.5, True):
        with pytest.raises(OptionError, match="max_detections"):
            detector("yolov8", yolov8(), max_detections=most)
    two = FixedGraph()
    two.inputs = ("images", "more")  # type: ignore[assignment]
    with pytest.raises(DetectorError, match="takes one input"):
        Detector(two, spec())  # type: ignore[arg-type]


def test_words_are_matched() -> None:
    made = detector("yolov8", yolov8())
    assert [
        match.classes for match in match_words(["dogs", "boat"], made.names, class_agnostic=made.class_agnostic)
    ] == [(1,), ()]
    anything = Detector(FixedGraph(), spec(names=("bus",), class_agnostic=True))  # type: ignore[arg-type]
    assert match_words(["boat"], anything.names, class_agnostic=anything.class_agnostic)[0].how == "any"


def test_a_file(tmp_path: Path) -> None:
    rows = yolov8([32, 32, 20, 10, 0.9, 0.1], *[[0, 0, 0, 0, 0, 0]] * 83)
    path = save_onnx(tmp_path / "a.onnx", rows, shape=("n", 3, SIDE, SIDE), metadata={"names": "['cat', 'dog']"})
    made = Detector.load(path, threads=1)
    assert (made.names, made.spec.batch, made.notes) == (("cat", "dog"), None, ())
    for found in made.batch([IMAGE] * 3):
        np.testing.assert_allclose(found.boxes, [[22, 11, 42, 21]])
    with pytest.raises(DetectorError, match="no such detector"):
        Detector.load(tmp_path / "none.onnx")
    with pytest.raises(OptionError, match="no backend"):
        Detector.load(path, backend="none")
    with pytest.raises(OptionError, match="backend 'onnxruntime-cpu' has no option 'precision'"):
        Detector.load(path, backend="onnxruntime-cpu", backend_options={"precision": "bf16"})
    with pytest.raises(OptionError, match="belong to a backend that is named"):
        Detector.load(path, backend=select_backend("onnxruntime-cpu"), backend_options={"precision": "bf16"})

    class Broken:
        name = "broken"

        def load(self, file: object) -> None:
            raise BackendError("no memory")

    with pytest.raises(BackendError, match="no memory"):
        Detector.load(path, backend=Broken())  # type: ignore[arg-type]


def test_a_bundles_detector(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "with.clsclip"))
    document = json.loads((folder / "manifest.json").read_text())
    save_onnx(folder / "detector.onnx", yolov8([32, 32, 20, 10, 0.9, 0.1]), shape=("n", 3, SIDE, SIDE))
    document["detector"] = {**vars(spec()), "names": ["cat", "dog"]}
    sign(folder, document)
    opened = Bundle.open(folder)
    assert opened.manifest.detector == spec()
    made = Detector.from_bundle(opened, select_backend(threads=1))
    np.testing.assert_allclose(made(IMAGE).boxes, [[22, 11, 42, 21]])
    with pytest.raises(DetectorError, match=r"carries no detector.*--detector"):
        Detector.from_bundle(Bundle.open(bundle), select_backend(threads=1))


def overlaps(one: Proposals, other: Proposals, name: int) -> list[float]:
    """For every box of a class, its best IoU with a box of that class in the other picture."""
    found = []
    for box in one.boxes[one.classes == name].astype(float):
        theirs = other.boxes[other.classes == name].astype(float)
        shared = np.clip(np.minimum(box[2:], theirs[:, 2:]) - np.maximum(box[:2], theirs[:, :2]), 0, None).prod(axis=1)
        union = np.prod(box[2:] - box[:2]) + (theirs[:, 2:] - theirs[:, :2]).prod(axis=1) - shared
        found.append(float((shared / union).max(initial=0)))
    return found


def test_real_detectors_agree() -> None:
    image = np.asarray(Image.open(shared_data("pictures", "bus.jpg")).convert("RGB"))
    person, bus = 0, 5
    found = {}
    for name in ("yolov8n_640_fp32", "yolov8n_320_int8", "yolox_nano_416"):
        made = Detector.load(shared_data("models", f"{name}.onnx"), threads=1, confidence=0.5)
        assert (len(made.names), made.names[bus]) == (80, "bus")
        found[name] = made(image)
        assert sorted(found[name].classes) == [person] * 3 + [bus], "a bus, and the three persons in front of it"
    whole, small, yolox = found.values()
    for one, other in ((whole, small), (small, yolox)):
        assert min(overlaps(one, other, bus) + overlaps(one, other, person)) >= 0.8
    # The third person is cut by the picture's edge; YOLOX-nano, at 416 px, starts that box lower (IoU 0.76).
    assert overlaps(whole, yolox, bus)[0] >= 0.8
    assert sorted(overlaps(whole, yolox, person)) > [0.75, 0.8, 0.8]


def test_yolox_is_recognised() -> None:
    made = Detector.load(shared_data("models", "yolox_nano_416.onnx"), threads=1)
    assert (made.spec.output_format, made.spec.channel_order, made.spec.letterbox) == ("yolox", "bgr", "top-left")
    assert "COCO's names are taken" in made.notes[0]
    with pytest.raises(DetectorError, match="for 79 classes"):
        Detector.load(shared_data("models", "yolox_nano_416.onnx"), names=["x"] * 79)
