"""ClsCLIP+: crops, joined masks, and where regions come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip.errors import DataError
from clsclip.evaluation.regions import (
    NO_BOXES,
    DetectorRegions,
    FileRegions,
    TruthRegions,
    boxes_as_masks,
    boxes_of,
    crop_box,
    zoom_in,
)
from clsclip_runtime.detectors import Detections
from tests.clsclip.evaluation.doubles import FixedMasks

PICTURE = np.zeros((40, 60, 3), np.uint8)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_masks_of_regions_are_joined() -> None:
    predictor = FixedMasks({"cat": (1, 1, 4, 4)})
    regions = {"cat": boxes((10, 10, 20, 20), (30, 5, 50, 25))}
    found = zoom_in(predictor, PICTURE, ["cat"], regions, margin=0)
    expected = np.zeros((40, 60), bool)
    expected[11:14, 11:14] = True
    expected[6:9, 31:34] = True
    np.testing.assert_array_equal(found.masks[0], expected)
    assert predictor.asked == [((10, 10, 3), ("cat",)), ((20, 20, 3), ("cat",))]


def test_words_without_a_region() -> None:
    predictor = FixedMasks({"cat": (0, 0, 5, 5), "dog": (0, 0, 7, 7)})
    regions = {"cat": NO_BOXES, "dog": boxes((90, 90, 99, 99))}
    found = zoom_in(predictor, PICTURE, ["cat", "dog"], regions)
    assert found.masks.sum(axis=(1, 2)).tolist() == [25, 49]
    assert predictor.asked == [((40, 60, 3), ("cat", "dog"))], "one look at the whole picture for both"
    assert not zoom_in(predictor, PICTURE, ["cat", "dog"], regions, on_missing="empty").masks.any()


def test_a_region_of_two_words_is_looked_at_once() -> None:
    predictor = FixedMasks({})
    same = boxes((0, 0, 10, 10), (0, 0, 10, 10))
    zoom_in(predictor, PICTURE, ["cat", "dog"], {"cat": same, "dog": same}, margin=0)
    assert predictor.asked == [((10, 10, 3), ("cat", "dog"))]


@given(
    st.tuples(*[st.floats(-100, 200, width=32)] * 4),
    st.floats(0, 2),
    st.booleans(),
)
def test_crops_stay_inside(box: tuple[float, ...], margin: float, outward: bool) -> None:
    whole = crop_box(np.array(box, np.float32), (60, 40), margin, outward=outward)
    left, top, right, bottom = box
    if right <= left or bottom <= top or right <= 0 or bottom <= 0 or left >= 60 or top >= 40:
        assert whole is None
    elif outward:
        assert whole is not None
    if whole is not None:
        assert 0 <= whole[0] < whole[2] <= 60
        assert 0 <= whole[1] < whole[3] <= 40


def test_many_and_strange_boxes() -> None:
    rng = np.random.default_rng(0)
    many = rng.uniform(-50, 110, (5000, 4)).astype(np.float32)
    many[0] = [5, 5, 5, 30]
    many[1] = [np.nan, 0, 5, 5]
    many[2] = [0, 0, np.inf, 5]
    assert boxes_as_masks(PICTURE, ["cat"], {"cat": many}).masks[0].any()
    assert not boxes_as_masks(PICTURE, ["cat"], {"cat": many[:3]}).masks.any()


def test_boxes_alone_as_masks() -> None:
    found = boxes_as_masks(PICTURE, ["cat", "dog"], {"cat": boxes((1.6, 2, 5, 7), (50, 30, 99, 99)), "dog": NO_BOXES})
    assert found.masks[0].sum() == 3 * 5 + 10 * 10
    assert not found.masks[1].any()


def test_true_regions() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[5:15, 5:25] = 1
    truth[20:30, 40:50] = 1
    truth[35, 1] = 1
    truth[14:20, 20:40] = 255
    assert sorted(boxes_of(truth).tolist()) == [[5, 5, 25, 15], [40, 20, 50, 30]]
    speck = np.zeros((40, 60), np.uint8)
    speck[3, 4] = 1
    assert boxes_of(speck).tolist() == [[4, 3, 5, 4]]
    assert len(boxes_of(np.zeros((4, 4), np.uint8))) == 0
    found = TruthRegions().find("x", PICTURE, {"cat": truth}, ["cat", "dog"])
    assert (len(found["cat"]), len(found["dog"])) == (2, 0)


def test_file_of_regions(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    rows = [
        {"image": "a", "class": "airplane", "bbox": [1, 2, 3, 4], "score": 0.4},
        {"image": "a", "class": "dog", "bbox": [0, 0, 0, 9]},
        {"image": "b", "class": "Aeroplane", "bbox": [5, 5, 5, 5]},
    ]
    path.write_text(json.dumps(rows))
    found = FileRegions(path).find("a", PICTURE, {}, ["aeroplane", "dog", "cat"])
    assert found["aeroplane"].tolist() == [[1, 2, 4, 6]]
    assert found["cat"].shape == (0, 4)
    assert not boxes_as_masks(PICTURE, ["dog"], found).masks.any()
    assert FileRegions(path).find("none", PICTURE, {}, ["dog"])["dog"].shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "must hold a list"),
        ("[3]", "entry 0"),
        ('[{"image": "a", "class": "b"}]', "entry 0.*bbox"),
        ('[{"image": "a", "class": "b", "bbox": [1, 2, 3]}]', "four finite numbers"),
        ('[{"image": "a", "class": "b", "bbox": [1, 2, 3, NaN]}]', "four finite numbers"),
        ('[{"image": "a", "class": "b", "bbox": ["x", 2, 3, 4]}]', "entry 0"),
    ],
)
def test_bad_files_of_regions(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        FileRegions(path)
    with pytest.raises(DataError, match="No file of regions"):
        FileRegions(tmp_path / "none.json")


def test_regions_of_a_detector() -> None:
    class Found:
        names = ("tv", "dog", "couch")

        def __call__(self, picture: np.ndarray) -> Detections:
            scores = np.array([0.9, 0.8, 0.7], np.float32)
            return Detections(boxes((0, 0, 1, 1), (2, 2, 3, 3), (4, 4, 5, 5)), np.array([1, 0, 2]), scores)

    found = DetectorRegions(Found()).find("x", PICTURE, {}, ["tv monitor", "sofa", "dog", "boat"])  # type: ignore[arg-type]
    assert {word: rows.tolist() for word, rows in found.items()} == {
        "tv monitor": [[2, 2, 3, 3]],
        "sofa": [[4, 4, 5, 5]],
        "dog": [[0, 0, 1, 1]],
        "boat": [],
    }
