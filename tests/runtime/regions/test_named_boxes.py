"""Boxes whose source names them: the model's threshold falls there, and masks stay near their boxes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from clsclip_runtime import OptionError, Proposals, Segmenter, ZoomIn
from clsclip_runtime.masks.upsampling import upsample
from tests.runtime.reading import regions_of
from tests.runtime.test_zoom import StickerImage

BOXES = [[4, 4, 20, 16], [8, 20, 16, 28]]
NAMED = Proposals.from_boxes(BOXES, ["red", "green"])
WORDS = ["red", "green"]


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0, 40.0])
def test_the_threshold_of_named_boxes_is_a_probability(segmenter: Segmenter, scene: StickerImage, ratio: float) -> None:
    """What exceeds 1 / (1 + ratio) is in the mask, by probabilities computed apart."""
    result = segmenter(scene, WORDS, regions=NAMED, zoom_in=ZoomIn(mask_threshold=1 / (1 + ratio), mask_margin=None))
    assert segmenter.bundle.manifest.mask.threshold == 0.5
    for at, region in enumerate(regions_of(result)):
        left, top, right, bottom = region.window
        logits = upsample(result.pairs.logits[at], (right - left, bottom - top)).astype(np.float64)
        probability = 1 / (1 + np.exp(-logits))
        clear = np.abs(logits + math.log(ratio)) > 1e-4
        assert (region.crop_mask == (probability > 1 / (1 + ratio)))[clear].all()


def test_lower_thresholds_only_add_pixels(segmenter: Segmenter, scene: StickerImage) -> None:
    few, more = (
        segmenter(scene, WORDS, regions=NAMED, zoom_in=ZoomIn(mask_threshold=mask_threshold)).masks
        for mask_threshold in (0.5, 1 / 901)
    )
    assert (few <= more).all()
    assert few.sum() < more.sum()


def test_masks_stay_near_their_boxes(segmenter: Segmenter, scene: StickerImage) -> None:
    """Odds that let everything through show how far masks may reach."""
    for mask_margin, boxes in ((0.0, BOXES), (0.25, [[0, 1, 24, 19], [6, 18, 18, 30]])):
        zoom = ZoomIn(crop_margin=0.5, mask_threshold=0.000999, mask_margin=mask_margin)
        result = segmenter(scene, WORDS, regions=Proposals.from_boxes(BOXES, WORDS), zoom_in=zoom)
        for mask, region, (left, top, right, bottom) in zip(result.masks, regions_of(result), boxes, strict=True):
            outside = mask.copy()
            outside[top:bottom, left:right] = False
            assert not outside.any()
            assert (region.mask == mask).all()
            x0, y0, x1, y1 = region.window
            assert (region.crop_mask == mask[y0:y1, x0:x1]).all()
    free = segmenter(
        scene, WORDS, regions=NAMED, zoom_in=ZoomIn(crop_margin=0.5, mask_threshold=0.000999, mask_margin=None)
    )
    assert free.masks.sum() > result.masks.sum()


def test_boxes_without_names_and_whole_pictures_are_as_in_the_paper(segmenter: Segmenter, scene: StickerImage) -> None:
    papers = ZoomIn(mask_threshold=0.5, mask_margin=None)
    for zoom in (ZoomIn(), ZoomIn(mask_threshold=0.009901, mask_margin=0)):
        for regions in (Proposals.from_boxes(BOXES), Proposals.from_boxes(np.zeros((0, 4)))):
            found = segmenter(scene, WORDS, regions=regions, zoom_in=zoom)
            assert (found.masks == segmenter(scene, WORDS, regions=regions, zoom_in=papers).masks).all()


def test_every_form_of_the_masks_agrees(segmenter: Segmenter, scene: StickerImage, tmp_path: Path) -> None:
    result = segmenter(
        scene, WORDS, regions=NAMED, zoom_in=ZoomIn(crop_margin=0.5, mask_threshold=1 / 21, mask_margin=0.1)
    )
    labels = result.labels()
    assert ((labels > 0) == result.masks.any(axis=0)).all()
    assert all(result.masks[at][labels == at + 1].all() for at in range(2))
    assert [one.area for one in result] == result.masks.sum(axis=(1, 2)).tolist()
    double = result.mask_at_size("red", (64, 64))
    assert double.sum() == pytest.approx(4 * result.mask("red").sum(), rel=0.3)
    (path,) = result.save(tmp_path, "npz")
    with np.load(path) as arrays:
        assert arrays["pair_limit"].tolist() == [[2, 2, 22, 18], [7, 19, 17, 29]]
        assert arrays["pair_mask_logit"] == pytest.approx([-math.log(20)] * 2)
    json.dumps(result.to_json())


def test_labels_weigh_words_by_their_own_thresholds(segmenter: Segmenter, scene: StickerImage) -> None:
    """Of two words at one pixel the one wins that exceeds its own threshold by more."""
    everywhere = Proposals.from_boxes([[0, 0, 32, 32], [0, 0, 32, 32]], ["red", None])
    zoom = ZoomIn(crop_margin=0, mask_threshold=0.000999, mask_margin=None)
    result = segmenter(scene, WORDS, regions=everywhere, zoom_in=zoom, presence_threshold=0)
    above = [
        (int(result.pairs.classes[at]), upsample(result.pairs.logits[at], (32, 32)) - result.pairs.mask_logits[at])
        for at in range(len(result.pairs))
    ]
    best = np.max([value for _, value in above], axis=0)
    words = np.array([word for word, _ in above])[np.argmax([value for _, value in above], axis=0)]
    assert (result.labels() == np.where(best > 0, words + 1, 0)).mean() > 0.99


def test_names_that_cannot_be_printed_are_refused() -> None:
    for name in ("\ud800", "a\x1b", "a\nb"):
        with pytest.raises(OptionError, match="no control characters"):
            Proposals.from_boxes([[0, 0, 5, 5]], [name])


def test_boxes_outside_the_image_are_noted(segmenter: Segmenter, scene: StickerImage) -> None:
    boxes = [[0, 0, 24, 18], [900, 900, 910, 910], [5, 5, 5, 9]]
    result = segmenter(scene, ["red"], regions=boxes)
    assert result.notes == ["left out 2 of 3 boxes, of which the image shows nothing"]
    assert segmenter(scene, ["red"], regions=boxes[:1]).notes == []
