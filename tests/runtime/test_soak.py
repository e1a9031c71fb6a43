"""Loading and closing a model again and again takes no more memory."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

CYCLES, WARM, GROWTH = 60, 10, 20

LOADS = """
import gc, sys
import numpy as np
from clsclip_runtime import Segmenter
backend, cycles, warm = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
resident = []
for _ in range(cycles):
    with Segmenter.load(backend=backend, threads=1) as segmenter:
        segmenter(picture, ["dog"])
    gc.collect()
    with open("/proc/self/statm") as file:
        resident.append(int(file.read().split()[1]) * 4096 >> 20)
print(max(resident[warm:]) - max(resident[:warm]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
@pytest.mark.parametrize("backend", ["onnxruntime-cpu", "openvino"])
def test_loads_and_closes_do_not_grow(backend: str) -> None:
    if backend == "openvino" and find_spec("openvino") is None:
        pytest.skip("openvino is not installed: pip install openvino")
    command = [sys.executable, "-c", LOADS, backend, str(CYCLES), str(WARM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert int(done.stdout) <= GROWTH, "MiB"
