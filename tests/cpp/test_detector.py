"""A bundle's detector in C++: the same regions and masks as in Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clsclip_runtime import Segmenter, ZoomIn
from clsclip_runtime.detectors import read_spec
from tests.cpp.c_api import CError, CSegmenter
from tests.cpp.tiny_bpe import make_bpe_bundle
from tests.runtime.detectors.doubles import save_onnx, spec
from tests.runtime.tiny_bundle import paint, sign
from tests.shared_data import shared_data

WORDS = ["red", "greens", "blue"]
SCENE = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))}, 128)


def bundle_with(folder: Path, *outputs: np.ndarray, **changes: object) -> Path:
    """A tiny bundle whose detector gives fixed outputs."""
    make_bpe_bundle(folder)
    save_onnx(folder / "detector.onnx", *outputs)
    document = json.loads((folder / "manifest.json").read_text("utf-8"))
    document["detector"] = {**vars(spec(**{"names": ("red", "green"), **changes})), "names": ["red", "green"]}
    sign(folder, document)
    return folder


def rows(*boxes: tuple[float, ...]) -> np.ndarray:
    """Outputs (1, 4 + 2, N) of YOLOv8: centre, size, two scores."""
    return np.array(boxes, np.float32).T[None]


def same_regions(bundle: Path, pixels: np.ndarray, words: list[str], **asked: float) -> int:
    """Compare all regions; gives how many there are."""
    cpp = CSegmenter(bundle)
    with Segmenter.load(bundle, threads=1, backend="onnxruntime-cpu") as python:
        mine = python(pixels, words, zoom_in=ZoomIn(fallback="none"))
    theirs = cpp(pixels, words, zoom_in=1, fallback=1, **asked)
    cpp.close()
    assert theirs.searched == [one.searched for one in mine]
    regions = list(mine.all_instances())
    assert [(one.class_name, one.window) for one in theirs.regions] == [(one.name, one.window) for one in regions]
    assert [one.score for one in theirs.regions] == pytest.approx([one.score for one in regions], abs=1e-4)
    for at, mask in enumerate(theirs.masks):
        assert (mine.mask(at) & mask).sum() >= 0.97 * (mine.mask(at) | mask).sum()
    return len(regions)


def test_boxes_of_the_words_class(tmp_path: Path) -> None:
    # The picture fills the input at half its size; the second box overlaps the first, the last is not sure enough.
    output = rows(
        (24, 20, 32, 24, 0.9, 0.0), (25, 20, 32, 24, 0.8, 0.0), (24, 48, 18, 18, 0.0, 0.7), (50, 50, 9, 9, 0.1, 0.2)
    )
    bundle = bundle_with(tmp_path / "with.clsclip", output)
    assert same_regions(bundle, SCENE, WORDS) == 2
    wide = np.ascontiguousarray(SCENE[:48])
    assert same_regions(bundle, wide, WORDS) == 2


def test_a_detector_of_things(tmp_path: Path) -> None:
    output = rows((24, 20, 32, 24, 0.9, 0.0), (24, 48, 18, 18, 0.0, 0.7))
    bundle = bundle_with(tmp_path / "with.clsclip", output, class_agnostic=True)
    assert same_regions(bundle, SCENE, WORDS) >= 2


def test_outputs_of_another_layout_are_told(tmp_path: Path) -> None:
    for number, (output, message) in enumerate(
        [(np.zeros((1, 9, 4)), "does not have"), (rows((9, 9, 9, 9, 7.0, 0.0)), "score"), (rows((np.nan,) * 6), "NaN")]
    ):
        bundle = bundle_with(tmp_path / f"{number}.clsclip", output)
        segmenter = CSegmenter(bundle)
        with Segmenter.load(bundle, threads=1) as python, pytest.raises(Exception, match=message) as mine:
            python(SCENE, WORDS, zoom_in=True)
        with pytest.raises(CError, match=message) as theirs:
            segmenter(SCENE, WORDS, zoom_in=1)
        assert type(mine.value).__name__ == "DetectorError"
        assert theirs.value.status == 6
        segmenter.close()


def test_a_bundle_without_a_detector(tmp_path: Path) -> None:
    segmenter = CSegmenter(make_bpe_bundle(tmp_path / "tiny.clsclip"))
    with pytest.raises(CError, match="need a detector"):
        segmenter(SCENE, WORDS, zoom_in=1, class_agnostic=1)
    assert segmenter(SCENE, WORDS, zoom_in=1).searched[0] == ("whole-image", "tiles")
    segmenter.close()


def test_a_real_detector(tmp_path: Path) -> None:
    """YOLOv8n's boxes in a photograph: windows are whole pixels, so engines' rounding hardly moves them."""
    from PIL import Image

    path = shared_data("models", "yolov8n_640_fp32.onnx")
    folder = make_bpe_bundle(tmp_path / "real.clsclip")
    (folder / "detector.onnx").write_bytes(path.read_bytes())
    found, _ = read_spec(path)
    document = json.loads((folder / "manifest.json").read_text("utf-8"))
    document["detector"] = {**vars(found), "names": list(found.names), "license": "AGPL-3.0"}
    sign(folder, document)
    pixels = np.ascontiguousarray(np.asarray(Image.open(shared_data("pictures", "bus.jpg")).convert("RGB")))
    cpp = CSegmenter(folder)
    theirs = cpp(pixels, ["bus", "person"], zoom_in=1, fallback=1, boxes_as_masks=1)
    cpp.close()
    with Segmenter.load(folder, threads=1, backend="onnxruntime-cpu") as python:
        mine = python(pixels, ["bus", "person"], zoom_in=ZoomIn(fallback="none", boxes_as_masks=True))
    regions = list(mine.all_instances())
    assert len(theirs.regions) == len(regions) >= 4
    for one, other in zip(theirs.regions, regions, strict=True):
        assert one.class_name == other.name
        assert np.abs(np.subtract(one.window, other.window)).max() <= 1
        assert one.score == pytest.approx(other.score, abs=1e-3)
