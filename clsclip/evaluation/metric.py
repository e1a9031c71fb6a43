"""Counting pixels, and the four figures that come of them.

Intersections and unions are added up over all episodes, class by class, and divided once at the end: never the mean
of the IoU of pictures. Pixels labelled 255 belong neither to a prediction nor to a truth. IoU is in percent, leakage
is a ratio; a figure that nothing was counted for is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clsclip.data.base import IGNORE

Counts = NDArray[np.int64]

_NAN = float("nan")


def overlap_and_union(predicted: NDArray[np.bool_], truth: NDArray[np.uint8]) -> Counts:
    """Intersection and union, in pixels, of background and class.

    Args:
        predicted: (H, W) bool.
        truth: (H, W) uint8; 1 the class, 0 not, 255 ignore.

    Returns:
        (2, 2) int64: [[intersection, union] of background, [intersection, union] of the class].

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"a prediction of shape {predicted.shape} cannot be compared with a mask of {truth.shape}")
    counted = truth != IGNORE
    marked, true = predicted[counted], truth[counted] == 1
    both, either = np.count_nonzero(marked & true), np.count_nonzero(marked | true)
    return np.array([[marked.size - either, marked.size - both], [both, either]], np.int64)


@dataclass
class Scores:
    """Pixel counts of a run; two of them add up to the counts of both.

    Attributes:
        classes: how many classes the data have.
        counts: (K, 2, 2) int64, per class: intersection and union of background, then of the class, with weights.
        several: (K, 2) int64, intersection and union of the class, in pictures that are asked for two or more classes.
        episodes: (K,) int64, weights added up.
        marked: (K, 2) int64, pixels of a class that are marked, and that are the class, with weights.
        areas: (K, 2, 2) int64, per class: pixels marked in pictures that show it, and such pictures; and where it is
            absent.
        marked_present: pixels marked by present words.
        marked_absent: pixels marked by as many absent words.
    """

    classes: int
    counts: Counts = field(init=False)
    several: Counts = field(init=False)
    episodes: Counts = field(init=False)
    marked: Counts = field(init=False)
    areas: Counts = field(init=False)
    marked_present: int = 0
    marked_absent: int = 0

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.classes, 2, 2), np.int64)
        self.several = np.zeros((self.classes, 2), np.int64)
        self.episodes = np.zeros(self.classes, np.int64)
        self.marked = np.zeros((self.classes, 2), np.int64)
        self.areas = np.zeros((self.classes, 2, 2), np.int64)

    def add_episode(
        self,
        class_id: int,
        predicted: NDArray[np.bool_],
        truth: NDArray[np.uint8],
        weight: int = 1,
        in_several: bool = False,
    ) -> None:
        """Count one (picture, class) pair.

        Args:
            class_id: the class asked for.
            predicted: (H, W) bool.
            truth: (H, W) uint8; 1 the class, 0 not, 255 ignore.
            weight: how many episodes the pair stands for.
            in_several: whether its picture is asked for two or more classes.
        """
        found = overlap_and_union(predicted, truth)
        both, either = found[1]
        true = np.count_nonzero(truth == 1)
        self.marked[class_id] += weight * np.array([either - true + both, true])
        self.counts[class_id] += weight * found
        self.episodes[class_id] += weight
        if in_several:
            self.several[class_id] += weight * found[1]

    def add_area(self, class_id: int, marked: int, *, present: bool) -> None:
        """Count the pixels that a word marked in a picture that shows it, or does not."""
        self.areas[class_id, 0 if present else 1] += (marked, 1)

    def add_marked(self, present: int, absent: int) -> None:
        """Count the pixels that as many present and absent words marked in one picture."""
        self.marked_present += present
        self.marked_absent += absent

    def __add__(self, other: Scores) -> Scores:
        """The counts of both runs. ValueError when they are of different data."""
        if self.classes != other.classes:
            raise ValueError(f"runs over {self.classes} and {other.classes} classes cannot be added")
        added = Scores(
            self.classes, self.marked_present + other.marked_present, self.marked_absent + other.marked_absent
        )
        added.counts = self.counts + other.counts
        added.several = self.several + other.several
        added.episodes = self.episodes + other.episodes
        added.marked = self.marked + other.marked
        added.areas = self.areas + other.areas
        return added

    def iou(self, class_id: int) -> float:
        """Return the IoU of a class, percent; NaN without episodes."""
        return _percent(*self.counts[class_id, 1])

    def precision(self, class_id: int | None = None) -> float:
        """Return the share of marked pixels that are the class, percent; without a class the mean."""
        return self._share_of(0, class_id)

    def recall(self, class_id: int | None = None) -> float:
        """Return the share of the class's pixels that are marked, percent; without a class the mean."""
        return self._share_of(1, class_id)

    def _share_of(self, which: int, class_id: int | None) -> float:
        if class_id is None:
            return _mean([self._share_of(which, one) for one in range(self.classes)])
        return _percent(self.counts[class_id, 1, 0], self.marked[class_id, which])

    def leakage_of(self, class_id: int) -> float:
        """Mean area that a word marks where it is absent / where it is present; NaN where one was not asked."""
        (present, shown), (absent, missing) = self.areas[class_id].tolist()
        return (absent / missing) / (present / shown) if missing and present else _NAN

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that were asked, percent."""
        return _mean([_percent(*counts[1]) for counts in self.counts])

    @property
    def fb_iou(self) -> float:
        """Mean of pooled foreground and pooled background IoU, percent."""
        background, foreground = self.counts.sum(axis=0)
        if not self.episodes.any():
            return _NAN
        return _mean([_percent(*background), _percent(*foreground)])

    @property
    def which_word(self) -> float:
        """Mean IoU over the classes, in pictures that are asked for two or more of them, percent."""
        return _mean([_percent(*counts) for counts in self.several])

    @property
    def leakage(self) -> float:
        """Area marked by absent words / area marked by present words; NaN when present words marked nothing."""
        return self.marked_absent / self.marked_present if self.marked_present else _NAN


def _percent(part: int, whole: int) -> float:
    return 100.0 * int(part) / int(whole) if whole else _NAN


def _mean(values: list[float]) -> float:
    finite = [value for value in values if value == value]
    return sum(finite) / len(finite) if finite else _NAN
