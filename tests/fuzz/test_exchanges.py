"""A few exchanges, and what the campaign itself would notice."""

from __future__ import annotations

import pytest

from tests.fuzz.exchanges import campaign, judged


@pytest.mark.slow
def test_a_few_exchanges() -> None:
    report = campaign("onnxruntime-cpu", 8, seed=5)
    assert report.faults == []
    assert sum(report.outcomes.values()) == 8


def test_wrong_masks_signals_and_foreign_errors_are_faults() -> None:
    wanted = ["a", "a"]
    assert judged({"masks": ["a", "a"], "loading_s": 1}, wanted) == ("right", "")
    assert judged({"refused": "damaged"}, wanted) == ("refused", "")
    for outcome in ({"masks": ["a", "b"]}, {"ended": -7}, {"raised": "ValueError"}):
        kind, fault = judged(outcome, wanted)
        assert kind == "fault"
        assert fault
