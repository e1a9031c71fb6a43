"""ClsCLIP+: crops, joined masks, and where regions come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clsclip.errors import DataError
from clsclip.evaluation import Method, Protocol, evaluate
from clsclip.evaluation.predictors import BundlePredictor
from clsclip.evaluation.regions import (
    DetectorRegions,
    FileRegions,
    TruthRegions,
    boxes_as_masks,
    boxes_of,
    zoom_in,
)
from clsclip_runtime import Proposals, Segmenter, ZoomIn
from tests.clsclip.evaluation.doubles import FixedMasks, MadeImages
from tests.runtime.tiny_bundle import make_bundle

IMAGE = np.zeros((40, 60, 3), np.uint8)
TIGHT = ZoomIn(crop_margin=0, min_crop_size=1)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def named(**rows: list[tuple[float, float, float, float]]) -> Proposals:
    names = [word for word, own in rows.items() for _ in own]
    return Proposals.from_boxes(boxes(*(box for own in rows.values() for box in own)), names)


def test_masks_of_regions_are_joined() -> None:
    predictor = FixedMasks({"cat": (1, 1, 4, 4)})
    found = zoom_in(predictor, IMAGE, ["cat"], named(cat=[(10, 10, 20, 20), (30, 5, 50, 25)]), TIGHT)
    expected = np.zeros((40, 60), bool)
    expected[11:14, 11:14] = True
    expected[6:9, 31:34] = True
    np.testing.assert_array_equal(found.masks[0], expected)
    assert predictor.asked == [((10, 10, 3), ("cat",)), ((20, 20, 3), ("cat",))]


def test_words_without_a_region() -> None:
    predictor = FixedMasks({"cat": (0, 0, 5, 5), "dog": (0, 0, 7, 7)})
    regions = named(dog=[(90, 90, 99, 99)])
    found = zoom_in(predictor, IMAGE, ["cat", "dog"], regions, ZoomIn())
    assert found.masks.sum(axis=(1, 2)).tolist() == [25, 49]
    assert predictor.asked == [((40, 60, 3), ("cat", "dog"))], "one look at the whole picture for both"
    assert not zoom_in(predictor, IMAGE, ["cat", "dog"], regions, ZoomIn(fallback="none")).masks.any()


def test_boxes_of_anything_are_asked_for_every_word() -> None:
    predictor = FixedMasks({"cat": (1, 1, 4, 4)})
    zoom_in(predictor, IMAGE, ["cat", "dog"], Proposals.from_boxes(boxes((0, 0, 10, 10))), TIGHT)
    assert predictor.asked == [((10, 10, 3), ("cat", "dog"))]


def test_crops_one_by_one_and_the_runtimes_calls_give_the_same_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 2, (12, 16, 3)) * 255, 10, axis=0), 10, axis=1).astype(np.uint8)
    corners = rng.uniform(0, 90, (12, 2))
    every = np.concatenate([corners, corners + rng.uniform(5, 70, (12, 2))], axis=1)
    words = ["red", "green", "blue", "white"]
    proposals = Proposals.from_boxes(every, [None, "red", "green", "yellow", None, "blue"] * 2)
    with Segmenter.load(make_bundle(tmp_path / "tiny")) as segmenter:
        for threshold, zoom in ((0.0, ZoomIn()), (None, ZoomIn()), (None, ZoomIn(fallback="none"))):
            one_by_one = zoom_in(BundlePredictor(segmenter, threshold), image, words, proposals, zoom)
            together = segmenter(image, words, regions=proposals, zoom_in=zoom, presence_threshold=threshold)
            np.testing.assert_array_equal(one_by_one.masks, together.masks)
            assert together.masks.any()
        alone = segmenter(image, words, regions=proposals, zoom_in=ZoomIn(boxes_as_masks=True))
    np.testing.assert_array_equal(boxes_as_masks(image, words, proposals).masks, alone.masks)


def test_regions_belong_to_the_picture_at_its_own_size() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 15:45] = 1
    fold = MadeImages([labels]).fold()
    method = Method(None, TruthRegions())
    for protocol in (Protocol(every=True), Protocol(120, every=True)):
        assert evaluate(fold, method, protocol).miou == pytest.approx(100)


def test_many_and_strange_boxes() -> None:
    rng = np.random.default_rng(0)
    many = rng.uniform(-50, 110, (5000, 4)).astype(np.float32)
    many[0] = [5, 5, 5, 30]
    many[1] = [np.nan, 0, 5, 5]
    many[2] = [0, 0, np.inf, 5]
    assert boxes_as_masks(IMAGE, ["cat"], Proposals.from_boxes(many)).masks[0].any()
    assert not boxes_as_masks(IMAGE, ["cat"], Proposals.from_boxes(many[:3])).masks.any()


def test_boxes_alone_as_masks() -> None:
    found = boxes_as_masks(IMAGE, ["cat", "dog"], named(cat=[(1.6, 2, 5, 7), (50, 30, 99, 99)]))
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
    found = TruthRegions().find("x", IMAGE, {"cat": truth})
    assert (len(found), found.names) == (2, ("cat",))
    assert TruthRegions(named=False).find("x", IMAGE, {"cat": truth}).names == ()


def test_file_of_regions(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    rows = [
        {"image": "a", "class": "airplane", "bbox": [1, 2, 3, 4], "score": 0.4},
        {"image": "a", "class": "dog", "bbox": [0, 0, 0, 9]},
        {"image": "b", "class": "Aeroplane", "bbox": [5, 5, 5, 5]},
    ]
    path.write_text(json.dumps(rows))
    found = FileRegions(path).find("a", IMAGE, {})
    assert found.boxes.tolist() == [[1, 2, 4, 6], [0, 0, 0, 9]]
    masks = boxes_as_masks(IMAGE, ["aeroplane", "dog"], found).masks
    assert masks.sum(axis=(1, 2)).tolist() == [12, 0]
    assert len(FileRegions(path).find("none", IMAGE, {})) == 0


def test_bad_files_of_regions(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text("[3]")
    with pytest.raises(DataError, match="entry 0"):
        FileRegions(path)
    with pytest.raises(DataError, match="no such file of regions"):
        FileRegions(tmp_path / "none.json")


def test_regions_of_a_detector() -> None:
    class Found:
        name, names, class_agnostic, notes = "found", ("tv", "dog", "couch"), False, ()

        def batch(self, images: list[np.ndarray], confidence: float | None = None) -> list[Proposals]:
            scores = np.array([0.9, 0.8, 0.7], np.float32)
            found = boxes((0, 0, 1, 1), (2, 2, 3, 3), (4, 4, 5, 5))
            return [Proposals(found, scores, np.array([1, 0, 2]), self.names, "found")]

    found = DetectorRegions(Found()).find("x", IMAGE, {})  # type: ignore[arg-type]
    masks = boxes_as_masks(IMAGE, ["tv monitor", "sofa", "dog", "boat"], found).masks
    assert [np.argwhere(one).tolist() for one in masks] == [[[2, 2]], [[4, 4]], [[0, 0]], []]
