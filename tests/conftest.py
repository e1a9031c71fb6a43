from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.manifest_schema import compare_always

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
compare_always()


@pytest.fixture(scope="session", autouse=True)
def auto_without_openvino() -> Iterator[None]:
    """``auto`` takes what every installation has: OpenVINO, which takes long to load, has tests of its own."""
    from clsclip_runtime.backends import select

    reason = "these tests leave it out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select, "passed_over", lambda name: reason if name == "openvino" else None)
        yield


@pytest.fixture
def auto_with_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` tries OpenVINO, on any processor."""
    from clsclip_runtime.backends import select

    monkeypatch.setattr(select, "passed_over", lambda name: None)


@pytest.fixture(autouse=True, scope="session")
def no_words_on_disk() -> Iterator[None]:
    """Tests leave the user's cache alone, and count every word that is encoded; subprocesses inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLSCLIP_CACHE", "off")
        yield


@pytest.fixture(scope="session")
def sticker_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import draw_stickers

    return draw_stickers(tmp_path_factory.mktemp("stickers"))
