"""What a segmentation data set is here: pictures, and for every class a picture shows, that class's mask.

Training and evaluation both read data through these two types, so a loader (PASCAL-5i, COCO-20i, a folder of your
own, the sticker world) is written once and works for both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clsclip.errors import DataError

IGNORE = 255
"""Value of a mask's pixels that count neither as the class nor as background."""


class MaskDataset(Protocol):
    """Pictures with a mask for every class they show.

    Attributes:
        name: the kind of data: "pascal", "coco", "folder" or "stickers".
        classes: the words to ask for, ready for a prompt ("dining table"); a class id is a position in it.
    """

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def key(self, index: int) -> str:
        """Return the picture's name, unique within the data set."""
        ...

    def shown(self, index: int) -> tuple[int, ...]:
        """Return the ids of the classes with at least one pixel in the picture, sorted."""
        ...

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the picture, (H, W, 3) uint8 RGB. Raises DataError when its file cannot be read."""
        ...

    def mask(self, index: int, class_id: int) -> NDArray[np.uint8]:
        """Return one class's mask, (H, W) uint8 of the picture's size: 1 the class, 0 not, 255 ignore."""
        ...


def prompts_of(data: MaskDataset) -> dict[str, tuple[str, ...]]:
    """The words by which classes are asked that are not asked by their name alone; most data have none."""
    prompts: dict[str, tuple[str, ...]] = getattr(data, "prompts", {})
    return prompts


def possible(data: MaskDataset, index: int) -> set[int]:
    """Ids of the classes that a picture shows or may show: no other counts as absent.

    Data with annotations tell of classes that are there and cannot be asked: crowds, and things that were left out.
    """
    unsure = getattr(data, "unsure", None)
    return {*data.shown(index), *(unsure(index) if unsure else ())}


def trained_words(data: MaskDataset, classes: Iterable[int]) -> list[str]:
    """The word by which each class is trained. DataError where a class has several: training takes one."""
    prompts = prompts_of(data)
    words = []
    for name in (data.classes[one] for one in classes):
        given = prompts.get(name, (name,))
        if len(given) > 1:
            raise DataError(f"The class {name!r} has {len(given)} prompts, and training takes one. Give it one word.")
        words.append(given[0])
    return words


@dataclass(frozen=True)
class Fold:
    """One split of a benchmark: what is trained on and what is asked at test time.

    Attributes:
        number: the fold's number; -1 when the data has no folds.
        train: the pictures to train on.
        test: the pictures of the test.
        seen: ids of the classes whose masks may be trained on, sorted.
        novel: ids of the classes that the test asks for, sorted.
        train_pairs: (picture index in `train`, class id) with the class in `seen`.
        test_pairs: (picture index in `test`, class id) with the class in `novel`, in the customary order.
    """

    number: int
    train: MaskDataset
    test: MaskDataset
    seen: tuple[int, ...]
    novel: tuple[int, ...]
    train_pairs: tuple[tuple[int, int], ...]
    test_pairs: tuple[tuple[int, int], ...]
