"""A small CLIP that open_clip knows by name."""

from __future__ import annotations

from typing import Any

import pytest

from tests import weights


@pytest.fixture(scope="module", autouse=True)
def known(tmp_path_factory: pytest.TempPathFactory) -> None:
    weights.register(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def clip() -> Any:
    return weights.clip()
