"""PASCAL-5i: the folds, the lists, the masks, and what is said of bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clsclip.data.pascal import (
    PASCAL_WORDS,
    VOC_NAMES,
    customary,
    files_there,
    mask_folder,
    pairs_from_masks,
    read_pairs,
    trained_order,
)
from clsclip.errors import DataError
from clsclip.folds import open_fold
from tests.clsclip.data.made import labels_with, make_voc, save_image, save_labels
from tests.shared_data import shared_data

BIG = (0, 0, 100, 100)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    masks = {
        "a": labels_with((1, BIG), (255, (100, 0, 104, 128)), (15, (104, 0, 160, 128))),
        "b": labels_with((7, BIG), (2, (110, 110, 114, 114))),
        "c": labels_with((2, BIG), (1, (100, 0, 160, 128))),
        "d": labels_with((20, BIG)),
    }
    return make_voc(tmp_path / "VOC2012", masks, ["a", "b"], ["c", "d"])


def test_folds_hold_out_five_classes_each() -> None:
    assert PASCAL_WORDS[10] == "dining table"
    assert PASCAL_WORDS[15] == "potted plant"
    assert PASCAL_WORDS[19] == "tv monitor"
    assert VOC_NAMES[13] == "motorbike"
    assert len(set(PASCAL_WORDS)) == 20


@pytest.mark.parametrize("of", ["JPEGImages/*.jpg", "SegmentationClassAug/*.png", "list"])
def test_other_suffixes_are_found(voc: Path, of: str) -> None:
    wanted = open_fold("pascal", voc, 0)
    mask, shape = wanted.train.mask(0, 6), wanted.train.image(0).shape
    if of == "list":
        for path in (voc / "ImageSets" / "Segmentation").glob("*.txt"):
            path.write_text(path.read_text().replace("\n", ".jpg\r\n"))
    else:
        for path in voc.glob(of):
            path.rename(path.with_suffix(path.suffix.upper()))
    found = open_fold("pascal", voc, 0)
    assert (found.train_pairs, found.test_pairs) == (wanted.train_pairs, wanted.test_pairs)
    assert (found.train.mask(0, 6) == mask).all() and mask.any()
    assert found.train.image(0).shape == shape


def test_lists_from_masks(voc: Path) -> None:
    fold = open_fold("pascal", voc, 0)
    assert fold.novel == (0, 1, 2, 3, 4)
    assert fold.seen == tuple(range(5, 20))
    named = [(fold.train.key(index), fold.train.classes[one]) for index, one in fold.train_pairs]
    assert named == [("b", "car"), ("a", "person")]
    tested = [(fold.test.key(index), fold.test.classes[one]) for index, one in fold.test_pairs]
    assert tested == [("c", "aeroplane"), ("c", "bicycle")]
    assert len(fold.test) == 1
    only = open_fold("pascal", voc, 0, part="test")
    assert (len(only.train), only.train_pairs, only.test_pairs) == (0, (), fold.test_pairs)


def test_held_out_classes_are_background_in_training(voc: Path) -> None:
    fold = open_fold("pascal", voc, 0)
    index = [fold.train.key(at) for at in range(len(fold.train))].index("a")
    mask = fold.train.mask(index, 14)
    assert mask.shape == (128, 160)
    assert fold.train.image(index).shape == (128, 160, 3)
    assert (mask[:, :100] == 0).all(), "the aeroplane is background"
    assert (mask[:, 100:104] == 255).all()
    assert (mask[:, 104:] == 1).all()
    assert fold.train.shown(index) == (0, 14)


def test_customary_lists_keep_their_order(voc: Path, tmp_path: Path) -> None:
    for part in ("trn", "val"):
        (tmp_path / "lists" / "pascal" / part).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "lists" / "pascal" / part / f"fold{number}.txt").write_text("")
    (tmp_path / "lists" / "pascal" / "val" / "fold0.txt").write_text("c__02\nc__01\n")
    (tmp_path / "lists" / "pascal" / "trn" / "fold1.txt").write_text("b__07\n")
    (tmp_path / "lists" / "pascal" / "trn" / "fold2.txt").write_text("a__15\n")
    fold = open_fold("pascal", voc, 0, splits=tmp_path / "lists")
    assert [(fold.test.key(at), one) for at, one in fold.test_pairs] == [("c", 1), ("c", 0)]
    assert [(fold.train.key(at), one) for at, one in fold.train_pairs] == [("b", 6), ("a", 14)]
    (tmp_path / "lists" / "pascal" / "val" / "fold0.txt").write_text("c__02\nc_01\n")
    with pytest.raises(DataError, match=r"fold0\.txt, line 2"):
        open_fold("pascal", voc, 0, splits=tmp_path / "lists")
    (tmp_path / "lists" / "pascal" / "val" / "fold0.txt").write_text("c__06\n")
    with pytest.raises(DataError, match="class from 1 to 5"):
        open_fold("pascal", voc, 0, splits=tmp_path / "lists")


@given(st.integers(0, 80), st.integers(0, 80), st.integers(1, 80), st.integers(1, 80))
def test_the_rule_counts_grid_points(left: int, top: int, width: int, height: int) -> None:
    labels = labels_with((3, (left, top, left + width, top + height)))
    rows = [row for row in range(1, 128, 32) if top <= row < top + height]
    columns = [column for column in range(1, 160, 32) if left <= column < left + width]
    assert customary(labels) == ((2,) if len(rows) * len(columns) > 2 else ())


def test_missing_files(voc: Path, caplog: pytest.LogCaptureFixture) -> None:
    (voc / "JPEGImages" / "c.jpg").unlink()
    (voc / "SegmentationClassAug" / "a.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 files .*: a\. .*--allow-missing"):
        open_fold("pascal", voc, 0)
    fold = open_fold("pascal", voc, 0, allow_missing=True)
    assert (len(fold.train), len(fold.test)) == (1, 0)
    assert "1 of 2 files" in caplog.text


def test_bad_files(voc: Path, tmp_path: Path) -> None:
    path = voc / "SegmentationClassAug" / "c.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"c\.png is a PNG file .* it is damaged"):
        open_fold("pascal", voc, 0)
    Image.new("RGB", (160, 128), "teal").save(path)
    with pytest.raises(DataError, match=r"c\.png is no mask: its pixels are RGB"):
        open_fold("pascal", voc, 0)
    save_labels(path, labels_with((44, BIG)))
    with pytest.raises(DataError, match=r"c\.png holds the value 44"):
        open_fold("pascal", voc, 0)
    path.write_bytes(whole)
    fold = open_fold("pascal", voc, 0)
    save_image(voc / "JPEGImages" / "c.jpg", (160, 127))
    with pytest.raises(DataError, match=r"c\.png is 160x128 and its picture 160x127"):
        fold.test.mask(0, 0)
    (voc / "JPEGImages" / "c.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(DataError, match=r"c\.jpg"):
        open_fold("pascal", voc, 0).test.image(0)
    for fold_number in (-1, 4):
        with pytest.raises(DataError, match="no fold"):
            open_fold("pascal", voc, fold_number)
    with pytest.raises(DataError, match="No folder"):
        open_fold("pascal", tmp_path / "none", 0)
    with pytest.raises(DataError, match="--root"):
        open_fold("pascal", None, 0)
    with pytest.raises(DataError, match="kind 'ade'"):
        open_fold("ade", voc, 0)
    with pytest.raises(DataError, match="part 'all'"):
        open_fold("pascal", voc, 0, part="all")


def test_customary_lists_have_their_published_length() -> None:
    lists = shared_data("splits", "pascal")
    assert [len(read_pairs(lists / "val" / f"fold{one}.txt", one)) for one in range(4)] == [346, 451, 725, 346]


@pytest.mark.parametrize("number", range(4))
def test_lists_from_masks_are_the_customary_ones(number: int) -> None:
    """Every pair of every validation picture that is here; validation pictures have their original size."""
    root = shared_data("VOC2012")
    there = files_there(root)
    listed = [
        pair for pair in read_pairs(shared_data("splits", "pascal") / "val" / f"fold{number}.txt", number)
        if pair[0] in there
    ]  # fmt: skip
    names = (root / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
    made = pairs_from_masks(root, there, names, range(5 * number, 5 * number + 5), False)
    assert listed
    assert made == listed


def test_training_lists_from_masks_are_nearly_the_customary_ones() -> None:
    """Training pictures here were shrunk, so that the grid of every 32nd pixel can only be found again roughly."""
    root = shared_data("VOC2012")
    folds = [read_pairs(shared_data("splits", "pascal") / "trn" / f"fold{one}.txt", one) for one in range(4)]
    assert all(pairs == trained_order(pairs) for pairs in folds)
    lists = root / "ImageSets" / "Segmentation"
    names = [name for file in ("train.txt", "sbd_extra.txt") for name in (lists / file).read_text().split()]
    listed = {pair for pairs in folds for pair in pairs} & {(name, one) for name in names for one in range(20)}
    made = set()
    for name in names:
        with Image.open(mask_folder(root) / f"{name}.png") as small:
            scale = 500 / 400 if max(small.size) == 400 else 1
            size = (round(small.width * scale), round(small.height * scale))
            labels = np.asarray(small.resize(size, Image.Resampling.NEAREST))
        made |= {(name, one) for one in customary(labels)}
    assert len(listed) > 1000
    assert len(made ^ listed) <= 0.01 * len(listed), sorted(made ^ listed)
