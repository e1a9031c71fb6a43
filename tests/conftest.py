from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


@pytest.fixture(scope="session")
def sticker_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import draw_stickers

    return draw_stickers(tmp_path_factory.mktemp("stickers"))
