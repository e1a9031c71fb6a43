"""CVAT's own command against a server that answers as CVAT does: the masks that it uploads are ``Result.mask``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import Segmenter
from tests.serve.cvat_stub import CvatStub

EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = ["dog", "boat"]
CLI = shutil.which("cvat-cli", path=str(Path(sys.executable).parent))


@pytest.fixture
def stub() -> Iterator[CvatStub]:
    sdk = pytest.importorskip("cvat_sdk")
    frames = [Image.open(EXAMPLES / name).convert("RGB") for name in ("cluttered.png", "tiny.png")]
    one = CvatStub(frames, WORDS, sdk.__version__ if hasattr(sdk, "__version__") else "2.80.0")
    yield one
    one.close()


def annotate(stub: CvatStub, *options: str) -> subprocess.CompletedProcess[str]:
    if CLI is None:
        pytest.skip("cvat-cli is not installed: it needs Python 3.11")
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [
            *(CLI, "--server-host", stub.address, "task", "auto-annotate", "1"),
            *("--function-module", "clsclip_serve.cvat", "-p", "backend=str:onnxruntime-cpu", *options),
        ],
        capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"CVAT_ACCESS_TOKEN": "token", "PYTHONPATH": paths},
    )  # fmt: skip


@pytest.mark.slow
def test_masks_are_the_runtimes(stub: CvatStub) -> None:
    done = annotate(stub, "-p", "classes=str:dog,boat")
    assert done.returncode == 0, done.stderr
    from cvat_sdk.masks import decode_mask

    found: dict[tuple[int, int], Any] = {}
    for shape in stub.shapes:
        frame = stub.frames[shape["frame"]]
        mask = decode_mask(shape["points"], image_width=frame.width, image_height=frame.height)
        found[shape["frame"], shape["label_id"]] = mask
    with Segmenter.load(backend="onnxruntime-cpu") as segmenter:
        for at, frame in enumerate(stub.frames):
            for one in segmenter(frame, WORDS):
                mask = found.pop((at, one.index + 1), None)
                assert (mask is not None) == bool(one.area)
                if mask is not None:
                    assert np.array_equal(mask, one.mask)
    assert found == {}


@pytest.mark.slow
def test_outlines_where_cvat_wants_polygons(stub: CvatStub) -> None:
    done = annotate(stub, "-p", "classes=str:dog", "--conv-mask-to-poly", "--allow-unmatched-labels")
    assert done.returncode == 0, done.stderr
    assert {shape["type"] for shape in stub.shapes} == {"polygon"}


@pytest.mark.slow
def test_a_function_without_words_says_so(stub: CvatStub) -> None:
    done = annotate(stub, "-p", "classes=str:")
    assert done.returncode != 0
    assert "word" in done.stderr
    assert stub.shapes == []
