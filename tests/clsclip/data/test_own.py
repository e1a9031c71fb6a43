"""Data of one's own: COCO, lists of classes, masks; and what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsclip.data.base import Fold, possible
from clsclip.data.class_lists import check_class_list
from clsclip.data.own import recognized
from clsclip.errors import DataError
from clsclip.folds import open_fold
from clsclip.training.plan import check_fold
from tests.clsclip.data.made import AREA, BOX, SIZE, drawn, labels_with, lines, make_folder, save_image


def document(**changes: Any) -> dict[str, Any]:
    """Two cups, and a fork, with ids that no list counts."""
    found = {
        "images": [
            {"id": 55, "file_name": "sub/a.jpg", "width": 64, "height": 48},
            {"id": 7, "file_name": "b.PNG", "width": 64.0, "height": 48},
        ],
        "categories": [{"id": 300, "name": "fork"}, {"id": 2, "name": "red_cup"}],
        "annotations": [
            {"id": 1, "image_id": 55, "category_id": 2, "segmentation": [BOX], "area": None, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 300, "segmentation": [BOX]},
        ],
    }
    return found | changes


def coco(root: Path, found: dict[str, Any], **options: Any) -> Fold:
    save_image(root / "pictures" / "sub" / "a.jpg", SIZE)
    save_image(root / "pictures" / "b.PNG", SIZE)
    (root / "own.json").write_text(json.dumps(found))
    return open_fold("coco", None, -1, annotations=root / "own.json", images=root / "pictures", **options)


def test_a_coco_document_of_ones_own(tmp_path: Path) -> None:
    fold = coco(tmp_path, document())
    assert fold.number == -1
    assert fold.train.classes == ("red cup", "fork")
    assert [fold.train.key(at) for at in range(2)] == ["sub/a", "b"]
    assert fold.train_pairs == fold.test_pairs == ((0, 0), (1, 1))
    assert (fold.train.mask(0, 0) == drawn()).all()
    assert "'red_cup' was read as 'red cup'" in lines(fold)
    assert recognized(tmp_path) == ("coco", tmp_path / "own.json")
    assert coco(tmp_path, document(), novel=["red_cup"]).seen == (1,)
    with pytest.raises(DataError, match="'spoon' is not in"):
        coco(tmp_path, document(), novel=["spoon"])


def test_crowds_are_ignored_and_are_not_absent(tmp_path: Path) -> None:
    crowd = {"size": [48, 64], "counts": [0, 48 * 4, 48 * 60]}
    found = document()
    found["annotations"] += [
        {"id": 3, "image_id": 55, "category_id": 2, "segmentation": crowd, "iscrowd": 1},
        {"id": 4, "image_id": 7, "category_id": 2, "segmentation": crowd, "iscrowd": 1},
    ]
    fold = coco(tmp_path, found)
    assert fold.train_pairs == ((0, 0), (1, 1))
    mask = fold.train.mask(0, 0)
    assert ((mask == 1).sum(), (mask == 255).sum()) == (AREA, 48 * 4)
    assert possible(fold.train, 1) == {0, 1}, "a crowd of cups is no picture without a cup"
    assert (fold.train.mask(1, 1) == 255).sum() == 0, "the crowd is background of another class"


@pytest.mark.parametrize(
    ("segmentation", "why"),
    [
        ([[8, 8, 40, 8, 40, 40, 8]], "odd count of numbers, 7"),
        ([[8, 8, float("nan"), 8, 40, 40]], "not finite"),
        ([[-164, -221, 2e8, 3.5e8, 225, 236, 272, 384]], "far out of the image"),
        ([[8, 8, 10**400, 8, 40, 40]], "too large"),
        ([["8", "8", "40", "8", "40", "40"]], "one is '8'"),
        ([[8, 8, 40, 40]], "2 points"),
        ([[]], "0 points"),
        ([], "a box and no mask"),
        (None, "a box and no mask"),
        ("x", "neither"),
        ({"size": [48, 64], "counts": [100, 500]}, "covers 600 pixels"),
        ({"size": [32, 32], "counts": [1024]}, "of 32x32 pixels"),
        ({"size": [48, 64], "counts": [100, -500, 3472]}, "whole numbers of 0 or more"),
        ({"size": [2**31, 2**31], "counts": "0"}, "the image 64x48"),
        ({"size": [48, 64], "counts": "~" * 50}, "no text of that form"),
        ({"counts": "0"}, "the size of a run-length encoding"),
    ],
)
def test_what_cannot_be_drawn_is_counted_and_its_class_not_asked(tmp_path: Path, segmentation: Any, why: str) -> None:
    found = document()
    found["annotations"].append({"id": 9, "image_id": 55, "category_id": 2, "segmentation": segmentation})
    fold = coco(tmp_path, found)
    assert "1 annotations were left out, and their class is not asked in that picture (annotation 9 of sub/a.jpg" in (
        told := lines(fold)
    )
    assert why in told
    assert fold.train_pairs == ((1, 1),), "the other cup alone would teach that this one is background"
    assert possible(fold.train, 0) == {0}


def test_specks_beside_a_polygon_are_passed_over(tmp_path: Path) -> None:
    found = document()
    found["annotations"][0]["segmentation"] = [[1, 1, 5, 5], BOX, []]
    fold = coco(tmp_path, found)
    assert fold.train_pairs == ((0, 0), (1, 1))
    assert (fold.train.mask(0, 0) == drawn()).all()
    assert "passed over beside larger ones" in lines(fold)
    found["annotations"][0]["segmentation"] = BOX
    assert (coco(tmp_path, found).train.mask(0, 0) == drawn()).all(), "a polygon that is not in a list"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"images": [*document()["images"], {"id": 55, "file_name": "b.PNG"}]}, "another has the same id"),
        ({"images": [*document()["images"], 5, {"id": None, "file_name": "x"}, {"id": 9}]}, "3 pictures without an id"),
        ({"annotations": [*document()["annotations"], None, {"image_id": 1}, {"image_id": 7}]}, "no objects"),
        ({"categories": [*document()["categories"], {"id": 1}, "x"]}, "2 categories without an id or a name"),
        ({"categories": [*document()["categories"], {"id": 9, "name": "red cup"}]}, "joined with another"),
        ({"categories": [*document()["categories"], {"id": 9, "name": "a\x07"}]}, "no usable words"),
        ({"images": [document()["images"][0], {"id": 7, "file_name": "b.PNG", "width": 48, "height": 64}]}, "48x64"),
        ({"images": [document()["images"][0], {"id": 7, "file_name": "b.PNG", "width": "a"}]}, "not of the size"),
    ],
)
def test_odd_entries_are_counted(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    fold = coco(tmp_path, document(**change))
    assert told in lines(fold)
    assert fold.train.classes[:2] == ("red cup", "fork")
    assert (0, 0) in fold.train_pairs


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "is no COCO instances file"),
        ({"images": [], "annotations": {}, "categories": []}, "is no COCO instances file"),
        (document(categories=[{"id": 2, "name": "cup"}, {"id": 2, "name": "fork"}]), "two categories with the id 2"),
        (document(categories=[]), "name no class"),
        (document(images=[{"id": 1, "file_name": "../../etc/passwd"}]), r"1 of 1 files are not in"),
    ],
)
def test_documents_that_are_none(tmp_path: Path, found: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        coco(tmp_path, found)


def test_names_with_other_folders_and_slashes(tmp_path: Path) -> None:
    names = ["val2017/sub/a.jpg", "images\\b.png"]
    found = document()
    for one, name in zip(found["images"], names, strict=True):
        one["file_name"] = name
    assert len(coco(tmp_path, found).train_pairs) == 2


def test_roboflows_root_is_no_class(tmp_path: Path) -> None:
    found = document()
    found["categories"] = [
        {"id": 0, "name": "kitchen", "supercategory": "none"},
        *({**one, "supercategory": "kitchen"} for one in found["categories"]),
    ]
    assert coco(tmp_path, found).train.classes == ("red cup", "fork")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("background\ncup\nfork", "line 1: 'background' is no class"),
        ("__ignore__\n_background_\ncup", "line 1: '__ignore__' is no class"),
        ("cup\n_background_", "line 2: '_background_' is no class"),
        ("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncup:128,0,0::", "line 1: .* is a comment"),
        ("background:0,0,0::\ncup:128,0,0::", "line 1: .* is no class"),
        ("cup:128,0,0::\nfork:0,128,0::", "line 1: .* has a color"),
        ("cup 128 0 0\nfork 0 128 0", "has a color"),
        ("0: cup\n1: fork", "line 1: '0: cup' begins with a number"),
        ("1 aeroplane\n2 bicycle", "begins with a number"),
        ("0: cup", "begins with a number"),
        ("1\tcup\n2\tfork", "begins with a number"),
        ("names:\n- cup\n- fork", "part of a YAML file"),
    ],
)
def test_suspicious_lists_are_refused(tmp_path: Path, text: str, message: str) -> None:
    root = make_folder(tmp_path / "own", {"x": labels_with((1, (0, 0, 9, 9)))}, text.split("\n"))
    with pytest.raises(DataError, match=message):
        open_fold("folder", root, -1)


def test_honest_lists_are_taken(tmp_path: Path) -> None:
    for words in (["7 up", "cup"], ["3d printer"], ["cup"], ["ignore button", "void deck"], ["cup", "background"]):
        check_class_list(words, tmp_path)


def test_masks_of_0_and_255(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    white = labels_with((255, (0, 0, 10, 10)))
    fold = open_fold("folder", make_folder(tmp_path / "one", {"x": white, "y": white * 0}, ["cup"]), -1)
    assert fold.train_pairs == ((0, 0),)
    assert set(np.unique(fold.train.mask(0, 0))) == {0, 1} and fold.train.mask(0, 0).sum() == 100
    assert "1 masks hold 0 and 255 alone: 255 was taken for 'cup'" in fold.train.account.lines()[0]  # type: ignore[attr-defined]
    two = make_folder(tmp_path / "two", {"x": white}, ["cup", "fork"])
    with pytest.raises(DataError, match=r"x\.png has only 0 and 255, as have all masks.*2 classes"):
        open_fold("folder", two, -1)
    mixed = make_folder(tmp_path / "mixed", {"x": white, "y": labels_with((1, (0, 0, 9, 9)))}, ["cup"])
    fold = open_fold("folder", mixed, -1)
    assert fold.train_pairs == ((1, 0),)
    assert "1 masks hold 0 and 255 alone: 255 is 'ignore'" in fold.train.account.lines()[0]  # type: ignore[attr-defined]
    empty = open_fold("folder", make_folder(tmp_path / "no", {"x": white * 0}, ["cup"]), -1)
    with pytest.raises(DataError, match=r"none of the 1 pictures has a pixel .*clsclip-data check"):
        check_fold(empty)


def test_files_of_macos_and_folders_below(tmp_path: Path) -> None:
    root = make_folder(tmp_path, {"a/x": labels_with((1, (0, 0, 9, 9))), "y": labels_with((1, (0, 0, 9, 9)))}, ["cup"])
    for path in (root / "images" / "._y.png", root / "masks" / "._y.png"):
        path.write_bytes(b"\0\5\26\7Mac OS X")
    fold = open_fold("folder", root, -1)
    assert [fold.train.key(at) for at in range(2)] == ["a/x", "y"]
    assert recognized(root) == ("folder", None)


def test_one_damaged_mask_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    mask = labels_with((1, (0, 0, 9, 9)))
    root = make_folder(tmp_path, {"x": mask, "y": mask}, ["cup"])
    (root / "masks" / "x.png").write_bytes((root / "masks" / "x.png").read_bytes()[:60])
    fold = open_fold("folder", root, -1)
    assert [fold.train.key(at) for at in range(len(fold.train))] == ["y"]
    assert "1 pictures were left out, since their mask cannot be read" in fold.train.account.lines()[0]  # type: ignore[attr-defined]
