"""A made-up GPU and TensorRT on it."""

from __future__ import annotations

import pytest

from clsclip_runtime.backends.tensorrt.backend import TensorRt
from clsclip_runtime.inference import model
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


@pytest.fixture
def only_image_features_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features stay on the GPU unseen from 64 KiB on; here from 13 bytes, so that the tiny ones do."""
    monkeypatch.setattr(model, "_CHECKED_BYTES", 12)
