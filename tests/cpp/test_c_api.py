"""The C API, driven through ctypes: its masks are the Python runtime's."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from clsclip_runtime import Proposals, Segmenter, ZoomIn
from clsclip_runtime.version import __version__
from tests.cpp.agreement import WORDS, boxes_of, compare, photographs, sticker_images
from tests.cpp.c_api import ROOT, CError, CSegmenter, backends, library
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
    agreement = compare(python, cpp, sticker_images(6), zoom_in=zoom_in)
    assert np.mean(agreement.ious) >= 0.995 and min(agreement.ious) >= 0.97, agreement
    assert agreement.presence < 1e-4 and not agreement.flipped, agreement


@pytest.mark.parametrize("zoom_in", [False, True], ids=["whole", "zoom"])
def test_masks_of_photographs(python: Segmenter, cpp: CSegmenter, zoom_in: bool) -> None:
    """It does not know them; every word is segmented, so that there is something to compare."""
    folder = shared_data("VOC2012", "JPEGImages")
    agreement = compare(python, cpp, photographs(folder, 1 if zoom_in else 3), zoom_in=zoom_in, threshold=0.0)
    assert np.mean(agreement.ious) >= 0.995 and min(agreement.ious) >= 0.97, agreement
    assert agreement.presence < 1e-4, agreement


def tiny_boxes() -> tuple[np.ndarray, list[str], list[list[float]]]:
    """The example of tiny things: pixels, names, boxes xyxy."""
    pixels = np.ascontiguousarray(Image.open(ROOT / "examples" / "tiny.png").convert("RGB"))
    drawn = json.loads((ROOT / "examples" / "tiny.json").read_text())
    boxes = [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in drawn)]
    return pixels, [one["class"] for one in drawn], boxes


def test_threshold_and_margin_of_named_boxes(python: Segmenter, cpp: CSegmenter) -> None:
    pixels, names, boxes = tiny_boxes()
    areas = []
    for mask_threshold, mask_margin in ((0.5, None), (0.02, None), (0.02, 0.0)):
        zoom = ZoomIn(crop_margin=0.3, mask_threshold=mask_threshold, mask_margin=mask_margin)
        mine = python(pixels, names, regions=Proposals.from_boxes(boxes, names), zoom_in=zoom).masks
        own = {
            "crop_margin": 0.3,
            "mask_threshold": mask_threshold,
            "mask_margin": -1.0 if mask_margin is None else mask_margin,
        }
        theirs = np.stack(cpp(pixels, names, boxes=boxes, names=names, **own).masks)
        assert (mine & theirs).sum() >= 0.99 * (mine | theirs).sum()
        areas.append(int(theirs.sum()))
    assert 0 < areas[0] < areas[2] < areas[1], "a lower threshold adds pixels, and the box takes some away"


@pytest.mark.parametrize("regions", [False, True], ids=["whole", "regions"])
@pytest.mark.parametrize("asked", [{"max_classes": 2}, {"max_classes": 1, "presence_threshold": 0.1}])
def test_the_likeliest_classes_are_the_same(
    python: Segmenter, cpp: CSegmenter, asked: dict[str, float], regions: bool
) -> None:
    for number, pixels in enumerate(sticker_images(3)):
        boxes, names = boxes_of((pixels.shape[1], pixels.shape[0]), number) if regions else (None, None)
        given = None if boxes is None else Proposals.from_boxes(boxes, names)
        zoom = ZoomIn(fallback="none") if regions else False
        mine = python(pixels, WORDS, regions=given, zoom_in=zoom, **asked)
        theirs = cpp(pixels, WORDS, boxes=boxes, names=names, fallback=int(regions), **asked)
        assert theirs.status == [one.status for one in mine]
        assert theirs.reason == [one.reason or "" for one in mine]


@pytest.mark.parametrize("asked", [{}, {"max_classes": 1}, {"presence_filter": False}])
def test_a_class_of_several_prompts_is_the_same(asked: dict[str, bool | int]) -> None:
    prompts = {"paint": ["red", "green"], "Hölle": ["blue", "white_table", "red"]}
    classes = {"paint": prompts["paint"], "yellow": ["yellow"], "Hölle": prompts["Hölle"]}
    pixels = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})
    named = [[0.0, 0.0, 24.0, 18.0], [4.0, 16.0, 20.0, 32.0], [900.0, 0.0, 910.0, 9.0]], ["paint", "blue", "red"]
    theirs_of = CSegmenter(TINY, backends()[0])
    with Segmenter.load(TINY, threads=1, backend="onnxruntime-cpu") as mine_of:
        for boxes, names in ((None, None), named):
            regions = None if boxes is None else Proposals.from_boxes(boxes, names)
            mine = mine_of(pixels, classes, regions=regions, **asked)  # type: ignore[arg-type]
            theirs = theirs_of(pixels, list(classes), prompts=prompts, boxes=boxes, names=names, **asked)
            assert theirs.classes == list(mine.classes)
            assert theirs.status == [one.status for one in mine]
            assert (theirs.masks == mine.masks).all()
            assert theirs.notes == mine.notes
            assert theirs.searched == [one.searched for one in mine]
            assert [(one.class_name, one.window, one.region_name) for one in theirs.instances] == [
                (one.name, one.window, one.region_name) for one in mine.all_instances()
            ]
    theirs_of.close()


def test_without_the_presence_filter_all_classes_are_segmented(python: Segmenter, cpp: CSegmenter) -> None:
    pixels = next(iter(sticker_images(1)))
    mine, theirs = python(pixels, WORDS, presence_filter=False), cpp(pixels, WORDS, presence_filter=0)
    assert theirs.status == [one.status for one in mine]
    assert np.isnan(theirs.presence).all() and all(one.presence is None for one in mine)
    segmenter = CSegmenter(EMBEDDED, backends()[0], presence_filter=0)
    assert segmenter(pixels, WORDS).status == theirs.status
    segmenter.close()


def test_instances_are_the_same(python: Segmenter, cpp: CSegmenter) -> None:
    pixels = next(iter(sticker_images(1)))
    boxes, names = [[3.5, 2, 90.25, 80], [40, 40, 400, 300], [1, 1, 2, 2]], ["dog", None, "fishes"]
    mine = list(python(pixels, WORDS, regions=Proposals.from_boxes(boxes, names)).all_instances())
    theirs = cpp(pixels, WORDS, boxes=boxes, names=names).instances
    assert [(one.class_name, one.window, one.region_name, one.whole_image) for one in theirs] == [
        (one.name, one.window, one.region_name, one.whole_image) for one in mine
    ]
    assert [one.score for one in theirs] == pytest.approx([one.score for one in mine], abs=1e-4)


def test_counts_are_the_mask(cpp: CSegmenter) -> None:
    result = cpp(next(iter(sticker_images(1))), WORDS)
    assert any(mask.any() for mask in result.masks)
    for mask, counts in zip(result.masks, result.counts, strict=True):
        assert counts == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


def test_gray_and_alpha_are_made_rgb_alike(python: Segmenter, cpp: CSegmenter) -> None:
    pixels = next(iter(sticker_images(1)))
    rgba = np.ascontiguousarray(np.dstack([pixels, np.linspace(0, 255, pixels.size // 3).reshape(pixels.shape[:2])]))
    for array, form in ((pixels[:, :, 1].copy(), "gray"), (rgba.astype(np.uint8), "rgba")):
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
    assert result.status == ["found", "found", "absent"]
    assert result.notes[0] == "'red' was asked 2 times and is reported once"
    assert "never validated" in result.notes[1]
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
    loaded = library()
    loaded.clsclip_version.restype = ctypes.c_char_p
    assert loaded.clsclip_version().decode() == __version__
    example = (ROOT / "examples" / "cpp" / "CMakeLists.txt").read_text("utf-8")
    minor = ".".join(__version__.split(".")[:2])
    assert f"find_package(clsclip {minor} REQUIRED)" in example
