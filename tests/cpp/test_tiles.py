"""Tiles and refined masks in C++: windows, boxes, presence and masks are those of the Python runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clsclip_runtime import Segmenter, ZoomIn
from clsclip_runtime.masks.refinement import GuidedFilter
from clsclip_runtime.regions import Proposals, tile_windows
from tests.cpp.agreement import WORDS, boxes_of, sticker_images
from tests.cpp.c_api import ROOT, CError, CSegmenter
from tests.cpp.parts import Parts
from tests.cpp.test_infer_cpp import run
from tests.cpp.test_resize import as_pillow, given_image, random_pixels
from tests.runtime.tiny_bundle import paint

EMBEDDED = ROOT / "runtime" / "clsclip_runtime" / "models" / "stickers.clsclip"
TINY = ROOT / "runtime" / "cpp" / "tests" / "tiny.clsclip"
SCENE = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})


@settings(max_examples=200)
@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.lists(st.integers(1, 8), min_size=1, max_size=4, unique=True),
    st.floats(0, 0.75),
)
def test_windows_are_those_of_python(parts: Parts, width: int, height: int, scales: list[int], overlap: float) -> None:
    found = parts("tiles", width=width, height=height, scales=scales, overlap=overlap)
    assert found == tile_windows((width, height), scales, overlap).tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_filter_is_that_of_python(
    parts: Parts, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    order = data.draw(st.sampled_from(["rgb", "bgra", "gray"]))
    width, height = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    guide = (data.draw(st.integers(1, 80)), data.draw(st.integers(1, 80)))
    seed = data.draw(st.integers(0, 999))
    pixels = random_pixels(seed, height, width, {"rgb": 3, "bgra": 4, "gray": 1}[order])
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    window = (left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    own = GuidedFilter(as_pillow(pixels, order).crop(window), guide)
    values = np.random.default_rng(seed).normal(size=own.coarse_size[::-1]) * 5
    raw = tmp_path_factory.getbasetemp() / "guide"
    asked = given_image(raw, pixels, order)
    found = parts("refine", **asked, window=list(window), guide=list(guide), values=values.ravel().tolist())
    np.testing.assert_allclose(np.array(found, np.float32).reshape(guide[::-1]), own(values), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Segmenter, CSegmenter]]:
    """The embedded model in Python and in C++."""
    cpp = CSegmenter(EMBEDDED)
    with Segmenter.load(threads=1, backend="onnxruntime-cpu") as python:
        yield python, cpp
    cpp.close()


@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ({"regions": "tiles"}, {"tiles": 1}),
        ({"zoom_in": True, "refine": True}, {"zoom_in": 1, "refine": 1}),
        ({"refine": True, "presence_threshold": 0.3}, {"refine": 1, "presence_threshold": 0.3}),
        ({"regions": "tiles", "max_classes": 2}, {"tiles": 1, "max_classes": 2}),
    ],
    ids=["tiles", "zoom-in, refined", "refined", "few classes"],
)
def test_masks_are_those_of_python(
    both: tuple[Segmenter, CSegmenter], asked: dict[str, Any], own: dict[str, float]
) -> None:
    python, cpp = both
    pixels = next(iter(sticker_images(1)))
    mine, theirs = python(pixels, WORDS, **asked), cpp(pixels, WORDS, **own)
    assert theirs.status == [one.status for one in mine]
    assert theirs.searched == [one.searched for one in mine]
    assert theirs.notes == mine.notes
    presence = [np.nan if one.presence is None else one.presence for one in mine]
    np.testing.assert_allclose(theirs.presence, presence, atol=1e-4)
    assert [(one.class_name, one.window, one.whole_image) for one in theirs.instances] == [
        (one.name, one.window, one.whole_image) for one in mine.all_instances()
    ]
    assert theirs.masks.any()
    both_have = (mine.masks & theirs.masks).sum(axis=(1, 2))
    either = (mine.masks | theirs.masks).sum(axis=(1, 2))
    assert (both_have >= 0.999 * either).all(), both_have / np.maximum(1, either)


def test_refined_regions_are_those_of_python(both: tuple[Segmenter, CSegmenter]) -> None:
    python, cpp = both
    pixels = next(iter(sticker_images(1)))
    boxes, names = boxes_of((pixels.shape[1], pixels.shape[0]), 0)
    for fallback, number in (("whole-image", 0), ("none", 1)):
        zoom = ZoomIn(fallback=fallback)
        mine = python(pixels, WORDS, regions=Proposals.from_boxes(boxes, names), zoom_in=zoom, refine=True)
        theirs = cpp(pixels, WORDS, boxes=boxes, names=names, fallback=number, refine=1)
        assert (mine.masks & theirs.masks).sum() >= 0.999 * (mine.masks | theirs.masks).sum() > 0


def test_tiles_want_no_boxes(both: tuple[Segmenter, CSegmenter]) -> None:
    _, cpp = both
    for asked, message in (
        ({"tiles": 1, "boxes": [[1, 1, 9, 9]]}, "give regions or tiles"),
        ({"tiles": 1, "zoom_in": 1, "boxes_as_masks": 1}, "tiles are not boxes of things"),
        ({"zoom_in": 1, "boxes_as_masks": 1}, "need a detector"),
        ({"zoom_in": 1, "class_agnostic": 1}, "need a detector"),
    ):
        with pytest.raises(CError, match=message):
            cpp(SCENE, ["dog"], **asked)
    assert any("no effect on tiles" in one for one in cpp(SCENE, ["dog"], tiles=1, zoom_in=1, crop_margin=0.5).notes)


@pytest.mark.parametrize(
    ("tiles", "right"),
    [
        (None, True),
        ({"scales": [2, 3], "overlap": 0.1, "presence_threshold": 0.2}, True),
        ({"scales": [], "overlap": 0.1, "presence_threshold": 0.2}, False),
        ({"scales": [3, 3], "overlap": 0.1, "presence_threshold": 0.2}, False),
        ({"scales": [9], "overlap": 0.1, "presence_threshold": 0.2}, False),
        ({"scales": [1.5], "overlap": 0.1, "presence_threshold": 0.2}, False),
        ({"scales": [2], "overlap": 0.8, "presence_threshold": 0.2}, False),
        ({"scales": [2], "overlap": 0.1}, False),
        ([], False),
    ],
)
def test_the_manifest_is_read_as_in_python(tmp_path: Path, tiles: object, right: bool) -> None:
    folder = tmp_path / "b"
    shutil.copytree(TINY, folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"tiles": tiles}), "utf-8")
    if not right:
        with pytest.raises(CError, match="tiles"):
            CSegmenter(folder)
        return
    cpp = CSegmenter(folder)
    with Segmenter.load(folder, "onnxruntime-cpu", threads=1) as python:
        mine, theirs = python(SCENE, ["red", "blue"], regions="tiles"), cpp(SCENE, ["red", "blue"], tiles=1)
    assert theirs.notes == mine.notes and len(mine.notes) == (2 if tiles is None else 1)
    assert (mine.masks == theirs.masks).all()
    np.testing.assert_allclose(theirs.presence, [one.presence for one in mine], atol=1e-5)
    cpp.close()


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        (["--regions", "tiles"], {"regions": "tiles"}),
        (["--zoom-in", "--refine"], {"zoom_in": True, "refine": True}),
        (["--refine", "--no-presence-filter"], {"refine": True, "presence_filter": False}),
    ],
)
def test_the_commands_json_is_that_of_python(tmp_path: Path, more: list[str], asked: dict[str, Any]) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(SCENE).save(photo)
    done = run(photo, "--classes", "red", "green", "blue", "--model", TINY, "--json", *more)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    with Segmenter.load(TINY, threads=1) as segmenter:
        mine = json.loads(json.dumps(segmenter(photo, ["red", "green", "blue"], **asked).to_json()))
    assert ("refine" in mine["timings_ms"]) == ("refine" in theirs["timings_ms"]) == ("refine" in asked)
    for document in (mine, theirs):
        for key in ("backend", "backend_notes", "timings_ms", "source"):
            del document[key]
        for one in [*document["classes"], *document["instances"]]:
            for key in ("presence", "score"):
                one[key] = None if one.get(key) is None else round(one[key], 4)
    assert theirs == mine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--regions", "tiles", "--crop-margin", "0"], "--crop-margin is about boxes, and tiles are not"),
        (["--regions", "tiles", "--boxes-as-masks"], "--boxes-as-masks is about boxes, and tiles are not"),
        (["--regions", "tiles", "--confidence", "0.5"], "--regions takes the place of one"),
        (["--zoom-in", "--confidence", "0.5"], "the model has no detector"),
        (["--zoom-in", "--class-agnostic"], "need a detector"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: list[str], message: str) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(SCENE).save(photo)
    done = run(photo, "--classes", "red", "--model", TINY, "--json", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_file_called_tiles_is_named_by_its_folder(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(SCENE).save(photo)
    (tmp_path / "tiles").write_text(json.dumps([{"class": "red", "bbox": [2, 2, 20, 20]}]), "utf-8")
    done = run(photo, "--classes", "red", "--model", TINY, "--json", "--regions", f"{tmp_path}/tiles")
    assert json.loads(done.stdout)["regions"] == {"source": "boxes of tiles", "count": 1}
