"""Probabilities at the image's size, and thresholds that a call brings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsclip_runtime import Limits, OptionError, Proposals, Segmenter, ZoomIn

StickerImage = npt.NDArray[np.uint8]


def test_they_are_torchs_upsampled_logits(segmenter: Segmenter, scene: StickerImage) -> None:
    import torch

    result = segmenter(scene, ["red", "blue"])
    found = result.probabilities("red")
    wanted = torch.nn.functional.interpolate(torch.from_numpy(result.logits[:1])[None], size=(32, 32), mode="bilinear")
    assert (found.dtype, found.shape) == (np.float32, (32, 32))
    np.testing.assert_allclose(found, wanted[0, 0].sigmoid().numpy(), atol=1e-6)
    assert not result.probabilities("blue").any()  # not segmented
    assert result.probabilities("red", size=(10, 20)).shape == (20, 10)


@settings(max_examples=12)
@given(st.floats(0.001, 0.999))
def test_the_mask_is_where_they_exceed_the_threshold(
    segmenter: Segmenter, scene: StickerImage, threshold: float
) -> None:
    boxes = Proposals.from_boxes([[2, 2, 22, 18], [6, 18, 18, 30], [0, 0, 30, 30]], ["red", None, "green"])
    for regions in (None, boxes, "tiles"):
        result = segmenter(scene, ["red", "green"], mask_threshold=threshold, presence_threshold=0, regions=regions)
        assert result.mask_threshold == threshold
        for name in ("red", "green"):
            probabilities = result.probabilities(name)
            near = np.abs(probabilities - threshold) < 1e-5
            assert ((probabilities > threshold) == result.mask(name))[~near].all()


def test_the_threshold_of_a_call(segmenter: Segmenter, scene: StickerImage) -> None:
    areas = [segmenter(scene, "red", mask_threshold=one)["red"].area for one in (0.1, 0.5, 0.9)]
    assert areas[0] > areas[1] > areas[2] > 0
    assert areas[1] == segmenter(scene, "red")["red"].area
    segmenter.set_image(scene)
    assert segmenter.predict("red", mask_threshold=0.9)["red"].area == areas[2]
    (of_batch,) = segmenter.batch([scene], "red", mask_threshold=0.9)
    assert of_batch["red"].area == areas[2]
    assert of_batch.to_json()["mask_threshold"] == 0.9
    assert (of_batch.labels() > 0).sum() == areas[2]
    refined = [segmenter(scene, "red", mask_threshold=one, refine=True) for one in (0.0001, 0.5, 0.9999)]
    assert refined[0]["red"].area > refined[1]["red"].area >= refined[2]["red"].area
    zoom = ZoomIn(boxes_as_masks=True)
    assert segmenter(scene, "red", regions=[[2, 2, 8, 9]], zoom_in=zoom, mask_threshold=0.9)["red"].area == 42


@pytest.mark.parametrize("wrong", [0, 1, -0.5, float("nan"), "0.5", True])
def test_what_is_no_threshold_is_told(segmenter: Segmenter, scene: StickerImage, wrong: float) -> None:
    with pytest.raises(OptionError, match="mask_threshold must be a number from"):
        segmenter(scene, "red", mask_threshold=wrong)


def test_what_does_not_fit_is_refused(bundle: object, scene: StickerImage) -> None:
    with Segmenter.load(bundle, "onnxruntime-cpu", limits=Limits(result_mb=1)) as segmenter:  # type: ignore[arg-type]
        result = segmenter(scene, "red")
        with pytest.raises(OptionError, match="Give a smaller size"):
            result.probabilities("red", size=(2000, 2000))
        with pytest.raises(OptionError, match="was not asked"):
            result.probabilities("cat")
