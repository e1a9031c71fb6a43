"""Controls: other words are asked than the test says, or other groups of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from clsclip.data import asking
from clsclip.data.base import Fold
from clsclip.errors import DataError
from clsclip.evaluation.controls import ShuffledWords, shuffled
from clsclip.evaluation.evaluate import Method, evaluate
from clsclip.evaluation.predictors import Prediction, Prompted
from clsclip.evaluation.protocol import Protocol

WORDS = ("boat", "cat", "dog")


class Images:
    """Three pictures of 4 x 4; picture i shows class i in row i and class 0 in column 3."""

    name = "folder"
    classes = WORDS

    def __len__(self) -> int:
        return 3

    def key(self, index: int) -> str:
        return str(index)

    def shown(self, index: int) -> tuple[int, ...]:
        return tuple(sorted({0, index}))

    def image(self, index: int) -> NDArray[np.uint8]:
        return np.full((4, 4, 3), index, np.uint8)

    def mask(self, index: int, class_id: int) -> NDArray[np.uint8]:
        mask = np.zeros((4, 4), np.uint8)
        if class_id == index:
            mask[index] = 1
        if class_id == 0:
            mask[:, 3] = 1
        return mask


class Oracle:
    """Knows every mask."""

    name = "oracle"

    def predict(
        self, image: NDArray[np.uint8], words: Sequence[str], mask_threshold: float | None = None
    ) -> Prediction:
        truth = Images()
        return Prediction(np.stack([truth.mask(int(image[0, 0, 0]), WORDS.index(word)) == 1 for word in words]))


def fold() -> Fold:
    return Fold(-1, Images(), Images(), (0,), (1, 2), (), ((1, 1), (2, 2)))


def test_groups_ask_their_words() -> None:
    base = fold()
    assert asking(base, "novel") is base
    seen = asking(fold(), "seen")
    assert seen.novel == (0,) and seen.test_pairs == ((0, 0), (1, 0), (2, 0))
    assert asking(fold(), "all").test_pairs == ((0, 0), (1, 0), (1, 1), (2, 0), (2, 2))
    with pytest.raises(DataError, match="novel, seen, all"):
        asking(fold(), "every")


def test_shuffled_words_lose_what_the_word_gave() -> None:
    protocol = Protocol(every=True)
    assert evaluate(fold(), Method(Oracle()), protocol).miou == 100
    control = ShuffledWords(Oracle(), WORDS)
    assert all(word != other for word, other in control.instead.items())
    assert sorted(control.instead) == sorted(control.instead.values()) == sorted(WORDS)
    assert ShuffledWords(Oracle(), WORDS).instead == control.instead
    report = evaluate(fold(), shuffled(Method(Oracle()), WORDS), protocol)
    assert report.miou < 50 and "shuffled" in report.method
    with pytest.raises(DataError, match="no words"):
        shuffled(Method(None), WORDS)
    with pytest.raises(DataError, match="two or more"):
        ShuffledWords(Oracle(), ["boat"])


class Rows:
    """Draws the row of its number for every word, and is as sure as the number says."""

    name = "rows"

    def predict(
        self, image: NDArray[np.uint8], words: Sequence[str], mask_threshold: float | None = None
    ) -> Prediction:
        assert len(set(words)) == len(words)
        numbers = np.array([int(word) for word in words])
        masks = np.zeros((len(words), 4, 4), np.bool_)
        masks[np.arange(len(words)), numbers] = True
        return Prediction(masks, numbers.astype(np.float32) / 4, numbers == 0)


def test_a_class_is_what_any_of_its_prompts_finds() -> None:
    found = Prompted(Rows(), {"both": ("1", "3"), "0": ("0",), "none": ("0", "0")}).predict(
        np.zeros((4, 4, 3), np.uint8), ["both", "2", "none"]
    )
    assert found.masks.any(axis=2).tolist() == [
        [False, True, False, True],
        [False, False, True, False],
        [True, False, False, False],
    ]
    assert found.presence is not None and found.presence.tolist() == [0.75, 0.5, 0.0]
    assert found.present.tolist() == [True, True, False]
