"""A server's application around a tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clsclip_runtime import Segmenter
from clsclip_serve.app import create_app
from clsclip_serve.options import ServerOptions
from clsclip_serve.service import Service
from tests.runtime.tiny_bundle import make_bundle
from tests.serve.chromium import CHROMIUM, chromium


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("serve") / "tiny.clsclip")


@pytest.fixture(scope="session")
def segmenter(bundle: Path) -> Iterator[Segmenter]:
    with Segmenter.load(bundle, "onnxruntime-cpu", threads=1, word_cache=False) as one:
        yield one


@pytest.fixture
def service(bundle: Path) -> Iterator[Service]:
    options = ServerOptions(max_upload_mb=0.2, max_words=5, images_mb=0.5)
    one = Service(Segmenter.load(bundle, "onnxruntime-cpu", threads=1, word_cache=False), options)
    yield one
    one.close()


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service), raise_server_exceptions=False) as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    pytest.importorskip("playwright.sync_api")
    with chromium() as one:
        yield one
