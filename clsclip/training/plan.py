"""Which pictures and words make up each step: a function of (seed, epoch, position) and of nothing else.

So the number of worker processes, of machines or of micro-batches never changes what is trained on, and a resumed
run needs no state of any random generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsclip.data.base import Fold
from clsclip.errors import DataError
from clsclip.training.config import TrainConfig

_ORDER, _BATCH, _ABSENT = 1, 2, 3  # streams of random numbers that must not be the same


@dataclass(frozen=True)
class Asked:
    """One picture of a step and what is asked of it.

    Attributes:
        image: index in the training data.
        flip: mirror it from left to right.
        present: class ids that it shows.
        absent: how many seen words that it does not show are asked too.
        stream: seed of the choice of those words, made where the picture is read.
    """

    image: int
    flip: bool
    present: tuple[int, ...]
    absent: int
    stream: tuple[int, ...]

    @property
    def pairs(self) -> int:
        """Number of (picture, word) pairs."""
        return len(self.present) + self.absent


class Plan:
    """The steps of a run.

    Args:
        fold: its ``train_pairs`` are asked once an epoch, but for those of an incomplete last step: other ones every
            epoch.
        config: batch, absent words, grouping, flips and seed.

    Raises:
        DataError: the fold has no training pairs, no seen class, or pairs that do not fit its pictures and classes.
    """

    def __init__(self, fold: Fold, config: TrainConfig) -> None:
        check_fold(fold)
        self.config = config
        self.pairs: NDArray[np.int64] = np.asarray(fold.train_pairs, dtype=np.int64)
        self.steps_per_epoch = max(1, len(self.pairs) // config.present_pairs)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Positions in ``train_pairs`` in the order of an epoch: shuffled, the words of one picture in groups."""
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.config.seed, _ORDER, epoch])
            shuffled = rng.permutation(len(self.pairs))
            size = self.config.words_per_picture
            if size > 1:
                by_image = shuffled[np.argsort(self.pairs[shuffled, 0], kind="stable")]
                images = self.pairs[by_image, 0]
                starts = np.flatnonzero(np.diff(images, prepend=-1))
                rank = np.arange(len(images)) - np.repeat(starts, np.diff(starts, append=len(images)))
                group = np.cumsum(rank % size == 0) - 1
                place = rng.permutation(int(group[-1]) + 1)
                shuffled = by_image[np.argsort(place[group], kind="stable")]
            self._order = (epoch, shuffled)
        return self._order[1]

    def step(self, step: int) -> list[Asked]:
        """What step ``step`` (counted from 0) asks; every picture stands in it once."""
        epoch, position = divmod(step, self.steps_per_epoch)
        size = self.config.present_pairs
        chosen = self.pairs[self.order(epoch)[position * size : (position + 1) * size]]
        present: dict[int, list[int]] = {}
        for image, word in chosen.tolist():
            present.setdefault(image, []).append(word)
        # A data set smaller than one step keeps the share of absent words.
        absent = round(self.config.absent_pairs * len(chosen) / size)
        rng = np.random.default_rng([self.config.seed, _BATCH, epoch, position])
        each, rest = divmod(absent, len(present))
        extra = rng.permutation(len(present)) < rest
        flips = rng.integers(0, 2, len(present)).astype(bool) & self.config.flip
        return [
            Asked(image, bool(flip), tuple(words), each + int(more), (self.config.seed, _ABSENT, epoch, position, at))
            for at, ((image, words), more, flip) in enumerate(zip(present.items(), extra, flips, strict=True))
        ]


def absent_words(asked: Asked, shown: tuple[int, ...], seen: tuple[int, ...]) -> list[int]:
    """Seen words that the picture does not show; fewer than asked for only where there are no more.

    Args:
        asked: the picture and how many words.
        shown: ids of all classes that it shows.
        seen: ids of the classes that training may know of.
    """
    hidden = sorted(set(seen) - set(shown) - set(asked.present))
    rng = np.random.default_rng(asked.stream)
    return [int(word) for word in rng.permutation(hidden)[: asked.absent]]


def share(asked: list[Asked], part: int, parts: int) -> list[Asked]:
    """Part ``part`` of ``parts`` of a step, of nearly as many pairs as the others; pictures are never divided."""
    ends = np.cumsum([one.pairs for one in asked])
    middles = ends - np.asarray([one.pairs for one in asked]) / 2
    mine = np.minimum((middles * parts / ends[-1]).astype(int), parts - 1) == part
    return [one for one, is_mine in zip(asked, mine, strict=True) if is_mine]


def check_fold(fold: Fold) -> None:
    """Refuse a fold that cannot be trained on; see :class:`Plan`."""
    if not fold.seen:
        raise DataError(f"The data {fold.train.name!r} has no seen class: there is no word to train on.")
    if not fold.train_pairs:
        of = "The data have" if fold.number < 0 else f"Fold {fold.number} of {fold.train.name!r} has"
        raise DataError(
            f"{of} no training pairs: none of the {len(fold.train):,} pictures has a pixel of a class that may "
            "be trained. See what was read: clsclip-data check FOLDER"
        )
    pairs = np.asarray(fold.train_pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise DataError("train_pairs must be (picture index, class id) pairs.")
    if pairs[:, 0].min() < 0 or pairs[:, 0].max() >= len(fold.train):
        raise DataError(f"train_pairs name pictures beyond the {len(fold.train)} that there are.")
    unseen = sorted(set(pairs[:, 1].tolist()) - set(fold.seen))
    if unseen:
        raise DataError(f"train_pairs ask for the classes {unseen[:5]}, which are not among the seen ones.")
