"""Fitting the mask threshold, the presence threshold and the least confidence on validation data.

All are chosen together, for the mean IoU over the classes where every picture is asked words that it shows and as many
that it does not: what an absent word marks counts against its class. Every picture is segmented once; its pixels are
counted at all thresholds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsclip.data.base import IGNORE, Fold
from clsclip.errors import DataError
from clsclip.evaluation.evaluate import plan
from clsclip.evaluation.predictors import Logits
from clsclip.evaluation.protocol import Protocol
from clsclip_runtime.masks.confidence import confidence, lowered
from clsclip_runtime.masks.upsampling import logit, upsample

MASK_THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.025), 3)
PRESENCE_THRESHOLDS = np.round(np.arange(0.0, 0.985, 0.02), 2)
LEAST_CONFIDENCES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Counts:
    """What was counted of P (picture, word) pairs, at T mask thresholds.

    Attributes:
        words: (P,) class ids.
        shown: (P,) bool, whether the picture shows the word.
        presence: (P,) float64; NaN where the model gives none.
        hits: (P, T) pixels that are marked and are the class.
        marked: (P, T) pixels that are marked.
        true: (P,) pixels that are the class.
        images: how many there were.
        least_confidence: below it logits were lowered, see :mod:`clsclip_runtime.masks.confidence`.
    """

    words: Ints
    shown: NDArray[np.bool_]
    presence: NDArray[np.float64]
    hits: Ints
    marked: Ints
    true: Ints
    images: int
    least_confidence: float = 0.0


@dataclass(frozen=True)
class Point:
    """Thresholds and what they give.

    Attributes:
        mask: the probability that a pixel must exceed.
        presence: the presence that a word must have; 0 asks for none.
        iou: mean over the classes, percent, absent words counted.
        leakage: area marked by absent words / area marked by present ones; NaN where present ones marked nothing.
        present_kept: share of present words that presence lets through.
        absent_kept: share of absent words that it lets through; NaN where none was asked.
        least_confidence: below it logits are lowered; 0 for none.
    """

    mask: float
    presence: float
    iou: float
    leakage: float
    present_kept: float
    absent_kept: float
    least_confidence: float = 0.0


def count(
    fold: Fold,
    logits: Callable[[NDArray[np.uint8], list[str]], Logits],
    progress: Callable[[int, int], None],
    least: Sequence[float] = (0.0,),
) -> list[Counts]:
    """Segment every picture of the fold's test once.

    Args:
        fold: what is asked.
        logits: mask logits and presence of words in a picture.
        progress: told after every picture.
        least: confidences below which the logits are lowered here.

    Returns:
        What was counted, for each of ``least``.

    Raises:
        DataError: there is no picture.
    """
    steps = np.array([logit(float(one)) for one in MASK_THRESHOLDS], np.float32)
    words, shown, presence, true = [], [], [], []
    hits: list[list[Ints]] = [[] for _ in least]
    marked: list[list[Ints]] = [[] for _ in least]
    work = plan(fold, Protocol(None, every=True))
    for number, one in enumerate(work, 1):
        image = fold.test.image(one.index)
        asked = [class_id for class_id, _ in one.present]
        truths = [fold.test.mask(one.index, class_id) for class_id in asked]
        counted = truths[0] != IGNORE
        found = logits(image, [fold.test.classes[class_id] for class_id in (*asked, *one.absent)])
        for at, class_id in enumerate((*asked, *one.absent)):
            truth = truths[at] == 1 if at < len(asked) else np.zeros(counted.shape, np.bool_)
            words.append(class_id)
            shown.append(at < len(asked))
            presence.append(float("nan") if found.presence is None else float(found.presence[at]))
            own = found.logits[at][None]
            sure = float(confidence(own)[0])
            at_levels: dict[float, tuple[Ints, Ints]] = {}
            for level, own_marked, own_hits in zip(least, marked, hits, strict=True):
                key = level if level > sure else 0.0  # nothing is lowered
                if key not in at_levels:
                    values = upsample(lowered(own, key)[0], (image.shape[1], image.shape[0]))
                    at_levels[key] = above(values[counted], steps), above(values[counted & truth], steps)
                own_marked.append(at_levels[key][0])
                own_hits.append(at_levels[key][1])
            true.append(int(np.count_nonzero(counted & truth)))
        progress(number, len(work))
    if not words:
        raise DataError("There is no picture to fit thresholds on. Give data that show the words.")
    pairs = np.array(words), np.array(shown), np.array(presence)
    return [
        Counts(*pairs, np.stack(own_hits), np.stack(own_marked), np.array(true), len(work), level)
        for level, own_hits, own_marked in zip(least, hits, marked, strict=True)
    ]


def above(values: NDArray[np.float32], steps: NDArray[np.float32]) -> Ints:
    """How many of some values exceed each of T ascending steps, (T,)."""
    levels = np.bincount(np.searchsorted(steps, values, side="left"), minlength=len(steps) + 1)
    found: Ints = len(values) - np.cumsum(levels)[:-1]
    return found


def surface(counts: Counts) -> NDArray[np.float64]:
    """Mean IoU at every presence threshold and mask threshold, (S, T), percent."""
    rows = [_ious(counts, counts.presence >= one) for one in _presence_thresholds(counts)]
    return np.stack(rows)


def _presence_thresholds(counts: Counts) -> NDArray[np.float64]:
    """Those that make sense: none where the model gives no presence."""
    return PRESENCE_THRESHOLDS if np.isfinite(counts.presence).all() else PRESENCE_THRESHOLDS[:1]


def _ious(counts: Counts, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean IoU over the classes that some picture shows, at every mask threshold, (T,)."""
    kept = kept | ~np.isfinite(counts.presence)
    found = []
    for word in np.unique(counts.words[counts.shown]):
        own = counts.words == word
        hits = counts.hits[own & kept].sum(axis=0)
        union = counts.marked[own & kept].sum(axis=0) + counts.true[own].sum() - hits
        found.append(100.0 * hits / np.maximum(union, 1))
    mean: NDArray[np.float64] = np.mean(found, axis=0)
    return mean


def point(counts: Counts, mask: float, presence: float) -> Point:
    """What a pair of thresholds gives; a mask threshold between two that were counted is taken for the nearest."""
    at = int(np.argmin(np.abs(MASK_THRESHOLDS - mask)))
    kept = ~(counts.presence < presence)
    marked = counts.marked[:, at] * kept
    inside, outside = int(marked[counts.shown].sum()), int(marked[~counts.shown].sum())
    absent = kept[~counts.shown]
    return Point(
        mask=float(mask),
        presence=float(presence),
        iou=float(_ious(counts, kept)[at]),
        leakage=outside / inside if inside else float("nan"),
        present_kept=float(kept[counts.shown].mean()),
        absent_kept=float(absent.mean()) if len(absent) else float("nan"),
        least_confidence=counts.least_confidence,
    )


def leakages(counts: Counts) -> NDArray[np.float64]:
    """Leakage at every presence threshold and mask threshold, (S, T); infinity where present words mark nothing."""
    rows = []
    for threshold in _presence_thresholds(counts):
        kept = ~(counts.presence < threshold)
        inside = counts.marked[kept & counts.shown].sum(axis=0)
        outside = counts.marked[kept & ~counts.shown].sum(axis=0)
        rows.append(np.where(inside > 0, outside / np.maximum(inside, 1), np.inf))
    return np.stack(rows)


def best(counts: Counts, most_leakage: float | None = None) -> Point | None:
    """The thresholds with the largest mean IoU; of equal ones those nearest to the middle of their plateau.

    Args:
        counts: what was counted.
        most_leakage: leave out those at which absent words mark more, as in :class:`Point`; None leaves out none.

    Returns:
        None where every one marks more.
    """
    ious = surface(counts)
    if most_leakage is not None:
        ious[leakages(counts) > most_leakage] = -1.0
        if ious.max() < 0:
            return None
    rows, columns = np.nonzero(ious >= ious.max() - 1e-9)
    middle = np.median(rows), np.median(columns)
    nearest = int(np.argmin((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2))
    presence = float(_presence_thresholds(counts)[rows[nearest]])
    return point(counts, float(MASK_THRESHOLDS[columns[nearest]]), presence)


def sample(fold: Fold, most: int | None) -> Fold:
    """The fold with at most so many pictures in its test, chosen by their names: the same on every call."""
    if most is None:
        return fold
    images = sorted({index for index, _ in fold.test_pairs}, key=lambda one: zlib.crc32(fold.test.key(one).encode()))
    kept = set(images[:most])
    return Fold(
        fold.number,
        fold.train,
        fold.test,
        fold.seen,
        fold.novel,
        fold.train_pairs,
        tuple(pair for pair in fold.test_pairs if pair[0] in kept),
    )
