"""Which words a test asks: the held-out ones, the trained ones, or both."""

from __future__ import annotations

from dataclasses import replace

from clsclip.data.base import Fold
from clsclip.errors import DataError

GROUPS = ("novel", "seen", "all")
"""The held-out words (the zero-shot test), the trained words, and both."""


def asking(fold: Fold, group: str) -> Fold:
    """Return the fold's test with another group of words asked.

    Args:
        fold: as opened.
        group: one of :data:`GROUPS`; "novel" is the fold as it is.

    Raises:
        DataError: there is no such group.
    """
    if group == "novel":
        return fold
    if group not in GROUPS:
        raise DataError(f"There is no group of words {group!r}. Choose one of: {', '.join(GROUPS)}.")
    classes = fold.seen if group == "seen" else tuple(sorted({*fold.seen, *fold.novel}))
    wanted = set(classes)
    pairs = tuple((index, one) for index in range(len(fold.test)) for one in fold.test.shown(index) if one in wanted)
    return replace(fold, novel=classes, test_pairs=pairs)
