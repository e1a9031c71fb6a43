"""Masks and their run-length encoding in C++ against the Python runtime and pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from clsclip_runtime.masks.cleaning import Cleaning
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.masks.upsampling import mask_at, rle_in, upsample
from tests.cpp.parts import Parts, PartsError

Bools = npt.NDArray[np.bool_]


def pasted(parts: Parts, size: tuple[int, int], cut: float, masks: list[tuple[Any, ...]], pad: int = 0) -> Bools:
    width, height = size
    given_masks = []
    for logits, window, *limit in masks:
        one = {"logits": logits.ravel().tolist(), "height": logits.shape[0], "width": logits.shape[1]}
        given_masks.append(one | {"window": list(window), "limit": list(*limit or [window])})
    pixels = parts("paste", width=width, height=height, cut=cut, pad=pad, masks=given_masks)
    found = np.array(pixels, np.uint8)
    assert set(np.unique(found)) <= {0, 1}
    return found.reshape(height, width).astype(bool)


def random_logits(seed: int, height: int, width: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(height, width)) * rng.choice([0.01, 1, 30])).astype(np.float32)


@st.composite
def windows(draw: st.DrawFn, width: int, height: int, first: tuple[int, int] = (0, 0)) -> tuple[int, int, int, int]:
    left, top = draw(st.integers(first[0], width - 1)), draw(st.integers(first[1], height - 1))
    return left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))


@settings(max_examples=200)
@given(st.data())
def test_masks_of_windows_are_joined_as_in_python(parts: Parts, data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 150)), data.draw(st.integers(1, 150))
    cut = data.draw(st.sampled_from([0.0, -0.4, 1.7]))
    masks = [
        (
            random_logits(data.draw(st.integers(0, 999)), data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))),
            (window := data.draw(windows(width, height))),
            data.draw(windows(window[2], window[3], window[:2])),
        )
        for _ in range(data.draw(st.integers(0, 3)))
    ]
    wanted, unsure = np.zeros((height, width), bool), np.zeros((height, width), bool)
    for logits, (left, top, right, bottom), limit in masks:
        size = (right - left, bottom - top)
        wanted |= rle_in(logits, (left, top, right, bottom), limit, cut, (width, height)).mask()
        # Sums of products are rounded in another order, which moves a value by a few of its last bits.
        near = np.abs(upsample(logits, size) - cut) <= 1e-6 * np.abs(logits).max()
        unsure[top:bottom, left:right] |= near
    found = pasted(parts, (width, height), cut, masks, pad=data.draw(st.integers(0, 3)))
    assert np.array_equal(found | unsure, wanted | unsure)
    assert unsure.sum() <= 4 + unsure.size // 20


def test_a_mask_by_hand(parts: Parts) -> None:
    # Centres at 2 and 6 of 8 pixels: the line from -1 to 3 crosses 0 one pixel after the first centre.
    found = pasted(parts, (8, 1), 0.0, [(np.array([[-1, 3]], np.float32), (0, 0, 8, 1))])
    assert found.tolist() == [[False] * 3 + [True] * 5]


def test_what_equals_the_cut_is_outside(parts: Parts) -> None:
    assert not pasted(parts, (5, 5), 2.5, [(np.full((3, 3), 2.5, np.float32), (0, 0, 5, 5))]).any()
    assert pasted(parts, (5, 5), 2.5, [(np.full((3, 3), 2.75, np.float32), (0, 0, 5, 5))]).all()


@pytest.mark.parametrize(("height", "width"), [(3, 3), (0, 4), (-2, -2), (4, 0)])
def test_logits_of_another_size_are_refused(parts: Parts, height: int, width: int) -> None:
    one = {"logits": [1.0] * 4, "height": height, "width": width, "window": [0, 0, 2, 2]}
    one["limit"] = one["window"]
    with pytest.raises(PartsError, match="gave 4 logits for a mask of") as caught:
        parts("paste", width=2, height=2, cut=0.0, pad=0, masks=[one])
    assert caught.value.kind == "BackendError"


def random_mask(seed: int, height: int, width: int) -> Bools:
    """Blobs, noise, stripes, full or empty."""
    rng = np.random.default_rng(seed)
    kind = seed % 5
    if kind == 0:
        return mask_at(random_logits(seed, 4, 4), (width, height), 0.0)
    if kind == 1:
        return rng.random((height, width)) < 0.5
    if kind == 2:
        return np.broadcast_to(rng.random((height, 1)) < 0.5, (height, width)).copy()
    return np.full((height, width), kind == 3)


def counts_of(parts: Parts, mask: Bools, **where: Any) -> str:
    height, width = mask.shape
    counts = parts("encode_rle", width=width, height=height, pixels=mask.astype(int).ravel().tolist(), **where)
    assert isinstance(counts, str)
    return counts


sides = st.one_of(st.integers(1, 20), st.integers(60, 140))


@settings(max_examples=150)
@given(st.integers(0, 10_000), sides, sides)
def test_masks_are_encoded_as_pycocotools_does(parts: Parts, seed: int, height: int, width: int) -> None:
    mask = random_mask(seed, height, width)
    counts = counts_of(parts, mask)
    assert counts == coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    decoded = parts("decode_rle", width=width, height=height, counts=counts)
    assert np.array_equal(np.array(decoded, bool).reshape(height, width), mask)


@settings(max_examples=100)
@given(st.data())
def test_windows_are_encoded_as_the_whole_picture(parts: Parts, data: st.DataObject) -> None:
    width, height = data.draw(sides), data.draw(sides)
    window = data.draw(windows(width, height))
    left, top, right, bottom = window
    mask = random_mask(data.draw(st.integers(0, 999)), bottom - top, right - left)
    whole = np.zeros((height, width), np.uint8, order="F")
    whole[top:bottom, left:right] = mask
    assert counts_of(parts, mask, at=[left, top, width, height]) == coco_mask.encode(whole)["counts"].decode()


def test_long_runs(parts: Parts) -> None:
    mask = np.zeros((1500, 700), bool)
    mask[700:, 350:] = True
    mask[3, 3] = True
    assert counts_of(parts, mask) == coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


@pytest.mark.parametrize("counts", ["", "4", "o", "ooooooooo", "P", "\x10", "é", "0O", "oooooo0", "1" * 100, "14O"])
def test_damaged_counts_are_refused(parts: Parts, counts: str) -> None:
    with pytest.raises(PartsError, match=r"Encode the mask again|size that it was encoded") as caught:
        parts("decode_rle", width=3, height=3, counts=counts)
    assert caught.value.kind == "OptionError"


@settings(max_examples=200)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30), st.integers(-1, 9), st.integers(-1, 9))
def test_any_counts_are_a_mask_or_an_error(parts: Parts, counts: str, width: int, height: int) -> None:
    try:
        pixels = parts("decode_rle", width=width, height=height, counts=counts)
    except PartsError as error:
        assert error.kind == "OptionError"
    else:
        assert len(pixels) == width * height


@settings(max_examples=150)
@given(st.integers(0, 10_000), sides, sides, st.builds(Cleaning, st.integers(0, 60), st.booleans(), st.booleans()))
def test_masks_are_cleaned_as_in_python(parts: Parts, seed: int, height: int, width: int, cleaning: Cleaning) -> None:
    mask = random_mask(seed, height, width)
    if seed % 2:
        mask &= np.random.default_rng(seed).random(mask.shape) < 0.8
    pixels = mask.astype(int).ravel().tolist()
    found = parts("clean", width=width, height=height, pixels=pixels, **vars(cleaning))
    wanted = cleaning(RleMask.from_mask(mask)).mask()
    assert np.array_equal(np.array(found["pixels"], bool).reshape(height, width), wanted)
    assert found["text"] == str(cleaning)
