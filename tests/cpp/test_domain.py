"""Images that a model does not know: the C++ runtime tells the same ones as the Python one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from clsclip_runtime import Segmenter, ZoomIn
from clsclip_runtime.regions import Proposals
from tests.cpp.c_api import CSegmenter
from tests.cpp.opaque_bundle import WORDS, make_opaque_bundle
from tests.runtime.tiny_bundle import GRID, sign


def image_of(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (5, 6, 3)), np.ones((7, 8, 1))).astype(np.uint8)


def told(notes: list[str] | tuple[str, ...]) -> list[str]:
    return [one for one in notes if "unlike what the model knows" in one]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its line divides random images: over means and deviations of the rows of a (3, GRID, GRID) feature."""
    folder = make_opaque_bundle(tmp_path_factory.mktemp("domain") / "opaque.clsclip")
    weights = np.random.default_rng(1).normal(size=2 * GRID).tolist()
    document = json.loads((folder / "manifest.json").read_text("utf-8"))
    with Segmenter.load(folder, "onnxruntime-cpu", threads=1) as plain:
        features = [np.asarray(plain.set_image(image_of(seed)).arrays["anything"])[0] for seed in range(20)]
    pooled = [one.reshape(-1, GRID) for one in features]
    scores = [float(np.concatenate([one.mean(axis=0), one.std(axis=0)]) @ weights) for one in pooled]
    test = {"weights": {"anything": weights}, "bias": -float(np.median(scores))}
    document["domain"] = {"name": "colors", "description": "flat\n  colors, é", "test": test}
    sign(folder, document)
    return folder


def test_both_tell_the_same_images(bundle: Path) -> None:
    cpp, found = CSegmenter(bundle), list[str]()
    with Segmenter.load(bundle, "onnxruntime-cpu", threads=1) as python:
        for seed in range(20):
            pixels = image_of(seed)
            mine, theirs = python(pixels, WORDS), cpp(pixels, WORDS)
            assert told(theirs.notes) == told(mine.notes)
            found += told(mine.notes)
            assert told(cpp(pixels, WORDS, presence_filter=False).notes) == told(mine.notes)
            boxes = [[0.0, 0.0, 20.0, 20.0]]
            alone = {"boxes": boxes, "fallback": 1}
            near = python(pixels, WORDS, regions=Proposals.from_boxes(boxes), zoom_in=ZoomIn(fallback="none"))
            assert not told(near.notes) and not told(cpp(pixels, WORDS, **alone).notes)
    assert len(found) == 10 and all("(colors: flat colors, é)" in one for one in found)
    cpp.close()


def test_a_domain_without_a_test_tells_nothing(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "own.clsclip"))
    document = json.loads((folder / "manifest.json").read_text("utf-8"))
    sign(folder, document | {"domain": {"name": "colors", "description": "flat colors"}})
    cpp = CSegmenter(folder)
    assert not any(told(cpp(image_of(seed), WORDS).notes) for seed in range(20))
    cpp.close()
