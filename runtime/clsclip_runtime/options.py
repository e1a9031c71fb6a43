"""Checks of the numbers that users give."""

from __future__ import annotations

from typing import Any

import numpy as np

from clsclip_runtime.errors import OptionError


def number_in(option: str, value: Any, low: float, high: float) -> float:
    """``value`` as a float; OptionError unless it is a number from ``low`` to ``high``."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, (bool, np.timedelta64)
    )
    if not is_number or not low <= value <= high:
        raise OptionError(f"{option} must be a number from {low:g} to {high:g}, and it is {value!r}")
    return float(value)
