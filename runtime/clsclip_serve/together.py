"""Calls that several requests or images share, in which none fails another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def together(batch: Callable[[], Iterable[T | Exception]], alone: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Results, or errors, of several: by one call, or one by one where that fails as a whole.

    Args:
        batch: does all; gives a result or an error for each.
        alone: does each by itself. One alone needs no batch.
    """
    if len(alone) > 1:
        found = caught(lambda: list(batch()))
        if not isinstance(found, Exception):  # else each tells its own below, if it is the one that has one
            return found
    return [caught(one) for one in alone]


def caught(run: Callable[[], T]) -> T | Exception:
    """What ``run`` gives, or the error that it ends with."""
    try:
        return run()
    except Exception as error:
        return error
