"""Data of one's own as people have them: COCO, Label Studio, YOLO, labelme; and what is refused.

Longer than other files: every format has the same cases.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip.data.annotated import AnnotatedImages
from clsclip.data.base import Fold, possible
from clsclip.data.class_lists import check_class_list
from clsclip.data.own import first_look, recognized
from clsclip.data.places import Places
from clsclip.errors import DataError
from clsclip.folds import open_fold
from clsclip.training.plan import check_fold
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.brush import encode_brush
from tests.clsclip.data.made import labels_with, make_folder, save_image

SIZE = (64, 48)
BOX = [8, 8, 40, 8, 40, 40, 8, 40]
INSIDE = [8, 8, 39, 8, 39, 39, 8, 39]
"""The same box by the pixels on its border."""

AREA = 32 * 32


def drawn(box: tuple[int, int, int, int] = (8, 8, 40, 40)) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


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


def lines(fold: Fold) -> str:
    assert isinstance(fold.train, AnnotatedImages)
    return "\n".join(fold.train.account.lines())


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


def result(value: dict[str, Any], kind: str, **more: Any) -> dict[str, Any]:
    return {"id": "r", "type": kind, "value": value, "original_width": 64, "original_height": 48} | more


PERCENT = [[x / 0.64, y / 0.48] for x, y in ((8, 8), (40, 8), (40, 40), (8, 40))]


@pytest.mark.parametrize(
    "one",
    [
        result(
            {"format": "rle", "rle": encode_brush(RleMask.from_mask(drawn())), "brushlabels": ["cup"]}, "brushlabels"
        ),
        result({"points": PERCENT, "closed": True, "polygonlabels": ["cup"]}, "polygonlabels"),
        result(
            {"x": 12.5, "y": 8 / 0.48, "width": 50, "height": 32 / 0.48, "rotation": 0, "rectanglelabels": ["cup"]},
            "rectanglelabels",
        ),
        # Turned by a quarter around its corner at the upper right.
        result(
            {"x": 62.5, "y": 8 / 0.48, "width": 50, "height": 32 / 0.48, "rotation": 90, "rectanglelabels": ["cup"]},
            "rectanglelabels",
        ),
    ],
)
@pytest.mark.parametrize("minimal", [False, True])
def test_label_studio(tmp_path: Path, one: dict[str, Any], minimal: bool) -> None:
    save_image(tmp_path / "up" / "dog.jpg", SIZE)
    save_image(tmp_path / "up" / "cat.jpg", SIZE)
    address = "/data/upload/1/1f2e3d4c-dog.jpg"
    task: dict[str, Any] = {"id": 3, "data": {"image": address}, "annotations": [{"result": [one]}, {"result": []}]}
    if minimal:
        value = {key: inner for key, inner in one.items() if key.startswith("original")} | one["value"]
        task = {"id": 3, "image": address, "tag": [value]}
    else:
        task["annotations"].insert(0, {"was_cancelled": True, "result": []})
    tasks = [task, {"id": 4, "data": {"image": "http://host/cat.jpg"}, "annotations": []}]
    (tmp_path / "ls.json").write_text(json.dumps(tasks))
    fold = open_fold("labelstudio", None, -1, annotations=tmp_path / "ls.json", images=tmp_path / "up")
    assert fold.train.classes == ("cup",)
    assert fold.train_pairs == ((0, 0),)
    mask = fold.train.mask(0, 0) == 1
    assert (mask == drawn()).all()
    assert "not annotated yet" in lines(fold)
    assert recognized(tmp_path / "ls.json")[0] == "labelstudio"


def test_label_studio_counts_what_it_leaves_out(tmp_path: Path) -> None:
    save_image(tmp_path / "dog.jpg", SIZE)
    good = result({"points": PERCENT, "polygonlabels": ["cup"]}, "polygonlabels", id="a")
    bad = [
        result({"rle": [1, 2, 3], "brushlabels": ["fork"]}, "brushlabels", id="b"),
        result({"rle": [300], "brushlabels": ["fork"]}, "brushlabels", id="c"),
        result({"points": [[1, 2], [3], 4], "polygonlabels": ["fork"]}, "polygonlabels", id="d"),
        result({"x": 1, "y": None, "width": 3, "height": 4, "rectanglelabels": ["fork"]}, "rectanglelabels", id="e"),
        result({"points": PERCENT}, "polygon", id="f"),
        result({"choices": ["x"]}, "choices", id="g"),
        {"id": "h"},
    ]
    (tmp_path / "ls.json").write_text(
        json.dumps([{"data": {"image": "dog.jpg"}, "annotations": [{"result": [good, *bad]}]}])
    )
    fold = open_fold("labelstudio", None, -1, annotations=tmp_path / "ls.json", images=tmp_path)
    assert fold.train_pairs == ((0, 0),)
    assert "4 annotations were left out" in lines(fold)
    assert "1 regions without a label" in lines(fold)


def test_predictions_that_nobody_accepted_are_told(tmp_path: Path) -> None:
    """As ``clsclip-infer --formats labelstudio`` writes them, and as Label Studio exports them."""
    save_image(tmp_path / "dog.jpg", SIZE)
    save_image(tmp_path / "cat.jpg", SIZE)
    found = [result({"points": PERCENT, "polygonlabels": ["cup"]}, "polygonlabels")]
    predicted = {"data": {"image": "dog.jpg"}, "predictions": [{"result": found}]}
    (tmp_path / "ls.json").write_text(json.dumps([predicted, predicted | {"annotations": []}]))
    with pytest.raises(DataError, match=r"2 tasks hold predictions that nobody has accepted.*--formats coco"):
        open_fold("labelstudio", None, -1, annotations=tmp_path / "ls.json", images=tmp_path)
    accepted = {"data": {"image": "cat.jpg"}, "annotations": [{"result": found}], "predictions": [{"result": found}]}
    (tmp_path / "ls.json").write_text(json.dumps([predicted, accepted]))
    fold = open_fold("labelstudio", None, -1, annotations=tmp_path / "ls.json", images=tmp_path)
    assert fold.train_pairs == ((0, 0),) and "1 tasks hold predictions" in lines(fold)


def test_a_first_look_where_many_files_take_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(kind: str, root: Path, seconds: float) -> tuple[int, int]:
        found = first_look(kind, root, seconds)
        assert found is not None and not found.account.lines()
        return found.images, found.classes[0].instances

    shapes = [shape("polygon", [[1, 1], [20, 1], [20, 20]], "cup")]
    for name in ("a", "b", "c"):
        save_image(tmp_path / "labelme" / f"{name}.jpg", SIZE)
        found = {"shapes": shapes, "imagePath": f"{name}.jpg", "imageWidth": SIZE[0], "imageHeight": SIZE[1]}
        (tmp_path / "labelme" / f"{name}.json").write_text(json.dumps(found))
    yolo(tmp_path / "yolo", "0 0.1 0.1 0.9 0.1 0.5 0.9\n")
    assert first_look("labelme", tmp_path / "labelme", 60) is None, "they are few"
    assert first_look("coco", tmp_path / "labelme", 60) is None
    monkeypatch.setattr("clsclip.data.own._MANY", 2)
    assert look("labelme", tmp_path / "labelme", 60) == (3, 3)
    assert look("labelme", tmp_path / "labelme", 0)[0] == 1
    assert look("yolo", tmp_path / "yolo", 60) == (1, 1)


def yolo(root: Path, text: str, names: str = "names: [cup, fork]\n") -> Fold:
    for side in ("train", "val"):
        save_image(root / "images" / side / f"{side[0]}.jpeg", SIZE)
        (root / "labels" / side).mkdir(parents=True, exist_ok=True)
        (root / "labels" / side / f"{side[0]}.txt").write_text(text)
    (root / "data.yaml").write_text(f"path: ../datasets/x\ntrain: images/train\nval: images/val\n{names}")
    return open_fold("yolo", root, -1)


def test_names_with_folders_without_end(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "x.png", SIZE)
    places = Places(tmp_path)
    assert places.find("a/" * 1000 + "images/x.png") == "images/x.png"
    assert places.find("a/" * 200_000 + "x.png") is None


def test_yolo(tmp_path: Path) -> None:
    outline = " ".join(str((value + 0.5) / SIZE[at % 2]) for at, value in enumerate(INSIDE))
    fold = yolo(tmp_path, f"1 {outline}\n\n", "names:\n  0: cup\n  1: fork\n")
    assert fold.train.classes == ("cup", "fork")
    assert [fold.train.key(0), fold.test.key(0)] == ["images/train/t", "images/val/v"]
    assert fold.train_pairs == fold.test_pairs == ((0, 1),)
    assert (fold.train.mask(0, 1) == drawn()).all()
    assert recognized(tmp_path) == ("yolo", None)
    fold = yolo(tmp_path, f"1 {outline}\n0 0.5 0.5 0.1 0.1\n7 {outline}\nx y\n0 nan nan nan nan nan nan\n")
    assert fold.train_pairs == ((0, 1),)
    assert "it is a box and no outline" in lines(fold)
    assert "no numbers" in lines(fold) and "class 7" in lines(fold)
    for side, other in (("train", "val"), ("val", "train")):
        (tmp_path / "data.yaml").write_text(f"{side}: images/{side}\n{other}: /moved/away\nnames: [cup, fork]\n")
        alone = open_fold("yolo", tmp_path, -1)
        assert [alone.train.key(0), alone.test.key(0)] == ["images/train/t", "images/val/v"]
        assert f"1 pictures are in no list of data.yaml, and were taken for {other}" in lines(alone)
        assert f"1 paths of data.yaml name no picture here ({other}: /moved/away)" in lines(alone)
    for text, why in (
        ("names: {", ""),
        ('names: !!int ""', ""),
        ("names: !!bool x", ""),
        ("names: [cup]\nnames: [fork]\n", "comes twice"),
        ("x: [" + "[]," * 200_000 + "]", "over 512 KiB"),
    ):
        (tmp_path / "data.yaml").write_text(text)
        with pytest.raises(DataError, match=f"cannot be read as YAML: .*{why}"):
            open_fold("yolo", tmp_path, -1)
    (tmp_path / "data.yaml").write_text(
        "names: {1: cup, 2: fork}\na: &a {x: 1}\no: {i: &b {<<: *a, x: 2}}\nc: {<<: *b}\n"
    )
    open_fold("yolo", tmp_path, -1)
    (tmp_path / "data.yaml").write_text(f"names: [cup, fork]\ntrain: {'a/' * 100_000}images/train\n")
    open_fold("yolo", tmp_path, -1)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cup\nfork\n")
    assert len(open_fold("yolo", tmp_path, -1).train) == 2


def shape(kind: str, points: Any, label: str = "cup", **more: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": points} | more


def pasted() -> str:
    content = io.BytesIO()
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


@pytest.mark.parametrize(
    "one",
    [
        shape("polygon", np.reshape(INSIDE, (-1, 2)).tolist()),
        shape("rectangle", [[40, 8], [8, 40]]),
        shape("mask", [[8, 8], [39, 39]], mask=pasted()),
    ],
)
def test_labelme(tmp_path: Path, one: dict[str, Any]) -> None:
    save_image(tmp_path / "in" / "a.JPG", SIZE)
    save_image(tmp_path / "in" / "b.JPG", SIZE)
    shapes = [one, shape("polygon", [[0, 0], [4, 0], [4, 4], [0, 4]], "__ignore__"), shape("point", [[1, 1]], "fork"),
              shape("mask", [[0, 0], [1, 1]], "spoon", mask="!"), {"label": 5}]  # fmt: skip
    found = {"shapes": shapes, "imagePath": "..\\in\\a.JPG", "imageWidth": 64, "imageHeight": 48, "imageData": None}
    (tmp_path / "in" / "a.json").write_text(json.dumps(found))
    fold = open_fold("labelme", tmp_path, -1)
    assert fold.train.classes == ("cup", "fork", "spoon")
    assert fold.train_pairs == ((0, 0),)
    mask = fold.train.mask(0, 0)
    assert ((mask == 1) == drawn()).all()
    assert (mask == 255).sum() == 25
    assert possible(fold.train, 0) == {0, 1, 2}
    assert "1 pictures have no file of labelme" in lines(fold)
    assert recognized(tmp_path) == ("labelme", None)


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
