from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cpp.parts import Parts, build


@pytest.fixture(scope="session")
def parts() -> Iterator[Parts]:
    """The parts of the C++ runtime."""
    running = Parts(build())
    yield running
    running.close()
