"""Connected parts and holes of masks, against SciPy's on pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from clsclip_runtime import OptionError
from clsclip_runtime.masks.cleaning import Cleaning, filled, split
from clsclip_runtime.masks.rle import RleMask

Bools = npt.NDArray[np.bool_]
MASKS = st.one_of(
    arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)),
    st.builds(
        lambda seed, share: np.random.default_rng(seed).random((17, 23)) < share,
        st.integers(0, 9999),
        st.sampled_from([0.1, 0.4, 0.6, 0.9]),
    ),
)


def parts_of(mask: Bools) -> list[Bools]:
    """In the order of their first pixels."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    found = [labels == number for number in range(1, count + 1)]
    return sorted(found, key=lambda one: int(np.flatnonzero(one)[0]))


def cleaned(mask: Bools, cleaning: Cleaning) -> Bools:
    if cleaning.fill_holes:
        mask = ndimage.binary_fill_holes(mask)
    parts = [one for one in parts_of(mask) if one.sum() >= cleaning.min_area]
    if cleaning.largest and parts:
        parts = [max(parts_of(mask), key=lambda one: int(one.sum()))]
    return np.logical_or.reduce([np.zeros_like(mask), *parts])


@given(MASKS)
def test_parts(mask: Bools) -> None:
    found = [one.mask() for one in split(RleMask.from_mask(mask))]
    wanted = parts_of(mask)
    assert len(found) == len(wanted)
    assert all((one == other).all() for one, other in zip(found, wanted, strict=True))


@given(MASKS)
def test_holes(mask: Bools) -> None:
    assert (filled(RleMask.from_mask(mask)).mask() == ndimage.binary_fill_holes(mask)).all()


@settings(max_examples=200)
@given(MASKS, st.builds(Cleaning, st.integers(0, 9), st.booleans(), st.booleans()))
def test_cleaning(mask: Bools, cleaning: Cleaning) -> None:
    assert (cleaning(RleMask.from_mask(mask)).mask() == cleaned(mask, cleaning)).all()


def test_of_equal_parts_the_first_is_kept() -> None:
    mask = np.array([[0, 0, 0, 1], [1, 0, 0, 0]], bool)
    assert Cleaning(largest=True)(RleMask.from_mask(mask)).mask().tolist() == [[False] * 3 + [True], [False] * 4]


@pytest.mark.parametrize(
    "wrong", [{"min_area": -1}, {"min_area": 1.5}, {"min_area": True}, {"largest": 1}, {"fill_holes": "yes"}]
)
def test_wrong_values_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="must be"):
        Cleaning(**wrong)


@given(MASKS, st.integers(1, 30), st.integers(1, 30))
def test_another_size(mask: Bools, width: int, height: int) -> None:
    found = RleMask.from_mask(mask).resized((width, height)).mask()
    for y in range(height):
        for x in range(width):
            source = mask[int((y + 0.5) * mask.shape[0] / height), int((x + 0.5) * mask.shape[1] / width)]
            assert found[y, x] == source
