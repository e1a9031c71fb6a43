"""A made-up GPU and TensorRT on it."""

from __future__ import annotations

import pytest

from clsclip_runtime.backends.tensorrt.backend import TensorRt
from tests.runtime.backends.fakes import MACHINE, FakeCuda, FakeTensorRt


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def fake(cuda: FakeCuda) -> FakeTensorRt:
    return FakeTensorRt(cuda)


@pytest.fixture
def backend(fake: FakeTensorRt, cuda: FakeCuda) -> TensorRt:
    return TensorRt(fake.edition(), cuda=cuda, machine=MACHINE)
