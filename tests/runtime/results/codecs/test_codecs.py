"""Masks of other tools, both ways: against their own libraries, or against slow definitions of their formats."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from clsclip_runtime.errors import AnnotationError
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.brush import decode_brush, encode_brush
from clsclip_runtime.results.codecs.coco_rle import decode_rle
from clsclip_runtime.results.codecs.cvat import decode_cvat, encode_cvat
from clsclip_runtime.results.codecs.outlines import outlines
from clsclip_runtime.results.codecs.polygons import checked_points, fill_polygons

Mask = npt.NDArray[np.bool_]

SIDES, SEEDS, SHARES = st.integers(1, 24), st.integers(0, 2**32 - 1), st.floats(0, 1)

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools and numpy 2

SOME = settings(max_examples=60, deadline=None)


def made(height: int, width: int, seed: int, share: float) -> Mask:
    """Noise, or blots with holes in them."""
    mask = np.random.default_rng(seed).random((height, width)) < share
    return cv2.blur(mask.astype(np.float32), (3, 3)) > 0.5 if seed % 2 else mask


def slow_brush(values: list[int], height: int, width: int) -> Mask:
    """The definition of the format, a bit at a time."""
    bits = "".join(f"{one:08b}" for one in values)
    at = 0

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int(bits[at - size : at], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    found: list[int] = []
    while len(found) < total:
        repeats = read(1)
        count = read(sizes[read(2)]) + 1
        found += [read(word)] * count if repeats else [read(word) for _ in range(count)]
    return np.array(found).reshape(height, width, 4)[:, :, 3] > 0


def packed(values: list[int], sizes: tuple[int, ...], draw: np.random.Generator) -> list[int]:
    """Bytes of an image as a brush that takes repeats, single values and sizes as they come."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{one - 1:04b}" for one in sizes)
    at = 0
    while at < len(values):
        which = int(draw.integers(4))
        most = min(1 << sizes[which], len(values) - at)
        same = next((n for n in range(1, most) if values[at + n] != values[at]), most)
        if same > 2 or draw.random() < 0.2:
            bits += f"1{which:02b}{same - 1:0{sizes[which]}b}{values[at]:08b}"
            at += same
        else:
            count = int(draw.integers(1, most + 1))
            bits += f"0{which:02b}{count - 1:0{sizes[which]}b}" + "".join(
                f"{one:08b}" for one in values[at : at + count]
            )
            at += count
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


@SOME
@given(SIDES, SIDES, SEEDS, SHARES)
def test_outlines_are_drawn_as_the_mask(height: int, width: int, seed: int, share: float) -> None:
    """By pycocotools from corners, by OpenCV from centers, holes and all."""
    mask = made(height, width, seed, share)
    rle = RleMask.from_mask(mask)
    corners = [one.reshape(-1).astype(float).tolist() for one in outlines(rle)]
    drawn = np.zeros(mask.shape, np.uint8)
    if corners:
        drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(corners, height, width)))
    assert (drawn == mask).all()
    assert (
        fill_polygons([checked_points(one, (width, height)) for one in corners], (width, height)).mask() == mask
    ).all()
    centers = np.zeros(mask.shape, np.uint8)
    for one in outlines(rle, centers=True):
        cv2.fillPoly(centers, [one.astype(np.int32)], 1)
    assert (centers == mask).all()
    parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    assert len(corners) == parts - 1


@SOME
@given(SIDES, SIDES, SEEDS, SHARES)
def test_outlines_without_holes(height: int, width: int, seed: int, share: float) -> None:
    mask = made(height, width, seed, share)
    found = np.zeros(mask.shape, np.uint8)
    for one in outlines(RleMask.from_mask(mask), holes=False, centers=True):
        cv2.fillPoly(found, [one.astype(np.int32)], 1)
    lines, _ = cv2.findContours(np.pad(mask.astype(np.uint8), 1), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outer = np.zeros((height + 2, width + 2), np.uint8)
    cv2.drawContours(outer, lines, -1, 1, cv2.FILLED)
    # OpenCV takes pixels that touch at a corner as one part, and then fills what they enclose as well.
    assert (found >= mask).all()
    assert (found <= outer[1:-1, 1:-1]).all()


@SOME
@given(SIDES, SIDES, SEEDS, SHARES)
def test_cocos_runs(height: int, width: int, seed: int, share: float) -> None:
    mask = made(height, width, seed, share)
    encoded: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    assert (decode_rle(encoded, (width, height)).mask() == mask).all()
    text = {"size": [float(height), width], "counts": encoded["counts"].decode()}
    assert (decode_rle(text, (width, height)).mask() == mask).all()
    flips = RleMask.from_mask(mask).column_flips()
    counts = np.diff(flips, prepend=0, append=width * height).tolist()
    more = [*counts[:1], 0, 0, *counts[1:]]  # empty runs change nothing
    for one in (counts, more):
        assert (decode_rle({"size": [height, width], "counts": one}, (width, height)).mask() == mask).all()


@SOME
@given(SIDES, SIDES, SEEDS, SHARES)
def test_brushes(height: int, width: int, seed: int, share: float) -> None:
    mask = made(height, width, seed, share)
    written = json.loads(json.dumps(encode_brush(RleMask.from_mask(mask))))
    assert (slow_brush(written, height, width) == mask).all()
    assert (decode_brush(written, (width, height)).mask() == mask).all()
    draw = np.random.default_rng(seed)
    image = draw.integers(0, 3, (height, width, 4))
    values = packed(image.reshape(-1).tolist(), (1, 2, 5, 9), draw)
    assert (decode_brush(values, (width, height)).mask() == (image[:, :, 3] > 0)).all()


def test_a_brush_of_many_pixels() -> None:
    mask = np.zeros((500, 700), np.bool_)
    mask[20:450, 10:690] = True
    written = encode_brush(RleMask.from_mask(~mask))
    assert len(written) < 8000
    assert (decode_brush(written, (700, 500)).mask() == ~mask).all()


@SOME
@given(SIDES, SIDES, SEEDS, SHARES)
def test_cvats_masks(height: int, width: int, seed: int, share: float) -> None:
    mask = made(height, width, seed, share)
    points = json.loads(json.dumps(encode_cvat(RleMask.from_mask(mask))))
    *counts, left, top, right, bottom = points
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(bottom - top + 1, right - left + 1)
    expected = np.zeros(mask.shape, np.bool_)
    expected[top : bottom + 1, left : right + 1] = inside
    assert (expected == mask).all()
    assert (decode_cvat([float(one) for one in points], (width, height)).mask() == mask).all()


SIZE = (8, 6)
NUMBERS = st.one_of(
    st.integers(-3, 70), st.floats(), st.integers(), st.sampled_from([2**31, 2**63, 10**400, None, True, "x", [], {}])
)
ANYTHING = st.one_of(
    NUMBERS,
    st.lists(NUMBERS, max_size=9),
    st.lists(st.lists(NUMBERS, max_size=4), max_size=4),
    st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=20),
    st.dictionaries(st.sampled_from(["size", "counts"]), st.one_of(st.just([6, 8]), st.lists(NUMBERS), st.text())),
)


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_whatever_comes_is_a_mask_or_refused(value: Any) -> None:
    for read in (decode_rle, decode_cvat, decode_brush):
        try:
            found = read(value, SIZE)
        except AnnotationError as error:
            assert len(str(error)) < 200
        else:
            assert found.size == SIZE
            assert 0 <= found.area <= 48
    try:
        points = checked_points(value, SIZE)
    except AnnotationError:
        return
    assert np.isfinite(points).all()
    assert fill_polygons([points], SIZE).size == SIZE


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"size": [6, 8], "counts": [10, 5]}, "covers 15 pixels, and the image has 48"),
        ({"size": [6, 8], "counts": [60, -12]}, "whole numbers of 0 or more"),
        ({"size": [8, 6], "counts": [48]}, "of 6x8 pixels, the image 8x6"),
        ({"size": [2**31, 2**31], "counts": [48]}, "the image 8x6"),
        ({"size": [6, 8], "counts": "0" * 9 + "\x7f"}, "no text of that form"),
        ({"size": [6, 8], "counts": "P" * 20 + "0"}, "too large"),
        ({"size": [6], "counts": [48]}, "is \\[height, width\\]"),
        ({"size": [6, "8"], "counts": [48]}, "whole number, and it is '8'"),
        ([48], "an object with size and counts"),
    ],
)
def test_wrong_runs_are_told(value: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        decode_rle(value, SIZE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2, 3, 4], "2 points, and three are needed"),
        ([1, 2, 3, 4, 5, 6, 7], "odd count of numbers, 7"),
        ([[1, 2], [3, 4], [5, float("nan")]], "not finite"),
        ([0, 0, 2e8, 3e8, 4, 4], "far out of the image of 8x6 pixels"),
        (["1", "2", "3", "4", "5", "6"], "one is '1'"),
        (None, "it is None"),
        ([0, 0, 8, 6] * 1_000_000, "8,000,000 pixels long|16,000,000 pixels long"),
    ],
)
def test_wrong_polygons_are_told(value: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        checked_points(value, SIZE)
