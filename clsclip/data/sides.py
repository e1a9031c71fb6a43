"""Data of one's own as a fold: who is trained on, who is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clsclip.data.base import Fold, MaskDataset
from clsclip.errors import DataError
from clsclip_runtime.errors import WordError
from clsclip_runtime.text.words import clean_word


def shared_out(
    classes: Sequence[str], novel: Sequence[str] | None, where: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids of the classes to train on, and of those that a test asks for.

    Args:
        classes: all words.
        novel: those held out of training; None trains on all and asks for all.
        where: what lists the classes, for messages.

    Raises:
        DataError: a novel word is not among them.
    """
    if not novel:
        return tuple(range(len(classes))), tuple(range(len(classes)))
    try:
        words = [word if word in classes else clean_word(word) for word in novel]
    except WordError as error:
        raise DataError(f"{error}.") from error
    for word in words:
        if word not in classes:
            raise DataError(f"{word!r} is not in {where}; it has: {', '.join(classes)}.")
    held_out = tuple(sorted({list(classes).index(word) for word in words}))
    return tuple(one for one in range(len(classes)) if one not in held_out), held_out


def fold_of(train: MaskDataset, test: MaskDataset, seen: tuple[int, ...], held_out: tuple[int, ...]) -> Fold:
    """A fold without number: every class that a picture shows is a pair, where it is trained or asked for."""

    def pairs(data: MaskDataset, allowed: Iterable[int]) -> tuple[tuple[int, int], ...]:
        wanted = set(allowed)
        return tuple((index, one) for index in range(len(data)) for one in data.shown(index) if one in wanted)

    return Fold(-1, train, test, seen, held_out, pairs(train, seen), pairs(test, held_out))
