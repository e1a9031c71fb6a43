"""The test: a fold, something that draws masks, a protocol; out comes a report.

Beside the customary figures every report has two that show whether the word matters: leakage and which-word mIoU. For
leakage, each picture is also asked for as many of the fold's test words that it does not show; which ones is drawn
from the picture's name, so that every model is asked the same. (A picture that misses fewer test words than it shows
counts as many present words as absent ones.)
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsclip.data.base import IGNORE, Fold, possible
from clsclip.errors import DataError
from clsclip.evaluation.metric import Scores
from clsclip.evaluation.predictors import Prediction, Predictor
from clsclip.evaluation.protocol import Protocol
from clsclip.evaluation.regions import RegionSource, boxes_as_masks, zoom_in
from clsclip_runtime.paths import plain
from clsclip_runtime.regions import Proposals, ZoomIn

_NAN = float("nan")

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


@dataclass(frozen=True)
class Method:
    """What draws the masks.

    Attributes:
        predictor: draws masks of words; None takes the regions' boxes alone as masks.
        regions: ClsCLIP+: where regions come from; None looks at whole pictures.
        zoom: how regions are cropped, and what a word without one gets.
    """

    predictor: Predictor | None
    regions: RegionSource | None = None
    zoom: ZoomIn = field(default_factory=ZoomIn)

    @property
    def name(self) -> str:
        """For tables."""
        parts = [self.predictor.name] if self.predictor else []
        if self.regions:
            parts.append(self.regions.name + ("" if self.predictor else " alone as masks"))
        return " + ".join(parts)


@dataclass(frozen=True)
class Work:
    """One picture of a test.

    Attributes:
        index: the picture in the test's data.
        present: (class id, episodes that it stands for) of the classes asked.
        absent: ids of classes asked that the picture does not show.
    """

    index: int
    present: tuple[tuple[int, int], ...]
    absent: tuple[int, ...]


@dataclass(frozen=True)
class ClassResult:
    """One class of a report.

    Attributes:
        word: that was asked.
        iou: percent; NaN without episodes.
        episodes: how many.
        precision: share of the marked pixels that are the class, percent; NaN where nothing was marked.
        recall: share of the class's pixels that were marked, percent.
        leakage: mean area marked in a picture without it / mean area marked in a picture with it.
    """

    word: str
    iou: float
    episodes: int
    precision: float = _NAN
    recall: float = _NAN
    leakage: float = _NAN


@dataclass(frozen=True)
class Report:
    """What a test found. IoU in percent; NaN where nothing was counted.

    Attributes:
        data: kind of data.
        fold: its number; -1 without folds.
        method: what drew the masks.
        protocol: in words.
        classes: every class of the test.
        miou: mean foreground IoU over the classes.
        fb_iou: mean of pooled foreground and pooled background IoU.
        leakage: area marked by absent words / area marked by present words.
        which_word: mIoU over pictures that are asked for two or more classes.
        episodes: number of episodes.
        pairs: number of different (picture, class) pairs.
        images: number of pictures.
        seconds: time it took.
        notes: what is to be said about the figures.
        precision: mean over the classes; see :class:`ClassResult`.
        recall: likewise.
        own: whether the data are of the user's own, and no benchmark.
    """

    data: str
    fold: int
    method: str
    protocol: str
    classes: tuple[ClassResult, ...]
    miou: float
    fb_iou: float
    leakage: float
    which_word: float
    episodes: int
    pairs: int
    images: int
    seconds: float
    notes: tuple[str, ...] = field(default=())
    precision: float = _NAN
    recall: float = _NAN
    own: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON types; NaN becomes null."""
        document: dict[str, Any] = plain(asdict(self))
        document["pictures"] = document.pop("images")
        return document


def plan(fold: Fold, protocol: Protocol, *, absent: bool = True, limit: int | None = None) -> list[Work]:
    """The pictures to run, in the order of the test's pairs.

    Args:
        fold: what is asked.
        protocol: how often every pair counts.
        absent: also ask for absent words, for leakage.
        limit: run only so many pictures, the first ones.
    """
    asked: dict[int, list[tuple[int, int]]] = {}
    for (index, class_id), weight in protocol.weights(fold).items():
        asked.setdefault(index, []).append((class_id, weight))
    chosen = list(asked.items())[:limit]
    return [
        Work(index, tuple(present), absent_words(fold, index, len(present)) if absent else ())
        for index, present in chosen
    ]


def absent_words(fold: Fold, index: int, count: int) -> tuple[int, ...]:
    """``count`` test classes that a picture does not show, or as many as there are; the same on every call."""
    shown = possible(fold.test, index)
    others = [one for one in fold.novel if one not in shown]
    rng = np.random.default_rng(zlib.crc32(fold.test.key(index).encode()))
    return tuple(others[int(at)] for at in rng.permutation(len(others))[:count])


def score(
    fold: Fold,
    method: Method,
    protocol: Protocol,
    work: Iterable[Work],
    progress: Progress | None = None,
    passed_over: list[str] | None = None,
) -> Scores:
    """Pixel counts over some pictures; parts of a plan can be run apart and added.

    Pictures that cannot be read are added to ``passed_over``; without such a list they end it with a DataError.
    """
    scores = Scores(len(fold.test.classes))
    images = list(work)
    for number, one in enumerate(images, start=1):
        try:
            _score_image(fold, method, protocol, one, scores)
        except DataError as error:
            if passed_over is None:
                raise
            passed_over.append(str(error))
        if progress is not None:
            progress(number, len(images))
    return scores


def evaluate(
    fold: Fold,
    method: Method,
    protocol: Protocol | None = None,
    *,
    absent: bool = True,
    limit: int | None = None,
    progress: Progress | None = None,
    strict: bool = True,
) -> Report:
    """Run a test.

    Args:
        fold: what is asked.
        method: what draws the masks.
        protocol: sizes and episodes; None is the pictures' own sizes and the customary 1000 episodes.
        absent: also ask for absent words, for leakage; costs as many words again.
        limit: run only so many pictures; the report says so.
        progress: told after every picture.
        strict: False passes over pictures that cannot be read; the report says how many.

    Raises:
        DataError: a picture or mask cannot be read.
    """
    protocol = protocol or Protocol()
    start = time.perf_counter()
    work = plan(fold, protocol, absent=absent, limit=limit)
    passed_over: list[str] = []
    scores = score(fold, method, protocol, work, progress, None if strict else passed_over)
    found = report(fold, method, protocol, work, scores, time.perf_counter() - start, limit)
    if not passed_over:
        return found
    note = f"{len(passed_over)} of {len(work)} pictures could not be read: {passed_over[0]}"
    return replace(found, notes=(*found.notes, note))


def report(
    fold: Fold,
    method: Method,
    protocol: Protocol,
    work: Sequence[Work],
    scores: Scores,
    seconds: float,
    limit: int | None = None,
) -> Report:
    """The report of counts."""
    notes = []
    if limit is not None and len(work) == limit:
        notes.append(f"only the first {limit} pictures: not the customary test")
    unasked = [fold.test.classes[one] for one in fold.novel if not scores.episodes[one]]
    if unasked:
        notes.append(f"without episodes, so not in the means: {', '.join(unasked)}")
    return Report(
        data=fold.test.name,
        fold=fold.number,
        method=method.name,
        protocol=protocol.describe(fold),
        classes=tuple(_class_result(fold, scores, one) for one in fold.novel),
        miou=scores.miou,
        fb_iou=scores.fb_iou,
        leakage=scores.leakage,
        which_word=scores.which_word,
        episodes=int(scores.episodes.sum()),
        pairs=sum(len(one.present) for one in work),
        images=len(work),
        seconds=seconds,
        notes=tuple(notes),
        precision=scores.precision(),
        recall=scores.recall(),
        own=fold.number < 0 and fold.test.name != "stickers",
    )


def _class_result(fold: Fold, scores: Scores, one: int) -> ClassResult:
    return ClassResult(
        fold.test.classes[one],
        scores.iou(one),
        int(scores.episodes[one]),
        scores.precision(one),
        scores.recall(one),
        scores.leakage_of(one),
    )


def predict(
    fold: Fold, method: Method, protocol: Protocol, index: int, present: Sequence[int], absent: Sequence[int] = ()
) -> tuple[Prediction, list[NDArray[np.uint8]]]:
    """Masks of one picture for present and absent classes, and the true masks of the present ones.

    Both are of the protocol's size.
    """
    data = fold.test
    original = data.image(index)
    truths = [data.mask(index, class_id) for class_id in present]
    words = [data.classes[class_id] for class_id in (*present, *absent)]
    image = protocol.image(original)
    if method.regions is not None:
        # Regions belong to the picture as it is, whatever the size at which masks are compared.
        known = {data.classes[class_id]: truth for class_id, truth in zip(present, truths, strict=True)}
        height, width = original.shape[:2]
        proposals = method.regions.find(data.key(index), original, known)
        moved = replace(proposals, boxes=protocol.boxes(proposals.boxes, (width, height)))
        found = _in_regions(method, image, words, moved)
    elif method.predictor is not None:
        found = method.predictor.predict(image, words)
    else:
        raise ValueError("a method needs a predictor, regions, or both")
    return found, [protocol.mask(truth) for truth in truths]


def _in_regions(method: Method, image: NDArray[np.uint8], words: Sequence[str], proposals: Proposals) -> Prediction:
    if method.predictor is None:
        return boxes_as_masks(image, words, proposals)
    return zoom_in(method.predictor, image, words, proposals, method.zoom)


def _score_image(fold: Fold, method: Method, protocol: Protocol, work: Work, scores: Scores) -> None:
    present = [class_id for class_id, _ in work.present]
    found, truths = predict(fold, method, protocol, work.index, present, work.absent)
    for (class_id, weight), mask, truth in zip(work.present, found.masks, truths, strict=False):
        scores.add_episode(class_id, mask, truth, weight, in_several=len(present) > 1)
    counted = truths[0] != IGNORE
    pairs = len(work.absent)
    marked = [int(np.count_nonzero(mask & counted)) for mask in found.masks]
    for class_id, area in zip((*present, *work.absent), marked, strict=True):
        scores.add_area(class_id, area, present=class_id in present)
    scores.add_marked(sum(marked[:pairs]), sum(marked[len(present) :]))


def mean_of(reports: Sequence[Report]) -> dict[str, float]:
    """Mean of the folds' figures, fold by fold as papers do; NaN where no fold has a figure."""
    names = ("miou", "fb_iou", "leakage", "which_word")
    means = {}
    for name in names:
        values = [value for value in (getattr(one, name) for one in reports) if value == value]
        means[name] = sum(values) / len(values) if values else float("nan")
    return means
