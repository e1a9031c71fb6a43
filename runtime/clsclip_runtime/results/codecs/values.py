"""Numbers of annotations, checked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from clsclip_runtime._types import Doubles, Integers
from clsclip_runtime.errors import AnnotationError

_LARGEST = 2**53
"""Whole numbers up to here are exact where JSON's numbers are read as floats."""


def whole(value: object, what: str) -> int:
    """A whole number that may be written as a float, as ``64.0``. AnnotationError for everything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST:
        raise AnnotationError(f"{what} must be a whole number, and it is {shown(value)}")
    return value


def wholes(values: object, what: str) -> Integers:
    """(n,) int64 of a list of whole numbers of 0 or more. AnnotationError for everything else."""
    numbers = doubles(values, what)
    if len(numbers) and (numbers.min() < 0 or numbers.max() > _LARGEST or (numbers != np.floor(numbers)).any()):
        raise AnnotationError(f"{what} must be whole numbers of 0 or more")
    return numbers.astype(np.int64)


def doubles(values: object, what: str) -> Doubles:
    """(n,) float64 of a list of finite numbers. AnnotationError for everything else."""
    if not isinstance(values, (list, tuple)):
        raise AnnotationError(f"{what} must be a list of numbers, and it is {shown(values)}")
    if not {int, float}.issuperset(map(type, values)):
        wrong = next(one for one in values if type(one) not in (int, float))
        raise AnnotationError(f"{what} must be numbers, and one is {shown(wrong)}")
    try:
        numbers = np.array(values, np.float64).reshape(-1)
    except OverflowError:
        raise AnnotationError(f"{what} holds a number that is too large") from None
    if not np.isfinite(numbers).all():
        raise AnnotationError(f"{what} holds a number that is not finite")
    return numbers


def flattened(values: Any) -> Any:
    """A list of pairs as one list; every other value as it is."""
    pairs = isinstance(values, Sequence) and values and all(isinstance(one, (list, tuple)) for one in values)
    return list(chain.from_iterable(values)) if pairs and not isinstance(values, str) else values


def shown(value: object) -> str:
    """A value, short enough for a message."""
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    try:
        text = ascii(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        return "a number of very many digits"
    return text if len(text) <= 40 else text[:37] + "..."
