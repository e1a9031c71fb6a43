"""The engine's part of a call: every graph that runs is seen, whatever way an engine loads it."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clsclip_bench.engine_time import EngineClock
from clsclip_bench.ours import SPELLINGS, device_of, parse_backend
from clsclip_runtime.backends.select import select_backend
from clsclip_runtime.errors import BackendError
from clsclip_runtime.segmenter import Segmenter
from tests.runtime.tiny_bundle import make_bundle


@pytest.mark.parametrize("spelling", [one for one in SPELLINGS if device_of(one) == "cpu"])
def test_graphs_of_every_engine_are_timed(tmp_path: Path, spelling: str) -> None:
    name, options = parse_backend(spelling)
    try:
        engine = select_backend(name, options=options)
    except BackendError as error:
        pytest.skip(str(error))
    clock = EngineClock()
    with Segmenter.load(make_bundle(tmp_path / "tiny.clsclip"), clock.watch(engine), word_cache=False) as segmenter:
        clock.take()
        start = time.perf_counter()
        segmenter(np.zeros((32, 32, 3), np.uint8), ["red", "green"], presence_threshold=0)
        whole, seconds = time.perf_counter() - start, clock.take()
    assert seconds.keys() == {"image_encoder.onnx", "presence.onnx", "text_encoder.onnx", "trunk.onnx"}
    assert all(one > 0 for one in seconds.values()) and sum(seconds.values()) <= whole


def test_methods_that_are_none_are_not_made() -> None:
    """Who asks whether an engine loads in two steps gets the answer of the engine itself."""
    engine: Any = SimpleNamespace(name="in one step", load=lambda file: file)
    assert not hasattr(EngineClock().watch(engine), "read")
