"""The sticker world as a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clsclip.data.coco import COCO_WORDS
from clsclip.errors import DataError
from clsclip.folds import StickerOptions, open_fold
from clsclip.reproduce.stickers.vocabulary import nouns
from tests.clsclip.data.test_coco import PUBLISHED

SMALL = StickerOptions(side=48, sizes=(0.3, 0.6), train_images=24, test_images=12)


def test_pascal_words(sticker_root: Path) -> None:
    fold = open_fold("stickers", sticker_root, 2, stickers=SMALL)
    words = fold.test.classes
    assert len(words) == 19
    assert tuple(words[one] for one in fold.novel) == ("dog", "horse", "motorbike", "person")
    assert set(fold.seen) | set(fold.novel) == set(range(19))
    assert {one for _, one in fold.train_pairs} <= set(fold.seen)
    assert {one for _, one in fold.test_pairs} <= set(fold.novel)
    assert len({fold.train.key(at) for at in range(24)} | {fold.test.key(at) for at in range(12)}) == 36
    for index, class_id in fold.train_pairs:
        image, mask = fold.train.image(index), fold.train.mask(index, class_id)
        assert image.shape == (48, 48, 3)
        assert mask.dtype == np.uint8
        assert mask.any()
        assert class_id in fold.train.shown(index)
    assert not any((fold.train.image(0) == fold.test.image(at)).all() for at in range(12))


def test_pictures_are_the_same_again(sticker_root: Path) -> None:
    first = open_fold("stickers", sticker_root, 0, stickers=SMALL, part="test")
    second = open_fold("stickers", sticker_root, 0, stickers=SMALL, part="test")
    assert len(first.train) == 0
    assert first.test_pairs == second.test_pairs
    np.testing.assert_array_equal(first.test.image(3), second.test.image(3))
    with pytest.raises(DataError, match="no sticker picture 12"):
        first.test.image(12)


def test_all_words(sticker_root: Path) -> None:
    options = StickerOptions(words="all", side=48, train_images=4, test_images=4)
    fold = open_fold("stickers", sticker_root, -1, stickers=options)
    assert fold.number == -1
    assert fold.novel == tuple(noun.index for noun in nouns() if noun.held_out)
    assert fold.test.classes == tuple(noun.name for noun in nouns())


def test_coco_words_keep_the_published_folds(sticker_root: Path) -> None:
    """The classes of fold f are those of the published list that have an emoji."""
    options = StickerOptions(words="coco", side=48, train_images=2, test_images=2)
    folds = [open_fold("stickers", sticker_root, number, stickers=options) for number in range(4)]
    words = folds[0].test.classes
    assert len(words) == 55
    for number, fold in enumerate(folds):
        own = [words[one] for one in fold.novel]
        assert own == [word for word in PUBLISHED[number].split(", ") if word in words]
        assert set(fold.seen) | set(fold.novel) == set(range(len(words)))
    names = {word: nouns()[noun].name for word, noun in zip(words, folds[0].test.noun_of, strict=True)}  # type: ignore[attr-defined]
    assert names["airplane"] == "aeroplane"
    assert names["couch"] == "sofa"
    assert "keyboard" not in names


def test_coco_names_are_the_published_ones() -> None:
    published = [words.split(", ") for words in PUBLISHED]
    assert tuple(published[at % 4][at // 4] for at in range(80)) == COCO_WORDS


def test_close_ups_are_spread_evenly(sticker_root: Path) -> None:
    options = StickerOptions(words="all", side=48, sizes=(0.1, 0.2), things=(3, 3), train_images=12, close_ups=0.25)
    near = open_fold("stickers", sticker_root, -1, stickers=options, part="train").train
    far = open_fold("stickers", sticker_root, -1, stickers=replace(options, close_ups=0.0), part="train").train
    same = [bool((near.image(at) == far.image(at)).all()) for at in range(12)]
    assert same == [True, True, True, False] * 3
    for at in (3, 7, 11):
        shares = [near.mask(at, one).mean() for one in near.shown(at)]
        assert 1 <= len(shares) <= 2
        assert max(shares) > 0.1


def test_bad_options(sticker_root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no fold 5"):
        open_fold("stickers", sticker_root, 5)
    with pytest.raises(DataError, match="word set 'some'"):
        open_fold("stickers", sticker_root, 0, stickers=StickerOptions(words="some"))
    with pytest.raises(DataError, match="No stickers of style"):
        open_fold("stickers", tmp_path, 0)
