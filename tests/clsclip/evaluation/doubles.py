"""Data and predictors whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from clsclip.data import Fold
from clsclip.evaluation import Prediction


@dataclass
class MadeImages:
    """Label maps as a data set: class id + 1, 0 background, 255 ignore. Pictures are their own number, as a colour."""

    labels: list[np.ndarray]
    classes: tuple[str, ...] = ("cat", "dog", "tv monitor")
    name: str = "folder"

    def __len__(self) -> int:
        return len(self.labels)

    def key(self, index: int) -> str:
        return f"made-{index}"

    def shown(self, index: int) -> tuple[int, ...]:
        return tuple(int(one) - 1 for one in np.unique(self.labels[index]) if one not in (0, 255))

    def image(self, index: int) -> np.ndarray:
        height, width = self.labels[index].shape
        return np.full((height, width, 3), index, np.uint8)

    def mask(self, index: int, class_id: int) -> np.ndarray:
        labels = self.labels[index]
        return np.where(labels == 255, 255, labels == class_id + 1).astype(np.uint8)

    def fold(self) -> Fold:
        novel = tuple(range(len(self.classes)))
        pairs = tuple((index, one) for index in range(len(self)) for one in self.shown(index))
        return Fold(-1, self, self, (), novel, (), pairs)


@dataclass
class FixedMasks:
    """Marks a rectangle (left, top, right, bottom) a word, whatever the picture; and remembers what it was asked."""

    boxes: dict[str, tuple[int, int, int, int]]
    name: str = "fixed"
    asked: list[tuple[tuple[int, ...], tuple[str, ...]]] = field(default_factory=list)

    def predict(self, image: np.ndarray, words: Sequence[str], mask_threshold: float | None = None) -> Prediction:
        self.asked.append((image.shape, tuple(words)))
        masks = np.zeros((len(words), *image.shape[:2]), np.bool_)
        for at, word in enumerate(words):
            left, top, right, bottom = self.boxes.get(word, (0, 0, 0, 0))
            masks[at, top:bottom, left:right] = True
        return Prediction(masks)
