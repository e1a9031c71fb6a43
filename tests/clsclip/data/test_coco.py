"""COCO-20i: the published folds, the masks, the episodes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clsclip.data import Fold
from clsclip.data.coco import customary_episodes
from clsclip.data.coco_json import read_document
from clsclip.errors import DataError
from clsclip.folds import open_fold
from tests.clsclip.data.made import make_coco, save_image
from tests.shared_data import shared_data

PUBLISHED = (
    "person, airplane, boat, parking meter, dog, elephant, backpack, suitcase, sports ball, skateboard, wine glass, "
    "spoon, sandwich, hot dog, chair, dining table, mouse, microwave, refrigerator, scissors",
    "bicycle, bus, traffic light, bench, horse, bear, umbrella, frisbee, kite, surfboard, cup, bowl, orange, pizza, "
    "couch, toilet, remote, oven, book, teddy bear",
    "car, train, fire hydrant, bird, sheep, zebra, handbag, skis, baseball bat, tennis racket, fork, banana, broccoli, "
    "donut, potted plant, tv, keyboard, toaster, clock, hair drier",
    "motorcycle, truck, stop sign, cat, cow, giraffe, tie, snowboard, baseball glove, bottle, knife, apple, carrot, "
    "cake, bed, laptop, cell phone, sink, vase, toothbrush",
)


@pytest.mark.parametrize("number", range(4))
def test_published_folds(number: int) -> None:
    fold = open_fold("coco", shared_data("COCO"), number, part="test")
    assert tuple(fold.test.classes[one] for one in fold.novel) == tuple(PUBLISHED[number].split(", "))
    assert sorted((*fold.seen, *fold.novel)) == list(range(80))
    assert len(fold.test) == 64
    assert all(one in fold.novel for _, one in fold.test_pairs)
    index, class_id = fold.test_pairs[0]
    mask = fold.test.mask(index, class_id)
    assert mask.shape == fold.test.image(index).shape[:2]
    assert set(np.unique(mask).tolist()) == {0, 1}


def test_masks_and_pairs(tmp_path: Path) -> None:
    root = make_coco(
        tmp_path,
        {
            "one": [(0, (4, 4, 24, 24)), (0, (30, 4, 40, 14)), (1, (20, 20, 40, 40))],
            "two": [(5, (10, 10, 10, 30)), (4, (0, 0, 10, 10))],
            "bare": [],
        },
    )
    fold = open_fold("coco", root, 0, part="test")
    assert [fold.test.key(at) for at in range(len(fold.test))] == ["one", "two"]
    assert fold.test.shown(0) == (0, 1)
    assert fold.test.shown(1) == (4,), "a polygon without pixels shows nothing"
    assert fold.test_pairs == ((0, 0), (1, 4))
    mask = fold.test.mask(0, 0)
    assert mask.dtype == np.uint8
    assert mask.sum() == 20 * 20 + 10 * 10
    assert mask[10, 10] == mask[22, 22] == mask[10, 35] == 1, "all things of a class, also where another class lies"


def test_crowds_are_pixels_of_their_class(tmp_path: Path) -> None:
    from pycocotools import mask as mask_utils

    root = make_coco(tmp_path, {"one": [(0, (0, 0, 10, 10))]})
    path = root / "annotations" / "instances_val2017.json"
    document = json.loads(path.read_text())
    crowd = np.zeros((48, 64), np.uint8, order="F")
    crowd[40:48, 50:64] = 1
    counts = mask_utils.encode(crowd)["counts"].decode()
    document["annotations"].append(
        {
            "id": 9, "image_id": 1, "category_id": 1, "iscrowd": 1, "area": 112, "bbox": [50, 40, 14, 8],
            "segmentation": {"size": [48, 64], "counts": counts},
        }
    )  # fmt: skip
    path.write_text(json.dumps(document))
    assert open_fold("coco", root, 0, part="test").test.mask(0, 0).sum() == 100 + 112


def test_episodes_follow_the_published_draw(tmp_path: Path) -> None:
    things = {f"p{number}": [(4 * (number % 3), (0, 0, 9, 9))] for number in range(7)}
    fold = open_fold("coco", make_coco(tmp_path, things), 0, part="test")
    episodes = customary_episodes(fold)
    assert len(episodes) == 1000
    assert set(episodes) == set(fold.test_pairs)
    # The published loop, from the global generator.
    np.random.seed(0)
    by_class = {one: [at for at, of in fold.test_pairs if of == one] for one in (0, 4, 8)}
    for index, class_id in episodes:
        assert class_id == np.random.choice([0, 4, 8], 1, replace=False)[0]
        assert index == np.random.choice(by_class[class_id], 1, replace=False)[0]
    assert customary_episodes(Fold(0, fold.test, fold.test, (), fold.novel, (), ())) == []


def test_missing_and_damaged(tmp_path: Path) -> None:
    root = make_coco(tmp_path, {"one": [(0, (0, 0, 9, 9))], "two": [(4, (0, 0, 9, 9))]})
    with pytest.raises(DataError, match="no instances_train2014"):
        open_fold("coco", root, 0)
    (root / "val2017" / "two.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 files .* two\.jpg"):
        open_fold("coco", root, 0, part="test")
    assert len(open_fold("coco", root, 0, part="test", allow_missing=True).test) == 1
    save_image(root / "val2017" / "two.jpg", (64, 40))
    with pytest.raises(DataError, match=r"two\.jpg is 64x40, and its annotations are for 64x48"):
        open_fold("coco", root, 0, part="test").test.image(1)
    path = root / "annotations" / "instances_val2017.json"
    whole = path.read_text()
    document = json.loads(whole)
    document["annotations"][0]["segmentation"] = [[1, 2]]
    document["annotations"][0]["area"] = 1
    path.write_text(json.dumps(document))
    opened = open_fold("coco", root, 0, part="test").test
    assert opened.account.lines() == [
        "1 annotations were left out, and their class is not asked in that picture (annotation 1 of one.jpg: a polygon "
        "has 1 points, and three are needed)"
    ]
    path.write_text(whole[:-40])
    with pytest.raises(DataError, match="cannot be read"):
        open_fold("coco", root, 0, part="test")
    path.write_text('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "x"}]}')
    with pytest.raises(DataError, match="1 categories"):
        open_fold("coco", root, 0, part="test")
    path.write_text("[]")
    with pytest.raises(DataError, match="no COCO instances file"):
        read_document(path)
    with pytest.raises(DataError, match="no fold 4"):
        open_fold("coco", root, 4)
