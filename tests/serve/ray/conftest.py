"""A Ray cluster on this machine, that nobody else reaches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs Ray where it is not installed; modules import it late."""
    if find_spec("ray") is None:
        for item in items:
            if "tests/serve/ray/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason="ray is not here"))


os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # of a busy machine


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=300 << 20, log_to_driver=False)
    yield
    ray.shutdown()
