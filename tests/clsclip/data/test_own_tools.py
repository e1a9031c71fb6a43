"""Labels as annotation tools write them: Label Studio, YOLO and labelme."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip.data.base import Fold, possible
from clsclip.data.own import first_look, recognized
from clsclip.data.places import Places
from clsclip.errors import DataError
from clsclip.folds import open_fold
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.brush import encode_brush
from tests.clsclip.data.made import INSIDE, SIZE, drawn, lines, save_image


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
