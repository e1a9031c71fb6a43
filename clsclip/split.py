"""Pictures kept back for validation, where the data bring no list of their own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from clsclip.data.base import Fold
from clsclip.data.groups import asking


@dataclass(frozen=True)
class Split:
    """What is trained on, and what is validated on.

    Attributes:
        training: the fold, its training pairs without those of validation pictures.
        validation: asks the seen words of pictures that are not trained on; None for no validation.
        told: in words.
    """

    training: Fold
    validation: Fold | None
    told: str


def split(fold: Fold, share: float | None, seed: int, *, own: bool) -> Split:
    """Choose the pictures of validation.

    Args:
        fold: as opened; of one's own data with both sides.
        share: of the training pictures; None is a tenth of one's own data where these bring no list of their own, and
            nothing of a benchmark, whose protocol says what is trained on.
        seed: of the choice.
        own: data of one's own: a test side of their own is their validation, and what is in it is not trained on.
    """
    trained = {index for index, _ in fold.train_pairs}
    listed = {fold.test.key(index) for index in range(len(fold.test))} if own else set()
    twice = {index for index in trained if fold.train.key(index) in listed}
    if listed and share is None and len(twice) < len(trained):
        found = asking(fold, "seen")
        images = {index for index, _ in found.test_pairs}
        told = f"validation: {len(images)} pictures, by the data's own list"
        told = told if images else "no validation: no picture of the data's own list shows a class"
        if twice:
            told += f"; {len(twice)} of the training list are in it too, and are not trained on"
            fold = replace(fold, train_pairs=tuple(pair for pair in fold.train_pairs if pair[0] not in twice))
        return Split(fold, found if images else None, told)
    share = (0.1 if own else 0.0) if share is None else share
    if not share:
        return Split(fold, None, "no validation")
    chosen = held_back(fold, share, seed)
    if not chosen:
        return Split(fold, None, "no validation: there are too few pictures to keep some back")
    pairs = fold.train_pairs
    training = replace(fold, train_pairs=tuple(pair for pair in pairs if pair[0] not in chosen))
    validation = replace(
        fold, test=fold.train, novel=fold.seen, test_pairs=tuple(pair for pair in pairs if pair[0] in chosen)
    )
    told = f"validation: {len(chosen)} of {len(trained)} pictures, chosen by seed {seed} and not trained on"
    return Split(training, validation, told)


def held_back(fold: Fold, share: float, seed: int) -> set[int]:
    """Indices of training pictures to keep back; no class loses its last picture."""
    shown: dict[int, list[int]] = {}
    for index, word in fold.train_pairs:
        shown.setdefault(index, []).append(word)
    left = Counter(word for _, word in fold.train_pairs)
    wanted = max(1, round(share * len(shown)))
    chosen: set[int] = set()
    order = sorted(shown, key=fold.train.key)
    for at in np.random.default_rng([seed, 4]).permutation(len(order)).tolist():
        words = shown[order[at]]
        if len(chosen) < wanted and all(left[word] > 1 for word in words):
            chosen.add(order[at])
            left.subtract(words)
    return chosen
