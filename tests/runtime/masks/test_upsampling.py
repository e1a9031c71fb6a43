from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clsclip_runtime.masks import upsampling as masks

SIDES = st.integers(1, 40)


def random_logits(seed: int, *shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def slow_upsample(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The definition, pixel by pixel."""
    height_in, width_in = logits.shape
    result = np.zeros((size[1], size[0]))
    for y in range(size[1]):
        for x in range(size[0]):
            v = min(max((y + 0.5) * height_in / size[1] - 0.5, 0), height_in - 1)
            u = min(max((x + 0.5) * width_in / size[0] - 0.5, 0), width_in - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height_in - 1), min(left + 1, width_in - 1)
            upper = logits[top, left] * (1 - (u - left)) + logits[top, right] * (u - left)
            lower = logits[bottom, left] * (1 - (u - left)) + logits[bottom, right] * (u - left)
            result[y, x] = upper * (1 - (v - top)) + lower * (v - top)
    return result


@settings(deadline=None, max_examples=40)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 9))
def test_upsampling_is_the_definition_of_bilinear(h: int, w: int, height: int, width: int, seed: int) -> None:
    logits = random_logits(seed, h, w)
    assert np.allclose(masks.upsample(logits, (width, height)), slow_upsample(logits, (width, height)), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(SIDES, SIDES, st.integers(1, 5), st.integers(1, 5), st.integers(0, 9))
def test_enlarging_agrees_with_pillow(h: int, w: int, up: int, across: int, seed: int) -> None:
    logits = random_logits(seed, h, w)
    size = (w * across, h * up)
    theirs = np.asarray(Image.fromarray(logits).resize(size, Image.Resampling.BILINEAR))
    assert np.allclose(masks.upsample(logits, size), theirs, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (640, 480), (3, 900), (2000, 1)])
def test_upsampling_agrees_with_torch(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="torch is the reference here, and is not installed")
    logits = random_logits(0, 4, 16, 12)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None].double(), size=(size[1], size[0]), mode="bilinear", align_corners=False
    )[0]
    assert np.allclose(masks.upsample(logits, size), theirs.numpy(), atol=1e-5)


@given(st.integers(1, 200), st.integers(1, 200))
def test_interpolation_weights_are_convex(inputs: int, outputs: int) -> None:
    matrix = masks.interpolation_matrix(inputs, outputs)
    assert matrix.shape == (outputs, inputs)
    assert (matrix >= 0).all()
    assert np.allclose(matrix.sum(axis=1), 1)


@pytest.mark.parametrize("size", [(9, 7), (64, 64), (1, 1), (501, 333)])
def test_masks_in_bands_are_the_whole(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    logits = random_logits(1, 8, 8)
    whole = masks.upsample(logits, size)
    monkeypatch.setattr(masks, "_BLOCK_VALUES", 100)
    mask = masks.mask_at(logits, size, 0.3)
    assert mask.shape == (size[1], size[0])
    clear = np.abs(whole - 0.3) > 1e-5
    assert (mask == (whole > 0.3))[clear].all()


def test_nothing_above_the_cut_is_an_empty_mask() -> None:
    assert not masks.mask_at(np.zeros((4, 4), dtype=np.float32), (50, 40), 0.0).any()


def test_pixels_go_to_the_strongest_word_above_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = random_logits(2, 3, 6, 6)
    monkeypatch.setattr(masks, "_BLOCK_VALUES", 64)
    labels, best = np.zeros((22, 31), np.int32), np.full((22, 31), 0.2, np.float32)
    for one, label in zip(logits, (2, 5, 10), strict=True):
        masks.label_pixels(labels, best, one, label, (0, 0, 31, 22), (0, 0, 31, 22))
    whole = masks.upsample(logits, (31, 22))
    expected = np.where(whole.max(axis=0) > 0.2, np.asarray([2, 5, 10])[whole.argmax(axis=0)], 0)
    assert (labels == expected).all()


def test_only_pixels_of_the_box_are_labelled() -> None:
    labels, best = np.zeros((9, 12), np.int32), np.zeros((9, 12), np.float32)
    masks.label_pixels(labels, best, np.full((2, 2), 3, np.float32), 7, (4, 1, 10, 5), (4, 1, 10, 5))
    expected = np.zeros((9, 12), np.int32)
    expected[1:5, 4:10] = 7
    assert (labels == expected).all()
    masks.label_pixels(labels, best, np.full((2, 2), 2, np.float32), 8, (0, 0, 12, 9), (0, 0, 12, 9))
    assert (labels == np.where(expected == 7, 7, 8)).all()


@given(st.tuples(*[st.integers(0, 12)] * 2), st.tuples(*[st.integers(0, 9)] * 2))
def test_pixels_are_labelled_within_the_limit(columns: tuple[int, int], rows: tuple[int, int]) -> None:
    (left, right), (top, bottom) = sorted(columns), sorted(rows)
    labels, best = np.zeros((9, 12), np.int32), np.zeros((9, 12), np.float32)
    masks.label_pixels(labels, best, np.full((2, 2), 3, np.float32), 7, (0, 0, 12, 9), (left, top, right, bottom))
    expected = np.zeros((9, 12), np.int32)
    expected[top:bottom, left:right] = 7
    assert (labels == expected).all()


@given(st.floats(0.001, 0.999))
def test_logit_undoes_the_sigmoid(probability: float) -> None:
    assert 1 / (1 + math.exp(-masks.logit(probability))) == pytest.approx(probability)
