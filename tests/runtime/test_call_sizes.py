"""How many pairs go into a call of the trunk: as many as fit, and as many as are fast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime import Bundle, Segmenter
from clsclip_runtime.backends.select import select_backend
from clsclip_runtime.isolated.backend import IsolatedBackend, Isolation
from clsclip_runtime.limits import Limits
from clsclip_runtime.protocols import PROCESSOR_MB
from tests.runtime.test_segmenter import CountingBackend

PAIR_MB = 3


@pytest.mark.parametrize(
    ("fast_mb", "limits", "largest"),
    [
        (None, Limits(), 50),
        (63, Limits(), 21),
        (1, Limits(), 16),
        (63, Limits(memory_mb=9), 3),
        (63, Limits(pairs_per_call=11), 11),
        (1, Limits(pairs_per_call=30), 30),
    ],
)
def test_calls_are_no_larger_than_is_fast(
    bundle: Path, scene: npt.NDArray[np.uint8], fast_mb: int | None, limits: Limits, largest: int
) -> None:
    """An engine says from how many MiB on a call of more than 16 pairs gets slower. A stated number of pairs wins."""
    opened = Bundle.open(bundle)
    memory = replace(opened.manifest.memory, pair_bytes=PAIR_MB << 20)
    opened = replace(opened, manifest=replace(opened.manifest, memory=memory))
    backend = CountingBackend()
    backend.fast_mb = fast_mb
    boxes = np.tile(np.array([[4, 4, 20, 16]], np.float32), (25, 1))
    result = Segmenter(opened, backend, limits=limits)(scene, ["red", "green"], regions=boxes, presence_threshold=0)
    assert len(result.pairs) == 50
    assert (backend.largest["trunk"], backend.calls["trunk"]) == (largest, -(-50 // largest))


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino"])
def test_engines_of_processors_say_what_is_fast(bundle: Path, name: str) -> None:
    assert getattr(select_backend(name), "fast_mb", None) == PROCESSOR_MB
    isolated = IsolatedBackend(Bundle.open(bundle), name, 1, {}, isolation=Isolation())
    assert isolated.fast_mb == PROCESSOR_MB
    isolated.close()
