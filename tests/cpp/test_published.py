"""Bundles of published weights in the C++ command line: CLIPSeg's, and CLIP's alone. Masks are the Python runtime's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clsclip.clipseg_files import load_clipseg
from clsclip.photographs import photographs
from clsclip.training_free import METHODS, TrainingFree
from clsclip_export.bundle import write
from clsclip_export.graphs import export_graphs
from clsclip_export.options import BundleOptions
from clsclip_export.profiles import Profile
from clsclip_runtime import Segmenter
from tests import clipseg
from tests.cpp.test_infer_cpp import run
from tests.export.test_clipseg import PUBLISHED
from tests.export.test_training_free import GROUND, TEMPLATES, like_trained, tiny_clip, towers_of

WORDS = ("cat", "a wooden chair", "sky", "bicycle", "face", "coin", "grass", "lamp")
PROFILE = Profile((1, 1, 2), (1, 2, 8), (1, 2, 8))
SAME = 0.999


def of_clipseg(folder: Path, size: int, **config: Any) -> Any:
    return load_clipseg(str(clipseg.save(clipseg.reference(**config), folder / "weights", size)))[0]


def of_clip(clip: Any, size: int, patch: int, method: str) -> Any:
    # One background prompt, so that random weights give masks at all.
    return TrainingFree(towers_of(clip, size, patch), method, GROUND[:1], TEMPLATES).eval()


def same_masks(model: Any, folder: Path, images: int, templates: tuple[str, ...]) -> None:
    """Write the bundle, run the C++ program on photographs, and compare its files with the Python runtime's masks."""
    bundle = folder / "model.clsclip"
    header = {"provenance": {"templates": list(templates)}}
    bundle.mkdir()
    write(export_graphs(model), bundle, header, BundleOptions("published", profile=PROFILE))
    paths = []
    for at, pixels in enumerate(photographs()[:images]):
        paths.append(folder / f"photo{at}.png")
        Image.fromarray(pixels).save(paths[-1])
    out = folder / "out"
    done = run(*paths, "--classes", *WORDS, "--model", bundle, "--out", out, "--formats", "png", "--json")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    compared = 0
    with Segmenter.load(bundle, "openvino") as segmenter:
        for at, path in enumerate(paths):
            mine = segmenter(path, WORDS)
            assert [one["status"] for one in told[at]["classes"]] == [one.status for one in mine]
            for file in mine.save(folder / "python", formats=["png"]):
                own, theirs = (np.asarray(Image.open(one)) > 0 for one in (file, out / Path(file).name))
                union = int((own | theirs).sum())
                if union:
                    compared += 1
                    assert int((own & theirs).sum()) / union >= SAME, file
    assert compared >= images, "masks are empty, so nothing was compared"


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{}, {"use_complex_transposed_convolution": True}], ids=["simple", "complex"])
def test_clipseg(tmp_path: Path, changed: dict[str, Any]) -> None:
    same_masks(of_clipseg(tmp_path, 48, **clipseg.TINY | changed), tmp_path, 3, ("{}",))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cosine", "naclip"])
def test_clip_alone(tmp_path: Path, method: str) -> None:
    same_masks(of_clip(tiny_clip(), 32, 8, method), tmp_path, 3, TEMPLATES)


@pytest.mark.slow
@pytest.mark.parametrize("variant", PUBLISHED)
def test_clipseg_at_full_size(tmp_path: Path, variant: str) -> None:
    model = of_clipseg(tmp_path, 352, vision_config={"patch_size": 16}, **PUBLISHED[variant])
    same_masks(model, tmp_path, 8, ("{}",))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_clip_alone_at_full_size(tmp_path: Path, method: str) -> None:
    torch.manual_seed(0)
    clip = like_trained(open_clip.CLIP(**open_clip.get_model_config("ViT-B-16"), quick_gelu=True))
    same_masks(of_clip(clip, 224, 16, method), tmp_path, 8, TEMPLATES)
