"""The embedded model, as a newcomer meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from clsclip.checkpoint import load_checkpoint
from clsclip_runtime import RegionFile, Segmenter
from tests.runtime.reading import statuses

ROOT = Path(__file__).parent.parent
MIB = 2**20


def test_demo_picture() -> None:
    with Segmenter.load() as segmenter:
        result = segmenter(ROOT / "examples" / "cluttered.png", classes=["bottle", "boat", "dog", "fish", "pizza"])
    assert statuses(result) == ("found", "found", "found", "found", "absent")
    assert not result.mask("pizza").any()
    # Different words mark different places: the word decides, not what stands out.
    for first in ("bottle", "boat", "dog", "fish"):
        for second in ("bottle", "boat", "dog", "fish"):
            both = (result.mask(first) & result.mask(second)).sum()
            if first != second:
                assert both < 0.2 * min(result.mask(first).sum(), result.mask(second).sum())


def test_photographs_are_told_and_stickers_are_not() -> None:
    """Of photographs that scikit-image carries; those that sticker pictures have as grounds are left out."""
    from skimage import data

    def told(segmenter: Segmenter, image: object) -> bool:
        return any("unlike what the model knows (stickers: " in one for one in segmenter(image, ["dog"]).notes)

    with Segmenter.load() as segmenter:
        assert all(told(segmenter, getattr(data, name)()) for name in ("chelsea", "coffee", "rocket"))
        assert not any(told(segmenter, ROOT / "examples" / name) for name in ("cluttered.png", "tiny.png"))


def test_tiny_things_are_found_in_their_boxes_and_in_tiles_alone() -> None:
    """The README's picture of ClsCLIP+."""
    words = ["snake", "caterpillar", "top hat", "folder"]
    image = ROOT / "examples" / "tiny.png"
    with Segmenter.load() as segmenter:
        assert "found" not in statuses(segmenter(image, words))
        near = segmenter(image, words, regions=RegionFile(ROOT / "examples" / "tiny.json").of(str(image)))
        tiled = segmenter(image, words, zoom_in=True, refine=True)
    assert statuses(near) == ("found",) * 4
    assert all(near[word].searched == ("regions",) for word in words)
    assert statuses(tiled) == ("found",) * 4
    for one in json.loads((ROOT / "examples" / "tiny.json").read_text("utf-8")):
        mask, (left, top, width, height) = tiled.mask(one["class"]), one["bbox"]
        assert mask[top : top + height, left : left + width].sum() > 0.9 * mask.sum(), one["class"]


def test_checkpoint_and_bundle_are_the_same_model() -> None:
    model, _ = load_checkpoint(ROOT / "models" / "stickers" / "last.safetensors")
    with Segmenter.load() as segmenter:
        assert segmenter.bundle.manifest.model["fingerprint"] == model.towers.fingerprint()


def test_files_stay_small() -> None:
    files = [path for folder in ("models", "runtime") for path in (ROOT / folder).rglob("*") if path.is_file()]
    sizes = np.array([path.stat().st_size for path in files])
    assert sizes.max() < 16 * MIB
    assert sizes.sum() < 40 * MIB
