"""Stops at random moments, see :mod:`tests.clsclip.training.kills`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.clsclip.training.kills import campaign


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_thirty_stops(tmp_path: Path) -> None:
    report = campaign(30, 1, tmp_path)
    assert not report.faults, str(report)
    assert sum(report.stops.values()) == 30 and report.ends >= 1
