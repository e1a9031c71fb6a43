"""Checks of the numbers and names that users and files give."""

from __future__ import annotations

import unicodedata
from typing import Any, TypeVar

import numpy as np

from clsclip_runtime.errors import OptionError

_T = TypeVar("_T")


def number_in(option: str, value: Any, low: float, high: float) -> float:
    """``value`` as a float; OptionError unless it is a number from ``low`` to ``high``."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, (bool, np.timedelta64)
    )
    if not is_number or not low <= value <= high:
        raise OptionError(f"{option} must be a number from {low:g} to {high:g}, and it is {value!r}")
    return float(value)


def instance_of(option: str, value: Any, kind: type[_T], instead: str) -> _T:
    """``value``, which must be of a class of ours.

    Args:
        option: its name.
        value: what was given.
        kind: the class.
        instead: what to give, a sentence.

    Raises:
        OptionError: it is something else.
    """
    if not isinstance(value, kind):
        raise OptionError(f"{option} must be {kind.__name__}, and it is {type(value).__name__}. {instead}")
    return value


def is_name(text: str, most: int) -> bool:
    """Whether a text can name something: not blank, without control characters and line breaks, not too long.

    Other characters that have no shape may be in it: Persian, Hindi and emoji are written with some, and new emoji are
    unknown to an old Python. What is printed goes through ``errors.printable``.

    Args:
        text: it.
        most: characters.
    """
    fine = bool(text.strip()) and len(text) <= most
    return fine and not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in text)
