from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clsclip_runtime.masks import upsampling as masks
from clsclip_runtime.masks.png import write_mask
from clsclip_runtime.masks.rle import RleMask

Mask = npt.NDArray[np.bool_]
SIDES = st.integers(1, 40)
SEEDS = st.integers(0, 2**32 - 1)


def random_mask(height: int, width: int, seed: int, share: float = 0.5) -> Mask:
    return np.random.default_rng(seed).random((height, width)) < share


def random_logits(height: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    """Numbers of which some are equal, and some are the cut itself."""
    return np.random.default_rng(seed).integers(-3, 4, (height, width)).astype(np.float32)


@settings(max_examples=150)
@given(SIDES, SIDES, SIDES, SIDES, SEEDS, st.sampled_from([0.0, 0.3, -1.25]))
def test_runs_are_the_pixels_of_upsampled_logits(
    h: int, w: int, height: int, width: int, seed: int, cut: float
) -> None:
    """Against every pixel by itself, as it was upsampled by products of matrices; sizes above and below the logits'."""
    logits = random_logits(h, w, seed)
    values = masks.upsample(logits, (width, height))
    sure = np.abs(values - cut) > (1e-5 if cut else 0)
    found = masks.rle_above(logits, (width, height), cut)
    assert (found.mask() == (values > cut))[sure].all()
    check_invariants(found)


@pytest.mark.parametrize("size", [(1203, 901), (640, 2000), (57, 56), (20_000, 1), (1, 20_000), (13, 9)])
def test_large_and_odd_sizes(size: tuple[int, int]) -> None:
    logits = np.random.default_rng(3).normal(size=(56, 56)).astype(np.float32)
    found = masks.rle_above(logits, size, 0.0)
    values = masks.upsample(logits, size)
    sure = np.abs(values) > 1e-6
    assert (found.mask() == (values > 0))[sure].all()
    check_invariants(found)


@pytest.mark.parametrize("value", [1e30, -1e30, 3.4e38])
def test_huge_logits(value: float) -> None:
    logits = np.array([[value, -value], [-value, value]], np.float32)
    assert masks.rle_above(logits, (8, 8), 0.0).area == 32
    assert masks.rle_above(np.full((2, 2), value, np.float32), (5, 3), 0.0).area == (15 if value > 0 else 0)


@given(SIDES, st.integers(1, 70), SEEDS, st.floats(0, 1))
def test_all_that_runs_tell_is_told_by_the_mask(height: int, width: int, seed: int, share: float) -> None:
    mask = random_mask(height, width, seed, share)
    runs = RleMask.from_mask(mask)
    check_invariants(runs)
    assert (runs.mask() == mask).all()
    assert (runs.packed() == np.packbits(mask, axis=1)).all()
    assert runs.area == mask.sum()
    if mask.any():
        rows, columns = np.nonzero(mask)
        x, y, wide, high = runs.box
        assert (x, y, x + wide, y + high) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    down = np.concatenate([[False], mask.T.ravel()])
    assert runs.column_flips().tolist() == np.flatnonzero(down[1:] != down[:-1]).tolist()


@given(SIDES, st.integers(1, 30), st.lists(st.tuples(SEEDS, st.floats(0, 1)), max_size=4))
def test_masks_are_joined(height: int, width: int, parts: list[tuple[int, float]]) -> None:
    each = [random_mask(height, width, seed, share) for seed, share in parts]
    joined = RleMask.joined((width, height), [RleMask.from_mask(one) for one in each])
    check_invariants(joined)
    assert (joined.mask() == np.any([np.zeros((height, width), np.bool_), *each], axis=0)).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5), SEEDS)
def test_masks_are_placed(height: int, width: int, left: int, top: int, seed: int) -> None:
    mask = random_mask(height, width, seed)
    placed = RleMask.from_mask(mask).placed(left, top, (left + width + 2, top + height + 1))
    assert (placed.mask() == np.pad(mask, ((top, 1), (left, 2)))).all()


@given(SIDES, st.integers(1, 70), SEEDS, st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_files_hold_the_mask(height: int, width: int, seed: int, share: float) -> None:
    mask = random_mask(height, width, seed, share)
    file = io.BytesIO()
    write_mask(file, RleMask.from_mask(mask))
    with Image.open(file) as image:
        image.verify()  # checksums of every part
    with Image.open(file) as image:
        assert image.size == (width, height)
        assert (np.asarray(image) == mask).all()


def check_invariants(runs: RleMask) -> None:
    assert (runs.starts < runs.ends).all()
    assert (runs.starts >= 0).all()
    assert (runs.ends <= runs.size[0]).all()
    apart = np.diff(runs.rows) > 0
    assert (apart | (np.diff(runs.rows) == 0)).all()
    assert (apart | (runs.starts[1:] > runs.ends[:-1])).all()
