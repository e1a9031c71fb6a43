"""Boxes in another form than xyxy in pixels are refused, with the line that mends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime import OptionError, Proposals, RegionFile, Segmenter
from tests.runtime.tiny_bundle import paint

XYXY = np.array([[196.0, 96, 212, 112], [36, 56, 60, 72]])
XYWH = np.hstack([XYXY[:, :2], XYXY[:, 2:] - XYXY[:, :2]])
SIZE = (320, 240)
SHARES = XYXY / [*SIZE, *SIZE]


@pytest.fixture(scope="module")
def large() -> npt.NDArray[np.uint8]:
    image = np.full((SIZE[1], SIZE[0], 3), 160, np.uint8)
    image[:, : SIZE[1]] = (
        np.asarray(paint({"red": (slice(2, 6), slice(2, 6))})).repeat(8, 0).repeat(8, 1)[: SIZE[1], : SIZE[1]]
    )
    return image


def line(segmenter: Segmenter, image: Any, boxes: Any) -> str:
    with pytest.raises(OptionError) as caught:
        segmenter(image, "red", regions=boxes)
    return str(caught.value).rpartition("give: ")[2]


@pytest.mark.parametrize("boxes", [XYWH, SHARES], ids=["xywh", "shares"])
def test_the_line_mends_the_boxes(segmenter: Segmenter, large: npt.NDArray[np.uint8], boxes: Any) -> None:
    mended = eval(line(segmenter, large, boxes), {"boxes": boxes, "numpy": np})
    np.testing.assert_allclose(mended, XYXY)
    segmenter(large, "red", regions=mended)
    assert line(segmenter, large, Proposals.from_boxes(boxes, ["red", "green"])) == line(segmenter, large, boxes)
    with pytest.raises(OptionError):
        segmenter.batch([large], "red", regions=[boxes.tolist()])


def test_one_wrong_box_of_many(segmenter: Segmenter, large: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(OptionError, match=r"box 2 of the regions, \[36, 56, 24, 16\], ends before it begins"):
        segmenter(large, "red", regions=np.concatenate([XYXY, XYWH[1:]]))


def test_boxes_that_are_fine(segmenter: Segmenter, large: npt.NDArray[np.uint8]) -> None:
    """Empty ones, one pixel among others, outside the image and a little beyond it, and of a tiny image."""
    for boxes in (
        np.zeros((0, 4)),
        [[5, 5, 5, 5]],
        [[0, 0, 1, 1], [3, 3, 9, 9]],
        [[-5, -5, 330, 245]],
        [[400, 9, 900, 20]],
    ):
        assert not any("end far beyond" in note for note in segmenter(large, "red", regions=boxes).notes)
    segmenter(large[:4, :4].copy(), "red", regions=[[0, 0, 1, 1]])


def test_boxes_far_beyond_the_image_are_noted(
    segmenter: Segmenter, large: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    """As xyxy in a JSON file would be, where boxes are xywh."""
    path = tmp_path / "boxes.json"
    path.write_text('[{"bbox": [196, 96, 212, 112]}, {"bbox": [36, 56, 60, 72]}]')
    (note,) = (one for one in segmenter(large, "red", regions=RegionFile(path).of("a")).notes if "beyond" in one)
    assert note.startswith("1 of 2 boxes end far beyond the image of 320x240 pixels")
    path.write_text('[{"bbox": [20, 9, -12, 4]}]')
    with pytest.raises(OptionError, match="ends before it begins"):
        segmenter(large, "red", regions=RegionFile(path).of("a"))
    path.write_text('[{"bbox": [0.1, 0.2, 0.3, 0.4]}]')
    with pytest.raises(OptionError, match=r"lie in 0\.\.1"):
        segmenter(large, "red", regions=RegionFile(path).of("a"))
