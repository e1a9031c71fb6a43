"""Images that a model does not know: the line through a feature, beside sums of the test's own, and what is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsclip_runtime import BundleError, Segmenter
from clsclip_runtime.inference.domain import pooled
from clsclip_runtime.regions import ZoomIn
from tests.runtime.tiny_bundle import SIZE, manifest, sign

BLUE, RED = (0, 0, 255), (255, 0, 0)


def domain(weights: list[float], bias: float, feature: str = "stem_tokens") -> dict[str, Any]:
    test = {"weights": {feature: weights}, "bias": bias}
    return {"name": "colors", "description": "plain colors", "test": test}


def loaded(bundle: Path, folder: Path, stated: object) -> Segmenter:
    copy = Path(shutil.copytree(bundle, folder / "own.clsclip"))
    sign(copy, manifest() | {"domain": stated})
    return Segmenter.load(copy, "onnxruntime-cpu", threads=1)


def plain(color: tuple[int, int, int], size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    return np.full((size[1], size[0], 3), color, np.uint8)


def told(notes: list[str]) -> bool:
    return any("unlike what the model knows (colors: plain colors)" in note for note in notes)


def test_features_are_pooled_to_means_and_deviations() -> None:
    feature = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    found = pooled(feature)
    for at in range(4):
        values = [float(value) for value in feature[..., at].ravel()]
        mean = sum(values) / len(values)
        deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        assert found[at] == pytest.approx(mean, abs=1e-9) and found[4 + at] == pytest.approx(deviation, abs=1e-9)


def test_images_on_the_far_side_are_told(bundle: Path, tmp_path: Path) -> None:
    with loaded(bundle, tmp_path, None) as segmenter:
        means = {
            color: pooled(np.asarray(segmenter.set_image(plain(color)).arrays["stem_tokens"])[0])[2]
            for color in (BLUE, RED)
        }
    shutil.rmtree(tmp_path / "own.clsclip")
    half = (means[BLUE] + means[RED]) / 2
    sign_of = 1.0 if means[BLUE] > means[RED] else -1.0
    weights = [0.0, 0.0, sign_of, 0.0, 0.0, 0.0]
    with loaded(bundle, tmp_path, domain(weights, -half * sign_of)) as segmenter:
        blue, red = plain(BLUE, (30, 20)), plain(RED, (30, 20))
        assert told(segmenter(blue, ["red"]).notes) and not told(segmenter(red, ["red"]).notes)
        both = segmenter.batch([red, blue], ["red"])
        assert [told(one.notes) for one in both] == [False, True]
        segmenter.set_image(blue)
        assert told(segmenter.predict(["red"]).notes)
        assert told(segmenter(blue, ["red"], presence_filter=False).notes)
        assert told(segmenter(blue, ["red"], regions="tiles").notes)
        # Of boxes the whole image is not encoded, so nothing is known of it.
        near = segmenter(blue, ["red"], regions=[[0, 0, 20, 20]], zoom_in=ZoomIn(fallback="none"))
        assert not told(near.notes)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (5, "an object"),
        ({"name": "colors"}, "description"),
        ({"name": "", "description": "x"}, "not empty"),
        (domain([1.0] * 5, 0.0), "a list of 6 numbers"),
        (domain([1.0] * 5 + [float("nan")], 0.0), "manifest.json"),
        (domain([1.0] * 6, 1e10), "bias"),
        (domain([1.0] * 6, 0.0, "nothing"), "the names of image features"),
        ({"name": "colors", "description": "x", "test": {"weights": {}, "bias": 0}}, "the names of image features"),
    ],
)
def test_what_makes_no_sense_is_refused(bundle: Path, tmp_path: Path, stated: object, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        loaded(bundle, tmp_path, stated)
