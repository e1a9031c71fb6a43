from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_bench.summary import summary

times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=300)


@given(seconds=times)
def test_percentiles_are_those_of_the_sorted_times(seconds: list[float]) -> None:
    found = summary(seconds)
    milliseconds = sorted(one * 1000 for one in seconds)
    assert found["calls"] == len(seconds)
    assert found["p50"] == pytest.approx(statistics.median(milliseconds), abs=1e-3)
    assert found["fastest"] == pytest.approx(milliseconds[0], abs=1e-3)
    assert found["mean"] == pytest.approx(statistics.fmean(milliseconds), rel=1e-6, abs=1e-3)
    for name, enough in (("p90", 10), ("p99", 100)):
        if len(seconds) < enough:
            assert found[name] is None
        else:
            cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
            assert found[name] == pytest.approx(cuts[int(name[1:]) - 1], rel=1e-6, abs=1e-3)


def test_one_slow_call_is_in_the_tail_and_not_in_the_median() -> None:
    found = summary([0.010] * 99 + [1.0])
    assert found["p50"] == found["p90"] == found["fastest"] == 10
    assert found["p99"] == pytest.approx(float(np.percentile([10] * 99 + [1000], 99)))
