"""Logits of faint masks are lowered in C++ as in Python: in the whole image, in tiles, and not in boxes with a name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import Segmenter
from clsclip_runtime.bundle.editing import edit_bundle
from clsclip_runtime.bundle.opening import EMBEDDED
from clsclip_runtime.regions import RegionFile
from tests.cpp.test_infer_cpp import ROOT, run

IMAGE = ROOT / "examples" / "tiny.png"
BOXES = ROOT / "examples" / "tiny.json"
WORDS = ("snake", "caterpillar", "top hat", "folder")


@pytest.mark.parametrize("where", ["whole", "tiles", "named"])
def test_masks_are_pythons(tmp_path: Path, where: str) -> None:
    model, plain = tmp_path / "model.clsclip", tmp_path / "plain.clsclip"
    for folder, least in (
        (model, 4.0),
        (plain, 0.0),
    ):  # nearly every word passes, and few masks
        shutil.copytree(EMBEDDED, folder)
        edit_bundle(folder, {"presence_threshold": 0.01, "least_confidence": least})
    options = {"whole": [], "tiles": ["--regions", "tiles"], "named": ["--regions", BOXES]}[where]
    done = run(IMAGE, "--classes", *WORDS, "--model", model, "--out", tmp_path, "--formats", "png", "--json", *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[0])["classes"]
    regions = {"whole": None, "tiles": "tiles", "named": RegionFile(BOXES).of(str(IMAGE))}[where]
    with Segmenter.load(model, "openvino") as segmenter:
        mine = segmenter(IMAGE, WORDS, regions=regions)
    with Segmenter.load(plain, "openvino") as segmenter:
        raw = segmenter(IMAGE, WORDS, regions=regions)
    assert [one["status"] for one in told] == [one.status for one in mine]
    files = {Path(file).name: file for file in mine.save(tmp_path / "python", formats=["png"])}
    for name, file in files.items():
        own, theirs = (np.asarray(Image.open(one)) > 0 for one in (file, tmp_path / name))
        assert (own & theirs).sum() >= 0.999 * (own | theirs).sum(), name
    assert mine.pairs.logits.shape == raw.pairs.logits.shape
    assert np.array_equal(mine.pairs.logits, raw.pairs.logits) == (where == "named")
    assert any(one.area for one in mine) or where == "whole"
