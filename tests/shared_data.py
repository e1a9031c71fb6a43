"""Where real data lies, for tests that skip without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(*parts: str) -> Path:
    """A path below the folder of real data: CLSCLIP_TEST_DATA, or shared/data beside the checkout; skips without."""
    root = Path(os.environ.get("CLSCLIP_TEST_DATA", _BESIDE))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data are not here: {path} (set CLSCLIP_TEST_DATA to their folder)")
    return path
