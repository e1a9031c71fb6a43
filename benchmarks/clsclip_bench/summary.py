"""Percentiles of measured times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

ENOUGH = {"p90": 10, "p99": 100}
"""Calls below which a percentile would be nothing but the slowest call, and is not stated."""


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Milliseconds: median, 90th and 99th percentile (linear between two calls), mean, fastest; and how many calls.

    Args:
        seconds: of every call, at least one.
    """
    times = np.asarray(seconds, np.float64) * 1000
    p50, p90, p99 = (float(np.percentile(times, percent)) for percent in (50, 90, 99))
    return {
        "p50": round(p50, 4),
        "p90": round(p90, 4) if len(times) >= ENOUGH["p90"] else None,
        "p99": round(p99, 4) if len(times) >= ENOUGH["p99"] else None,
        "mean": round(float(times.mean()), 4),
        "fastest": round(float(times.min()), 4),
        "calls": len(times),
    }
