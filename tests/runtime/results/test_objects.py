"""Masks that are cleaned, and their connected parts as objects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import supervision
from scipy import ndimage

from clsclip_runtime import OptionError, Proposals, Result, Segmenter
from tests.runtime.tiny_bundle import paint

Bools = npt.NDArray[np.bool_]
RING = paint({"red": (slice(0, 4), slice(0, 4))})
RING[4:12, 4:12] = 160
SPECKLED = RING.copy()
SPECKLED[24:28, 20:32] = (255, 0, 0)
SPECKLED[24:28, 4:8] = (255, 0, 0)
"""A red square with a hole, a bar of three patches, and a speck of one."""


def parts(mask: Bools) -> list[Bools]:
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return [labels == number for number in range(1, count + 1)]


@pytest.fixture
def plain(segmenter: Segmenter) -> Result:
    return segmenter(SPECKLED, ["red", "green"], presence_threshold=0)


def test_cleaning_is_what_scipy_does(segmenter: Segmenter, plain: Result) -> None:
    mask = plain.mask("red")
    square, *rest = sorted(parts(mask), key=lambda one: -int(one.sum()))
    assert len(rest) == 2
    bar, speck = rest
    filled = ndimage.binary_fill_holes(mask)
    assert filled.sum() > mask.sum()
    area = int(bar.sum())
    for options, wanted in (
        ({"min_area": area}, square | bar),
        ({"min_area": area + 1}, square),
        ({"largest": True}, square),
        ({"fill_holes": True}, filled),
        ({"fill_holes": True, "min_area": int(speck.sum()) + 1, "largest": True}, ndimage.binary_fill_holes(square)),
        ({"min_area": 0, "largest": False}, mask),
    ):
        found = segmenter(SPECKLED, ["red", "green"], presence_threshold=0, **options)
        assert (found.mask("red") == wanted).all(), options
        assert found["red"].area == wanted.sum() == found.rle("red").area
        assert (found.labels() == 1)[wanted & ~filled | wanted & mask].all()
        assert ((found.labels() == 1) <= wanted).all()
        assert (found.instances[0].mask == wanted).all()
        assert (found.masks[0] == wanted).all()
        small = found.mask_at_size("red", (16, 16))
        assert (small == wanted[1::2, 1::2]).all() or not found.cleaning, "the pixels under the centers"
        assert any("masks were cleaned: " in note for note in found.notes) == bool(found.cleaning)
        found.overlay()


def test_a_hole_belongs_to_another_class_that_is_there(segmenter: Segmenter) -> None:
    scene = RING.copy()
    scene[4:12, 4:12] = (0, 255, 0)
    found = segmenter(scene, ["green", "red"], fill_holes=True)
    assert found.mask("red")[8, 8] and found.mask("green")[8, 8]
    assert found.labels()[8, 8] == 1


def test_a_class_of_which_nothing_is_left_says_so(segmenter: Segmenter, plain: Result) -> None:
    found = segmenter(SPECKLED, ["red", "green"], min_area=10_000, presence_threshold=0)["red"]
    assert (found.status, found.area, found.box) == ("empty", 0, None)
    assert found.reason == f"no part of 10000 pixels, {plain['red'].area} in all"
    assert plain["green"].reason is None


def test_the_largest_part_is_that_of_every_region(segmenter: Segmenter) -> None:
    boxes = Proposals.from_boxes([[0, 0, 32, 23], [0, 22, 32, 32]])
    found = segmenter(SPECKLED, ["red"], regions=boxes, largest=True)
    assert len(found.instances) == len(found.parts) == 2
    assert (found.mask("red") == found.instances[0].mask | found.instances[1].mask).all()


def test_parts_have_boxes_of_their_own(plain: Result) -> None:
    wanted = parts(plain.mask("red"))
    assert [len(plain.instances), len(plain.parts)] == [1, 3]
    for one, mask in zip(plain.parts, wanted, strict=True):
        assert (one.mask == mask).all()
        rows, columns = np.nonzero(mask)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert one.box == one.mask_box == box
        assert (one.name, one.index, one.score) == ("red", 0, plain.instances[0].score)
    assert plain.instances[0].mask_box == plain["red"].box
    assert next(one for one in plain.all_instances() if one.name == "green").mask_box is None


def test_parts_in_supervision(plain: Result) -> None:
    found = plain.to_supervision(parts=True)
    assert isinstance(found, supervision.Detections)
    assert len(found) == 3
    assert len(plain.to_supervision()) == 1
    np.testing.assert_array_equal(found.mask, np.array(parts(plain.mask("red"))))
    np.testing.assert_array_equal(found.xyxy, supervision.mask_to_xyxy(found.mask) + np.array([0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("options", "told"),
    [({"min_area": -1}, "min_area"), ({"largest": 2}, "largest"), ({"fill_holes": 0}, "fill_holes")],
)
def test_wrong_values_are_told(segmenter: Segmenter, options: dict[str, int], told: str) -> None:
    with pytest.raises(OptionError, match=f"{told} must be"):
        segmenter(SPECKLED, "red", **options)
