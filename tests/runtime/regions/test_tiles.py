"""Tiles cover the image at every scale, overlap as asked, and are searched beside the whole image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime import Segmenter, ZoomIn
from clsclip_runtime.errors import OptionError
from clsclip_runtime.regions import tile_windows
from tests.runtime.tiny_bundle import make_bundle

WORDS = ["dog", "tree", "boat"]


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True),
    st.floats(0, 0.75),
)
def test_each_scale_covers_the_image(width: int, height: int, scales: list[int], overlap: float) -> None:
    start = 0
    windows = tile_windows((width, height), scales, overlap)
    for count in scales:
        own = windows[start : start + min(count, width) * min(count, height)]
        start += len(own)
        seen = np.zeros((height, width), np.int64)
        for left, top, right, bottom in own.tolist():
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
            seen[top:bottom, left:right] += 1
        assert seen.min() >= 1
    assert start == len(windows)


def test_neighbors_share_the_overlap() -> None:
    windows = tile_windows((1000, 500), [3], 0.25)
    side = 1000 / 2.5
    assert windows[0].tolist() == [0, 0, side, side / 2]
    assert windows[1].tolist() == [side * 0.75, 0, side * 1.75, side / 2]
    assert windows[8].tolist() == [side * 1.5, side * 0.75, 1000, 500]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_tiles_are_boxes_and_the_whole_image(image: np.ndarray, tmp_path: Path) -> None:
    with Segmenter.load(make_bundle(tmp_path / "b"), "onnxruntime-cpu") as segmenter:
        found = segmenter(image, WORDS, regions="tiles", presence_filter=False)
        whole = segmenter(image, WORDS, presence_filter=False)
        boxes = tile_windows((90, 60), [3], 0.25)
        parts = segmenter(
            image, WORDS, regions=boxes, presence_filter=False, zoom_in=ZoomIn(crop_margin=0, fallback="none")
        )
    assert found.regions is not None and len(found.regions) == 9
    for name in WORDS:
        np.testing.assert_array_equal(found.mask(name), whole.mask(name) | parts.mask(name))
        assert found[name].searched == ("whole-image", "tiles")
    assert len(list(found.all_instances())) == len(WORDS)
    assert any("no values for tiles" in note for note in found.notes)


def test_a_tile_needs_the_bundles_presence(image: np.ndarray, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    manifest = json.loads((folder / "manifest.json").read_text())
    results = []
    for threshold in (0.0, 1.0):
        fitted = tmp_path / f"t{threshold}"
        shutil.copytree(folder, fitted)
        tiles = {"scales": [2, 3], "overlap": 0.1, "presence_threshold": threshold}
        (fitted / "manifest.json").write_text(json.dumps(manifest | {"tiles": tiles}))
        with Segmenter.load(fitted, "onnxruntime-cpu", presence_filter=True) as segmenter:
            results.append(segmenter(image, WORDS, regions="tiles"))
            whole = segmenter(image, WORDS)
    every, none = results
    assert every.regions is not None and len(every.regions) == 13
    assert len(every.pairs) == len(none.pairs) + 13 * len(WORDS)
    for name in WORDS:
        assert none[name].area == whole[name].area
        assert none[name].presence == whole[name].presence


def test_zoom_in_without_a_detector_takes_tiles(image: np.ndarray, tmp_path: Path) -> None:
    with Segmenter.load(make_bundle(tmp_path / "b"), "onnxruntime-cpu") as segmenter:
        zoomed = segmenter(image, WORDS, zoom_in=True)
        tiled = segmenter.batch([image], WORDS, regions="tiles")[0]
        np.testing.assert_array_equal(zoomed.masks, tiled.masks)
        for wrong in (ZoomIn(boxes_as_masks=True), ZoomIn(class_agnostic=True), ZoomIn(confidence=0.5)):
            with pytest.raises(OptionError, match="need a detector"):
                segmenter(image, WORDS, zoom_in=wrong)
        with pytest.raises(OptionError, match="'tiles'"):
            segmenter(image, WORDS, regions="peaks")
        with pytest.raises(OptionError, match="boxes_as_masks"):
            segmenter(image, WORDS, regions="tiles", zoom_in=ZoomIn(boxes_as_masks=True))


@pytest.mark.parametrize("regions", [None, "tiles", [[5, 5, 50, 40], [30, 10, 90, 60]]])
def test_refined_masks_have_one_map_each(
    image: np.ndarray, tmp_path: Path, regions: str | list[list[int]] | None
) -> None:
    with Segmenter.load(make_bundle(tmp_path / "b"), "onnxruntime-cpu") as segmenter:
        plain = segmenter(image, WORDS, regions=regions, presence_filter=False)
        fine = segmenter(image, WORDS, regions=regions, presence_filter=False, refine=True)
        with pytest.raises(OptionError, match="refine"):
            segmenter(image, WORDS, refine=1)  # type: ignore[arg-type]
    assert fine.classes == plain.classes
    for one, other in zip(plain, fine, strict=True):
        assert (one.searched, one.presence) == (other.searched, other.presence)
        assert other.area == 0 or one.area > 0
    if regions is None or regions == "tiles":
        assert len(fine.pairs) == sum(one.area > 0 for one in plain)
        assert fine.pairs.logits.shape[1:] == (60, 90)
        assert fine.logits.shape == (len(WORDS), 60, 90)
    assert fine.timings["refine"] > 0
