from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime import OptionError, Segmenter
from clsclip_runtime.limits import Limits
from tests.runtime.reading import segmented
from tests.runtime.tiny_bundle import make_bundle

PEAK = """
import json, sys
import numpy as np
from clsclip_runtime import Limits, Segmenter
from clsclip_runtime.system import peak_memory

folder, memory_mb, count, width, height = sys.argv[1], *map(int, sys.argv[2:])
picture = np.zeros((height, width, 3), np.uint8)
picture[: height // 2, :, 0] = 255
segmenter = Segmenter.load(folder, threads=1, limits=Limits(memory_mb=memory_mb, result_mb=64), presence_filter=False)
words = ["red"] + [f"word {at}" for at in range(count - 1)]
segmenter(picture[:32, :32], words)
before = peak_memory()
result = segmenter(picture, words)
areas = [one.area for one in result]
result.labels((400, 300))
after = peak_memory()
present = sum(one.segmented for one in result.searches)
print(json.dumps({"grown_mb": (after - before) / 2**20, "area": int(areas[0]), "present": present}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak of memory")
def test_a_thousand_words_of_a_large_picture_take_little_memory(tmp_path: Path) -> None:
    """All masks at once would be 12 GB; a mask at a time is 12 MB."""
    folder = make_bundle(tmp_path / "tiny.clsclip")
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(folder), "8", "1000", "4000", "3000"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["present"] == 1000
    assert found["area"] > 4000 * 1400
    assert found["grown_mb"] < 200


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak of memory")
def test_the_peak_is_not_that_of_the_process_before() -> None:
    """Linux counts it in ``getrusage`` of whatever a process starts."""
    held = np.ones(400 << 20, np.uint8)
    code = "from clsclip_runtime.system import peak_memory; print(peak_memory())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5 << 20 < int(run.stdout) < held.nbytes // 2


def test_masks_beyond_the_bound_are_refused_before_they_are_made(bundle: Path) -> None:
    with Segmenter.load(bundle, limits=Limits(result_mb=2)) as segmenter:
        result = segmenter(np.zeros((1000, 1100, 3), np.uint8), ["red", "green"], presence_filter=False)
        with pytest.raises(OptionError, match=r"2 masks of 1100x1000 pixels would take 2 MiB.*result\.mask\(name\)"):
            _ = result.masks
        assert result.mask("red").shape == (1000, 1100)
        assert len([one.area for one in result]) == 2


def test_pairs_beyond_the_bound_are_refused_before_they_are_segmented(bundle: Path) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    with Segmenter.load(bundle, limits=Limits(result_mb=1)) as segmenter:
        words = [f"word {at}" for at in range(5000)]
        with pytest.raises(OptionError, match=r"5,000 pairs .* would take 1 MiB.*max_classes=10"):
            segmenter(image, words, presence_filter=False)
        result = segmenter(image, words, max_classes=10, presence_threshold=0)
        assert (segmented(result).sum(), len(result.pairs)) == (10, 10)


def test_the_archive_holds_one_mask_at_a_time(bundle: Path) -> None:
    from clsclip_runtime.results.files import plan

    image = np.zeros((1500, 2000, 3), np.uint8)
    image[:, :, 0] = 255
    with Segmenter.load(bundle) as segmenter:
        result = segmenter(image, ["red", *(f"word {at}" for at in range(29))], presence_filter=False)
    ((_, writer),) = plan(result, "npz", "x")
    _ = [one.area for one in result]
    tracemalloc.start()
    try:
        file = io.BytesIO()
        writer(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * image[..., 0].size, "30 masks are 90 MB, one is 3"
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        masks: npt.NDArray[np.bool_] = arrays["masks"]
        assert masks.shape == (30, 1500, 2000)
        assert masks[0].all()
        assert masks.dtype == np.bool_
