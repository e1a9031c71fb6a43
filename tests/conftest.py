from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.manifest_schema import compare_always
from tests.skips import pytest_collectreport, pytest_runtest_logreport, pytest_sessionfinish, pytest_terminal_summary

__all__ = ["pytest_collectreport", "pytest_runtest_logreport", "pytest_sessionfinish", "pytest_terminal_summary"]

LONG = Path(__file__).with_name("long_tests.txt")

# Before PyTorch is imported: models of tests are so small that its second thread nearly doubles their time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("shared-machine", deadline=None, derandomize=False)  # in CI too
settings.load_profile("shared-machine")
compare_always()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is listed as long: files whose tests share what takes long, and tests with all their parameters."""
    lines = [line.split(" | ")[1] for line in LONG.read_text("utf-8").splitlines() if not line.startswith("#")]
    names = {tuple(line.split("::")) for line in lines}
    for item in items:
        path = item.path.relative_to(LONG.parent.parent).as_posix()
        if (path,) in names or (path, getattr(item, "originalname", item.name)) in names:
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True, scope="session")
def no_words_on_disk() -> Iterator[None]:
    """Tests leave the user's cache alone, and count every word that is encoded; subprocesses inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLSCLIP_CACHE", "off")
        yield


@pytest.fixture
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's cache of the test's own: engines, and where towers lie."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLSCLIP_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def sticker_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import draw_stickers

    return draw_stickers(tmp_path_factory.mktemp("stickers"))
