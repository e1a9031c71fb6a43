"""Layouts: every one read from tensors made by hand, and told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clsclip_runtime.bundle.manifest import DETECTOR_FORMATS
from clsclip_runtime.detectors import ALIASES, LAYOUTS
from clsclip_runtime.detectors.layouts import cells, class_count, find_layout, layout_name
from clsclip_runtime.errors import DetectorError, OptionError
from tests.runtime.detectors.doubles import IMAGE, SIDE, FixedGraph, detector, spec

FILLER = 1e-3
"""Score of the rows that are nothing."""


def rows_of(count: int, *rows: tuple[int, list[float]]) -> np.ndarray:
    """(1, count, columns) of nothing, but for the rows given with their number."""
    made = np.zeros((1, count, len(rows[0][1])), np.float32)
    made[0, :, 4:] = FILLER
    for at, row in rows:
        made[0, at] = row
    return made


def test_manifest_knows_the_layouts() -> None:
    assert set(DETECTOR_FORMATS) == set(LAYOUTS)
    assert set(ALIASES.values()) <= set(LAYOUTS)
    assert layout_name("yolo11") == "yolov8"
    with pytest.raises(OptionError, match=r"no layout 'yolov99'.*yolo26"):
        layout_name("yolov99")


def test_yolov8() -> None:
    output = rows_of(84, (3, [32, 32, 20, 10, 0.1, 0.9]), (9, [0, 16, 40, 20, 0.6, 0.2])).transpose(0, 2, 1)
    found = detector("yolov8", output)(IMAGE)
    assert found.classes.tolist() == [1, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.6])
    np.testing.assert_allclose(found.boxes, [[22, 11, 42, 21], [0, 0, 20, 10]])
    assert (found.boxes.dtype, found.classes.dtype, found.scores.dtype) == (np.float32, np.int64, np.float32)
    assert len(found) == 2


def test_yolov5_multiplies_objectness() -> None:
    output = rows_of(252, (0, [32, 32, 20, 10, 0.5, 0.2, 0.8]), (1, [32, 32, 20, 10, 0.2, 0.9, 0.9]))
    found = detector("yolov5", output, confidence=0.3)(IMAGE)
    np.testing.assert_allclose(found.boxes, [[22, 11, 42, 21]])
    np.testing.assert_allclose(found.scores, [0.4])
    assert found.classes.tolist() == [1]


def test_yolox_decodes_its_grid() -> None:
    # At 64 px the grids have 8x8, 4x4 and 2x2 cells. Row 64 + 4 + 2 is column 2, row 1 of the one of 16 px.
    at = 64 + 1 * 4 + 2
    output = rows_of(84, (at, [0.5, -0.25, math.log(2), math.log(0.5), 0.9, 0.1, 0.8]))
    found = detector("yolox", output)(IMAGE)
    # centre (2.5, 0.75) * 16 = (40, 12), size 32 x 8; the picture lies at the top left.
    np.testing.assert_allclose(found.boxes, [[24, 8, 56, 16]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [0.72], rtol=1e-6)


def test_yolox_takes_bytes_in_bgr() -> None:
    output = rows_of(84, (0, [0] * 7))
    graph = FixedGraph(output)
    image = np.zeros((32, 64, 3), np.uint8)
    image[:] = (10, 20, 30)
    from clsclip_runtime.detectors import Detector

    Detector(graph, spec("yolox"))(image)  # type: ignore[arg-type]
    assert graph.seen[0][0, :, 5, 5].tolist() == [30, 20, 10]
    assert graph.seen[0][0, :, 40, 5].tolist() == [114] * 3
    Detector(graph, spec("yolox", batch=None, input_type="float16"))(image)  # type: ignore[arg-type]
    assert graph.seen[1].dtype == np.float16


def test_rtdetr_positions_are_shares_of_the_stretched_picture() -> None:
    # The picture is 64 x 32 pixels, and fills the input of 64 x 64.
    output = np.zeros((1, 3, 6), np.float32)
    output[0, 1] = [0.5, 0.5, 0.25, 0.5, 0.9, 1]
    found = detector("rtdetr", output)(IMAGE)
    np.testing.assert_allclose(found.boxes, [[24, 8, 40, 24]])
    assert (found.classes.tolist(), found.scores.tolist()) == ([1], pytest.approx([0.9]))
    older = np.zeros((1, 3, 6), np.float32)
    older[0, 1] = [0.5, 0.5, 0.25, 0.5, 0.1, 0.9]
    np.testing.assert_allclose(detector("rtdetr-scores", older)(IMAGE).boxes, found.boxes)


def test_shares_where_pixels_are_expected_are_refused() -> None:
    output = np.zeros((1, 4, 6), np.float32)
    output[0, :3] = [[0.1, 0.2, 0.6, 0.9, 0.9, 1], [0.4, 0.4, 1.02, 0.8, 0.7, 0], [9, 9, 20, 20, 0.1, 0]]
    with pytest.raises(DetectorError, match=r"they are shares of it.*output_format='rtdetr'"):
        detector("yolov10", output)(IMAGE)
    output[0, 3] = [3, 18, 20, 30, 0.8, 0]
    assert len(detector("yolov10", output)(IMAGE)) == 1, "some pixels among them: they lie in the border"


def test_boxes_that_are_dropped_are_counted() -> None:
    output = np.zeros((1, 8, 6), np.float32)
    output[0, :, :] = [[4 * at, 18, 4 * at + 9, 40, 0.9 - at / 100, 1] for at in range(8)]
    output[0, 0, 0], output[0, 1, 1:4:2] = np.nan, [0, 9]
    notes = detector("yolov10", output, max_detections=5)(IMAGE).notes
    assert notes == (
        "1 box of the detector without finite corners was left out",
        "2 boxes of the detector beyond the 5 surest were left out",
        "1 box of the detector outside the picture was left out",
    )
    assert detector("yolov10", output[:, 2:])(IMAGE).notes == ()
    apart = rows_of(84, *((at, [4 + 8 * at, 24, 4, 9, 0.1, 0.9]) for at in range(6))).transpose(0, 2, 1)
    assert detector("yolov8", apart)(IMAGE).notes == ()
    assert detector("yolov8", apart, max_detections=6)(IMAGE).notes == (
        "the detector's 6 surest boxes were taken; there may be more",
    )


def test_decoded_yolox_is_read_as_it_stands() -> None:
    output = rows_of(84, (5, [32, 16, 20, 10, 0.9, 0.1, 0.8]))
    np.testing.assert_allclose(detector("yolox-decoded", output)(IMAGE).boxes, [[22, 11, 42, 21]])


def test_yolov10() -> None:
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 0] = [10, 20, 30, 40, 0.5, 1]
    output[0, 1] = [11, 20, 30, 40, 0.7, 1]  # it drops overlaps itself: both stay
    output[0, 2, 5] = 77  # padding
    found = detector("yolov10", output)(IMAGE)
    np.testing.assert_allclose(found.boxes, [[11, 4, 30, 24], [10, 4, 30, 24]])
    np.testing.assert_allclose(found.scores, [0.7, 0.5])


def yolov7_rows() -> np.ndarray:
    """(N, 7) of two pictures: picture, x0, y0, x1, y1, class, score."""
    rows = [
        [1, 0, 16, 8, 24, 0, 0.9],
        [0, 10, 20, 30, 40, 1, 0.5],
        [0, 12, 20, 30, 40, 1, 0.8],
        [1, 0, 16, 8, 24, 1, 0.1],
    ]
    return np.array(rows, np.float32)


def test_yolov7_with_suppression() -> None:
    from clsclip_runtime.detectors import Detector

    graph = FixedGraph(yolov7_rows())
    made = Detector(graph, spec("yolov7-nms", batch=None))  # type: ignore[arg-type]
    first, second = made.batch([IMAGE, IMAGE])
    np.testing.assert_allclose(first.boxes, [[12, 4, 30, 24], [10, 4, 30, 24]])
    np.testing.assert_allclose(second.boxes, [[0, 0, 8, 8]])
    assert (first.classes.tolist(), second.classes.tolist()) == ([1, 1], [0])
    assert len(graph.seen) == 1
    with pytest.raises(DetectorError, match="pictures that were not asked"):
        made(IMAGE)
    assert len(detector("yolov7-nms", np.zeros((0, 7), np.float32))(IMAGE)) == 0


def tensorrt_outputs(count: float = 2) -> list[np.ndarray]:
    boxes = np.array([[[10, 20, 30, 40], [0, 16, 8, 24], [1, 1, 2, 2]]], np.float32)
    return [np.array([[count]]), boxes, np.array([[0.9, 0.8, 7]]), np.array([[1, 0, 99]])]


def test_yolov7_with_tensorrts_suppression() -> None:
    found = detector("tensorrt-nms", *tensorrt_outputs())(IMAGE)
    np.testing.assert_allclose(found.boxes, [[10, 4, 30, 24], [0, 0, 8, 8]])
    assert found.classes.tolist() == [1, 0]
    for count in (-1, 4, math.nan):
        with pytest.raises(DetectorError, match="room for 3"):
            detector("tensorrt-nms", *tensorrt_outputs(count))(IMAGE)


def test_classes_without_a_name() -> None:
    for number in (2, -1, 0.5, math.nan):
        output = np.array([[[10, 20, 30, 40, 0.5, number]]], np.float32)
        with pytest.raises(DetectorError, match=r"gave the class.*2 class names"):
            detector("yolov10", output)(IMAGE)


@pytest.mark.parametrize("layout", ["yolov5", "yolov8", "yolox"])
def test_scores_that_are_none(layout: str) -> None:
    columns = 4 + 2 + (layout != "yolov8")
    for value, message in (
        (math.nan, "NaN"),
        (math.inf, "NaN or infinity"),
        (3.0, "scores from"),
        (-2.0, "scores from"),
    ):
        output = np.zeros((1, 84, columns), np.float32)
        output[0, 7, 5] = value
        with pytest.raises(DetectorError, match=message):
            detector(layout, output.transpose(0, 2, 1) if layout == "yolov8" else output)(IMAGE)


@pytest.mark.parametrize(
    ("layout", "right"),
    [
        ("yolov5", (1, 84, 7)),
        ("yolov8", (1, 6, 84)),
        ("yolov10", (1, 300, 6)),
        ("yolox", (1, 84, 7)),
        ("yolox-decoded", (1, 84, 7)),
        ("yolov7-nms", (9, 7)),
    ],
)
def test_outputs_of_another_shape(layout: str, right: tuple[int, ...]) -> None:
    assert len(detector(layout, np.zeros(right, np.float32))(IMAGE)) == 0
    axis = len(right) - 1 if layout != "yolov8" else 1
    wider = tuple(size + (at == axis) for at, size in enumerate(right))
    images = [(2, *right[1:])] if len(right) == 3 else []
    for wrong in [wider, right[1:], (*right, 1), *images]:
        with pytest.raises(DetectorError, match="does not have"):
            detector(layout, np.zeros(wrong, np.float32))(IMAGE)


def test_other_outputs_of_another_shape() -> None:
    with pytest.raises(DetectorError, match="raw grid has 84"):
        detector("yolox", np.zeros((1, 83, 7), np.float32))(IMAGE)
    boxes = tensorrt_outputs()
    for wrong in (boxes[:3], [*boxes[:3], boxes[3][:, :2]], [boxes[1], *boxes[1:]]):
        with pytest.raises(DetectorError, match="does not have"):
            detector("tensorrt-nms", *wrong)(IMAGE)


COCO = {"names": "{0: 'person'}"}
FOUND = [
    ([[1, 84, 8400]], 80, {}, "yolov8"),
    ([[1, 84, 8400]], None, {}, "yolov8"),
    ([[1, 5, 8400]], 1, {}, "yolov8"),
    ([[1, 5, 8400]], None, {}, "yolov8"),
    ([[1, 84, 2000]], None, {}, "yolov8 (32 and 16 only)"),
    ([[1, 24, 34000]], 20, {}, "yolov8"),
    ([[1, 25200, 85]], 80, {}, "yolov5"),
    ([[1, 25200, 85]], None, {}, "yolov5"),
    ([[1, 25200, 85], [1, 3, 80, 80, 85], [1, 3, 40, 40, 85], [1, 3, 20, 20, 85]], None, {}, "yolov5"),
    ([[1, 25500, 85]], None, {}, "yolov5"),  # P6: four grids
    ([[1, 25200, 6]], 1, {}, "yolov5"),
    ([[1, 777, 85]], 80, COCO, "yolov5"),
    ([[1, 8400, 85]], 80, {}, "yolox"),
    ([[1, 8400, 85]], None, {}, "yolox"),
    ([[1, 8400, 6]], 1, {}, "yolox"),
    ([[1, 300, 6]], 80, {}, "yolov10"),
    ([[1, 300, 6]], 1, {}, "yolov10"),
    ([[1, 300, 6]], None, {}, "yolov10"),
    ([[1, 300, 6]], 296, {}, "yolov10"),
    ([[1, 8400, 6]], 1, {"end2end": "True"}, "yolov10"),
    ([[0, 7]], None, {}, "yolov7-nms"),
    ([[1, 1], [1, 100, 4], [1, 100], [1, 100]], None, {}, "tensorrt-nms"),
]


@pytest.mark.parametrize(("shapes", "classes", "metadata", "expected"), FOUND)
def test_layouts_are_found(
    shapes: list[list[int]], classes: int | None, metadata: dict[str, str], expected: str
) -> None:
    assert find_layout(shapes, (640, 640), classes, metadata, "x") == expected.partition(" ")[0]


@pytest.mark.parametrize(
    ("shapes", "classes", "metadata", "message"),
    [
        ([[1, 777, 85]], 80, {}, "no layout has such outputs for 80 classes"),
        ([[1, 777, 85]], None, {}, "no layout"),
        ([[1, 84]], 80, {}, "no layout"),
        ([[1, 116, 8400], [1, 32, 160, 160]], 80, {}, "no layout"),
        ([[1, 116, 8400]], 80, {}, "for 80 classes"),
        ([[1, 8400, 84]], 80, {}, "name it"),
        ([[1, 3, 80, 80, 85], [1, 3, 40, 40, 85], [1, 3, 20, 20, 85]], 80, {}, "raw heads.*--grid"),
        ([[1, 255, 80, 80], [1, 255, 40, 40]], 80, {}, "raw heads"),
        ([[1, 116, 8400], [1, 32, 160, 160]], 80, {"task": "segment"}, "for the task 'segment'"),
    ],
)  # fmt: skip
def test_layouts_that_are_not_known(
    shapes: list[list[int]], classes: int | None, metadata: dict[str, str], message: str
) -> None:
    with pytest.raises(DetectorError, match=message):
        find_layout(shapes, (640, 640), classes, metadata, "x")


def test_named_layouts_must_fit() -> None:
    assert class_count("yolox-decoded", [[1, 8400, 85]], "x") == 80
    assert class_count("yolov8", [[1, 84, 8400]], "x") == 80
    assert class_count("yolov10", [[1, 300, 6]], "x") is None
    for name, shapes in (
        ("yolov8", [[1, 4, 8400]]),
        ("yolov5", [[8400, 85]]),
        ("yolov10", [[1, 300, 7]]),
        ("yolov7-nms", [[1, 300, 7]]),
        ("tensorrt-nms", [[1, 300, 6]]),
    ):
        with pytest.raises(DetectorError, match=f"layout {name} cannot have"):
            class_count(name, shapes, "x")


def test_cells_of_odd_inputs() -> None:
    assert cells((640, 640)) == 8400
    assert cells((SIDE, SIDE)) == 84
    assert cells((70, 33)) == 9 * 5 + 5 * 3 + 3 * 2
