from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clsclip_runtime import OptionError, ZoomIn
from clsclip_runtime.regions import box_windows, crop_windows, mask_limits
from clsclip_runtime.regions.crops import scale_window

ANY_BOXES = arrays(np.float32, st.tuples(st.integers(0, 12), st.just(4)), elements=st.floats(width=32))
NEAR_BOXES = arrays(np.float32, st.tuples(st.integers(1, 12), st.just(4)), elements=st.floats(-40, 140, width=32))
SIZES = st.tuples(st.integers(1, 120), st.integers(1, 120))
ZOOMS = st.builds(ZoomIn, crop_margin=st.floats(0, 2), min_crop_size=st.integers(1, 200))


def windows_of(boxes: list[list[float]], size: tuple[int, int] = (100, 80), **zoom: Any) -> list[list[int]]:
    return crop_windows(np.array(boxes, np.float32), size, ZoomIn(**zoom))[0].tolist()


def test_margin_is_a_share_of_the_box_on_every_side() -> None:
    assert windows_of([[20, 30, 40, 70]], crop_margin=0.1, min_crop_size=1) == [[18, 26, 42, 74]]
    assert windows_of([[20.4, 30.6, 39.5, 69.2]], crop_margin=0, min_crop_size=1) == [[20, 30, 40, 70]], (
        "every pixel touched"
    )


def test_windows_are_cut_at_the_pictures_edges() -> None:
    assert windows_of([[-50, -50, 10, 10]], crop_margin=0, min_crop_size=1) == [[0, 0, 10, 10]]
    assert windows_of([[90, 70, 500, 500]], crop_margin=0.5, min_crop_size=1) == [[85, 65, 100, 80]]


def test_small_boxes_get_the_smallest_side() -> None:
    assert windows_of([[50, 40, 51, 41]], crop_margin=0, min_crop_size=16) == [[43, 33, 59, 49]]
    assert windows_of([[0, 79, 1, 80]], crop_margin=0, min_crop_size=16) == [[0, 64, 16, 80]], "moved inside"
    assert windows_of([[1, 1, 2, 2]], (8, 5), crop_margin=0, min_crop_size=16) == [[0, 0, 8, 5]], (
        "the picture is smaller"
    )


@pytest.mark.parametrize(
    "box",
    [[10, 10, 10, 20], [20, 10, 10, 30], [200, 10, 300, 20], [-30, 0, -1, 9], [0, math.nan, 5, 5], [0, 0, 5, math.inf]],
)
def test_boxes_of_nothing_have_no_window(box: list[float]) -> None:
    windows, index = crop_windows(np.array([box, [1, 1, 9, 9]], np.float32), (100, 80), ZoomIn())
    assert index.tolist() == [1]
    assert len(windows) == 1


@settings(max_examples=200)
@given(ANY_BOXES, SIZES, ZOOMS)
def test_windows_of_any_floats_lie_in_the_picture(boxes: Any, size: tuple[int, int], zoom: ZoomIn) -> None:
    for windows, index in (crop_windows(boxes, size, zoom), box_windows(boxes, size)):
        assert windows.shape == (len(index), 4)
        assert windows.dtype == np.int64
        assert (windows[:, :2] >= 0).all()
        assert (windows[:, 2:] <= np.array(size)).all()
        assert (windows[:, 2:] > windows[:, :2]).all()


@settings(max_examples=200)
@given(NEAR_BOXES, SIZES, ZOOMS)
def test_windows_hold_their_boxes_and_are_large_enough(boxes: Any, size: tuple[int, int], zoom: ZoomIn) -> None:
    windows, index = crop_windows(boxes, size, zoom)
    inside = np.clip(boxes[index], 0, [*size, *size])
    assert (windows[:, :2] <= inside[:, :2]).all()
    assert (windows[:, 2:] >= inside[:, 2:]).all()
    sides = windows[:, 2:] - windows[:, :2]
    assert (sides >= np.minimum(zoom.min_crop_size, size)).all()
    overlapping = (np.minimum(boxes[:, 2:], size) > np.maximum(boxes[:, :2], 0)).all(axis=1)
    assert index.tolist() == np.flatnonzero(overlapping).tolist()


@settings(max_examples=200)
@given(NEAR_BOXES, SIZES, ZOOMS, st.floats(0, 3))
def test_masks_may_reach_over_their_boxes_by_the_margin(
    boxes: Any, size: tuple[int, int], zoom: ZoomIn, mask_margin: float
) -> None:
    windows, index = crop_windows(boxes, size, zoom)
    limits = mask_limits(boxes[index], windows, size, mask_margin)
    inside = np.clip(boxes[index].astype(np.float64), 0, [*size, *size])
    assert (limits[:, :2] >= windows[:, :2]).all() and (limits[:, 2:] <= windows[:, 2:]).all()
    assert (limits[:, :2] <= inside[:, :2]).all() and (limits[:, 2:] >= inside[:, 2:]).all()
    assert (limits[:, 2:] > limits[:, :2]).all()
    reach = mask_margin * (inside[:, 2:] - inside[:, :2]) + 1 + 1e-9  # sums of floats are rounded
    assert (limits[:, :2] >= inside[:, :2] - reach).all() and (limits[:, 2:] <= inside[:, 2:] + reach).all()
    wide = (inside[:, 2:] - inside[:, :2] > 1e-3).all(axis=1)
    assert (mask_limits(boxes[index], windows, size, 1e9) == windows)[wide].all()


def test_the_mask_margin_is_a_share_of_the_box() -> None:
    box, window = np.array([[20, 30, 40, 70]], np.float32), np.array([[10, 10, 50, 80]])
    assert mask_limits(box, window, (100, 80), 0.1).tolist() == [[18, 26, 42, 74]]
    assert mask_limits(box, window, (100, 80), 0).tolist() == [[20, 30, 40, 70]]
    assert mask_limits(box, window, (100, 80), 2).tolist() == [[10, 10, 50, 80]]


@given(st.tuples(*[st.integers(0, 50)] * 2), st.tuples(*[st.integers(1, 50)] * 2), SIZES)
def test_scaled_windows_are_never_empty_and_stay_inside(
    corner: tuple[int, int], sides: tuple[int, int], new: tuple[int, int]
) -> None:
    size = (corner[0] + sides[0] + 3, corner[1] + sides[1] + 2)
    window = np.array([*corner, corner[0] + sides[0], corner[1] + sides[1]])
    left, top, right, bottom = scale_window(window, size, new)
    assert 0 <= left < right <= new[0]
    assert 0 <= top < bottom <= new[1]
    assert scale_window(np.array([0, 0, *size]), size, new) == (0, 0, *new)
    assert scale_window(window, size, size) == tuple(window)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"crop_margin": -0.1}, "crop_margin must be"),
        ({"crop_margin": math.nan}, "crop_margin must be"),
        ({"crop_margin": "0.1"}, "crop_margin must be"),
        ({"min_crop_size": 0}, "min_crop_size must be"),
        ({"mask_threshold": 0}, "mask_threshold must be a number from 0.0001 to 0.9999"),
        ({"mask_threshold": None}, "mask_threshold must be"),
        ({"mask_margin": -0.1}, "mask_margin must be"),
        ({"mask_margin": math.inf}, "mask_margin must be"),
        ({"min_crop_size": 2.5}, "min_crop_size must be"),
        ({"fallback": "guess"}, "fallback must be one of whole-image, none"),
    ],
)
def test_options_must_make_sense(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        ZoomIn(**options)
