"""What becomes of a result whose words were looked for in regions: labels, overlays, COCO, supervision."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime import OutputError, Proposals, Segmenter, ZoomIn

StickerImage = npt.NDArray[np.uint8]
TIGHT = ZoomIn(crop_margin=0, min_crop_size=1)


def test_labels_and_overlay_agree_with_the_masks(segmenter: Segmenter, scene: StickerImage) -> None:
    result = segmenter(scene, ["red", "green"], regions=[[2, 2, 22, 18], [6, 18, 18, 30]])
    labels = result.labels()
    assert ((labels > 0) == result.masks.any(axis=0)).all()
    for at in range(2):
        assert result.masks[at][labels == at + 1].all()
    assert result.overlay().size[0] >= 32


def test_coco_has_one_annotation_a_region(segmenter: Segmenter, scene: StickerImage) -> None:
    regions = Proposals.from_boxes([[4, 4, 12, 16], [12, 4, 20, 16]], ["red", "red"], [0.5, 0.75])
    document = segmenter(scene, ["red", "green"], regions=regions, zoom_in=TIGHT).to_coco()
    assert [one["category_id"] for one in document["annotations"]] == [1, 1, 2]
    assert [one["score"] for one in document["annotations"]] == [0.5, 0.75, 1.0]
    first = document["annotations"][0]["bbox"]
    assert first[0] >= 4 and first[0] + first[2] <= 12


def test_supervision(segmenter: Segmenter, scene: StickerImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    result = segmenter(scene, ["blue", "red", "green"], regions=Proposals.from_boxes([[4, 4, 20, 16]], ["red"], [0.5]))
    with pytest.raises(OutputError, match="pip install supervision"):
        result.to_supervision()
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))  # type: ignore[arg-type]
    found = result.to_supervision()
    assert found.class_id.tolist() == [1, 2]
    assert found.confidence.tolist() == [0.5, 1.0]
    assert found.data["class_name"].tolist() == ["red", "green"]
    assert found.mask.shape == (2, 32, 32)
    for box, mask in zip(found.xyxy, found.mask, strict=True):
        left, top, right, bottom = (int(value) for value in box)
        assert mask[top:bottom, left:right].any(axis=0).all()
        assert mask.sum() == mask[top:bottom, left:right].sum()


def test_supervision_takes_the_result(segmenter: Segmenter, scene: StickerImage) -> None:
    supervision = pytest.importorskip("supervision")
    found = segmenter(scene, ["red", "green"]).to_supervision()
    assert isinstance(found, supervision.Detections)
    assert len(found) == 2
