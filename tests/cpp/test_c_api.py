"""The C API, driven through ctypes: its masks are the Python runtime's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from clsclip_runtime import Proposals, Segmenter, ZoomIn
from clsclip_runtime.version import __version__
from tests.cpp.agreement import WORDS, compare, photographs, sticker_pictures
from tests.cpp.c_api import ROOT, CError, CSegmenter, backends
from tests.cpp.tiny_bpe import make_bpe_bundle
from tests.runtime.tiny_bundle import paint
from tests.shared_data import shared_data

EMBEDDED = ROOT / "runtime" / "clsclip_runtime" / "models" / "stickers.clsclip"
TINY = ROOT / "runtime" / "cpp" / "tests" / "tiny.clsclip"


@pytest.fixture(scope="module")
def python() -> Iterator[Segmenter]:
    with Segmenter.load(threads=1, backend="onnxruntime-cpu") as segmenter:
        yield segmenter


@pytest.fixture(scope="module")
def cpp() -> Iterator[CSegmenter]:
    segmenter = CSegmenter(EMBEDDED, backends()[0])
    yield segmenter
    segmenter.close()


@pytest.mark.parametrize("zoom_in", [False, True], ids=["whole", "zoom"])
def test_masks_of_sticker_pictures(python: Segmenter, cpp: CSegmenter, zoom_in: bool) -> None:
    agreement = compare(python, cpp, sticker_pictures(6), zoom_in=zoom_in)
    assert np.mean(agreement.ious) >= 0.995 and min(agreement.ious) >= 0.97, agreement
    assert agreement.presence < 1e-4 and not agreement.flipped, agreement


@pytest.mark.parametrize("zoom_in", [False, True], ids=["whole", "zoom"])
def test_masks_of_photographs(python: Segmenter, cpp: CSegmenter, zoom_in: bool) -> None:
    """It does not know them; every word is segmented, so that there is something to compare."""
    folder = shared_data("VOC2012", "JPEGImages")
    agreement = compare(python, cpp, photographs(folder, 1 if zoom_in else 3), zoom_in=zoom_in, threshold=0.0)
    assert np.mean(agreement.ious) >= 0.995 and min(agreement.ious) >= 0.97, agreement
    assert agreement.presence < 1e-4, agreement


def test_odds_and_spill_of_named_boxes(python: Segmenter, cpp: CSegmenter) -> None:
    pixels = np.ascontiguousarray(Image.open(ROOT / "examples" / "tiny.png").convert("RGB"))
    drawn = json.loads((ROOT / "examples" / "tiny.json").read_text())
    names = [one["class"] for one in drawn]
    boxes = [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in drawn)]
    areas = []
    for mask_threshold, mask_margin in ((1.0, None), (40.0, None), (40.0, 0.0)):
        zoom = ZoomIn(margin=0.3, mask_threshold=mask_threshold, mask_margin=mask_margin)
        mine = python(pixels, names, regions=Proposals.from_boxes(boxes, names), zoom_in=zoom).masks
        own = {
            "margin": 0.3,
            "mask_threshold": mask_threshold,
            "mask_margin": -1.0 if mask_margin is None else mask_margin,
        }
        theirs = np.stack(cpp(pixels, names, boxes=boxes, names=names, **own).masks)
        assert (mine & theirs).sum() >= 0.99 * (mine | theirs).sum()
        areas.append(int(theirs.sum()))
    assert 0 < areas[0] < areas[2] < areas[1], "odds add pixels, and the box takes some away"


def test_regions_are_the_same(python: Segmenter, cpp: CSegmenter) -> None:
    pixels = next(iter(sticker_pictures(1)))
    boxes, names = [[3.5, 2, 90.25, 80], [40, 40, 400, 300], [1, 1, 2, 2]], ["dog", None, "fishes"]
    mine = python(pixels, WORDS, regions=Proposals.from_boxes(boxes, names))
    theirs = cpp(pixels, WORDS, boxes=boxes, names=names)
    regions = [one for one in theirs.regions if not one[4]]
    assert [one[:2] for one in regions] == [(one.word, one.window) for one in mine.regions]
    assert [one[3] for one in regions] == [one.name for one in mine.regions]
    assert [one[2] for one in regions] == pytest.approx([one.score for one in mine.regions], abs=1e-4)


def test_counts_are_the_mask(cpp: CSegmenter) -> None:
    result = cpp(next(iter(sticker_pictures(1))), WORDS)
    assert any(mask.any() for mask in result.masks)
    for mask, counts in zip(result.masks, result.counts, strict=True):
        assert counts == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


def test_grey_and_alpha_are_made_rgb_alike(python: Segmenter, cpp: CSegmenter) -> None:
    pixels = next(iter(sticker_pictures(1)))
    rgba = np.ascontiguousarray(np.dstack([pixels, np.linspace(0, 255, pixels.size // 3).reshape(pixels.shape[:2])]))
    for array, form in ((pixels[:, :, 1].copy(), "grey"), (rgba.astype(np.uint8), "rgba")):
        mine, theirs = (
            python(array, WORDS, presence_threshold=0.0),
            cpp(array, WORDS, form=form, presence_threshold=0.0),
        )
        for at, mask in enumerate(theirs.masks):
            either = (mine.mask(at) | mask).sum()
            assert (mine.mask(at) & mask).sum() >= 0.97 * either


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime-cpu"])
def test_every_engine_of_the_build(backend: str) -> None:
    if backend not in backends():
        pytest.skip(f"this build has no {backend}")
    segmenter = CSegmenter(TINY, backend)
    scene = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})
    result = segmenter(scene, ["red", "green", "blue", " red"])
    assert segmenter.backend == backend
    assert [int(mask.sum()) for mask in result.masks] == [140, 36, 0]
    assert result.present == [True, True, False]
    assert result.notes == ["'red' was asked 2 times and is reported once"]
    segmenter.close()


def test_errors_have_a_status_and_a_sentence() -> None:
    with pytest.raises(CError, match="no such bundle") as failed:
        CSegmenter(Path("none"))
    assert failed.value.status == 1
    with pytest.raises(CError, match="there is no backend 'cuda'") as failed:
        CSegmenter(TINY, "cuda")
    assert failed.value.status == 4
    segmenter = CSegmenter(TINY)
    with pytest.raises(CError, match="is empty") as failed:
        segmenter(paint({}), [" "])
    assert failed.value.status == 3
    segmenter.close()


def test_the_guide_shows_the_example() -> None:
    """It takes in the file itself when it is built."""
    assert '```cpp\n--8<-- "examples/cpp/find_things.cpp"\n```' in (ROOT / "docs/guides/cpp.md").read_text("utf-8")
    assert (ROOT / "examples" / "cpp" / "find_things.cpp").is_file()


def test_the_tiny_bundle_is_what_its_script_makes(tmp_path: Path) -> None:
    make_bpe_bundle(tmp_path / "tiny.clsclip")
    made = {path.name: path.read_bytes() for path in (tmp_path / "tiny.clsclip").iterdir()}
    kept = {path.name: path.read_bytes() for path in TINY.iterdir()}
    assert made.keys() == kept.keys()
    assert json.loads(made["tokenizer.json"]) == json.loads(kept["tokenizer.json"])
    assert made["vision.weights"] == kept["vision.weights"]
    with Segmenter.load(TINY, threads=1) as one, Segmenter.load(tmp_path / "tiny.clsclip", threads=1) as other:
        scene = paint({"red": (slice(1, 4), slice(1, 5))})
        assert (one(scene, ["red", "blue"]).masks == other(scene, ["red", "blue"]).masks).all()


def test_one_version() -> None:
    text = (ROOT / "runtime" / "cpp" / "CMakeLists.txt").read_text("utf-8")
    stated = re.search(r"project\(clsclip VERSION (\S+)", text)
    assert stated is not None and stated[1] == __version__
