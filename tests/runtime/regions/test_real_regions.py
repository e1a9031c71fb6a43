"""Boxes drawn by hand on photographs: masks lie in their boxes' margins, at the right places of the original size."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from clsclip.data.pascal import PASCAL_WORDS
from clsclip_runtime import Proposals, RegionFile, Result, Segmenter, ZoomIn
from tests.runtime.reading import regions_of
from tests.shared_data import shared_data

StickerImage = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def embedded() -> Iterator[Segmenter]:
    with Segmenter.load(threads=1) as segmenter:
        yield segmenter


def check(result: Result, zoom: ZoomIn) -> None:
    """Every mask inside its window, every window its box with margin and smallest side, and masks joined."""
    width, height = result.size
    joined = np.zeros_like(result.masks)
    assert regions_of(result)
    for region in regions_of(result):
        left, top, right, bottom = region.window
        outside = region.mask.copy()
        outside[top:bottom, left:right] = False
        assert not outside.any()
        joined[region.index] |= region.mask
        for low, high, begin, end, side in (
            (left, right, region.box[0], region.box[2], width),
            (top, bottom, region.box[1], region.box[3], height),
        ):
            extra = zoom.crop_margin * (end - begin) + 1
            if high - low <= zoom.min_crop_size:
                extra = zoom.min_crop_size
            assert max(0, math.floor(begin - extra)) <= low <= begin
            assert end <= high <= min(side, math.ceil(end + extra))
    for at in range(len(result.classes)):
        if result[at].searched == "regions":
            assert (result.masks[at] == joined[at]).all()


def test_boxes_of_voc_masks(embedded: Segmenter) -> None:
    root = shared_data("VOC2012")
    names = (root / "ImageSets/Segmentation/val.txt").read_text().split()[:10]
    zoom = ZoomIn(crop_margin=0.2, fallback="none")
    for name in names:
        labels = np.asarray(Image.open(root / "SegmentationClassAug" / f"{name}.png"))
        boxes, words = [], []
        for value in sorted(set(np.unique(labels).tolist()) - {0, 255}):
            rows, columns = np.nonzero(labels == value)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            words.append(PASCAL_WORDS[value - 1])
        result = embedded(
            root / "JPEGImages" / f"{name}.jpg", words, regions=Proposals.from_boxes(boxes, words), zoom_in=zoom
        )
        assert result.masks.shape == (len(words), *labels.shape)
        assert [region.box for region in regions_of(result)] == [tuple(map(float, box)) for box in boxes]
        check(result, zoom)


def test_boxes_of_coco_annotations(embedded: Segmenter, tmp_path: Path) -> None:
    root = shared_data("COCO")
    document = json.loads((root / "annotations/instances_val2017.json").read_text())
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({key: document[key] for key in ("images", "annotations", "categories")}))
    file = RegionFile(path)
    zoom = ZoomIn(fallback="none")
    sizes = {one["file_name"]: (one["width"], one["height"]) for one in document["images"]}
    counts = {one["id"]: 0 for one in document["images"]}
    for one in document["annotations"]:
        counts[one["image_id"]] += 1
    for image in sorted((root / "val2017").iterdir())[:8]:
        proposals = file.of(str(image))
        assert len(proposals) == counts[int(image.stem)]
        result = embedded(image, list(proposals.names), regions=proposals, zoom_in=zoom)
        assert result.size == sizes[image.name]
        check(result, zoom)


def test_what_is_painted_on_a_photograph_is_found_where_it_is(segmenter: Segmenter) -> None:
    """The tiny bundle knows red: a red square on a photograph, in a box around it, at the photograph's own size."""
    photograph = np.asarray(Image.open(shared_data("pictures", "bus.jpg")).convert("RGB")).copy()
    height, width = photograph.shape[:2]
    rng = np.random.default_rng(3)
    for _ in range(6):
        side = int(rng.integers(12, 200))
        left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        painted = photograph.copy()
        painted[top : top + side, left : left + side] = (255, 0, 0)
        truth = np.zeros((height, width), np.bool_)
        truth[top : top + side, left : left + side] = True
        box = [left - side / 3, top - side / 3, left + 4 * side / 3, top + 4 * side / 3]
        found = segmenter(painted, "red", regions=Proposals.from_boxes([box], ["red"])).mask("red")
        assert (found & truth).sum() / (found | truth).sum() > 0.7
