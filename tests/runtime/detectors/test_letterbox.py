"""Letterboxes: OpenCV's resizing, ultralytics' and YOLOX's rounding, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime.bundle.manifest import LETTERBOXES
from clsclip_runtime.detectors.letterbox import GREY, letterbox

SIZES = st.sampled_from([(64, 64), (96, 64), (64, 128)])


@given(st.integers(1, 300), st.integers(1, 300), SIZES, st.sampled_from(LETTERBOXES))
def test_letterbox_and_back(width: int, height: int, size: tuple[int, int], place: str) -> None:
    canvas, placed = letterbox(np.full((height, width, 3), 255, np.uint8), size, place=place)
    assert (canvas.shape, canvas.dtype) == ((*size, 3), np.uint8)
    white = (canvas == 255).all(axis=2)
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    assert (canvas[~white] == GREY).all()
    inner = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    np.testing.assert_allclose(placed.to_image(inner)[0], [0, 0, width, height], atol=1e-2)
    # Rounding down may lose a pixel where the product falls just short of a whole number.
    assert max(len(rows) - size[0], len(columns) - size[1]) >= (-1 if place == "top-left" else 0)
    assert place != "stretch" or white.all()
    if place == "top-left":
        assert (rows[0], columns[0]) == (0, 0)


@given(st.integers(1, 300), st.integers(1, 300), SIZES)
def test_rounding_is_ultralytics(width: int, height: int, size: tuple[int, int]) -> None:
    # As its LetterBox computes them: rounded sides, and borders of half the rest, rounded after a tenth is taken off.
    scale = min(size[0] / height, size[1] / width)
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    _, placed = letterbox(np.zeros((height, width, 3), np.uint8), size)
    assert placed.left == round((size[1] - inner[0]) / 2 - 0.1)
    assert placed.top == round((size[0] - inner[1]) / 2 - 0.1)
    assert placed.scale_x * width == pytest.approx(inner[0])
    assert placed.scale_y * height == pytest.approx(inner[1])


def test_yolox_cuts_sides() -> None:
    image = np.zeros((100, 151, 3), np.uint8)
    assert letterbox(image, (64, 64), place="top-left")[1].scale_y == 42 / 100
    assert letterbox(np.zeros((1, 999, 3), np.uint8), (64, 64), place="top-left")[1].scale_y == 1


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_resizing_is_opencvs(width: int, height: int, seed: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV, the reference, is not installed")
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    canvas, placed = letterbox(image, (64, 64))
    inner = round(placed.scale_x * width), round(placed.scale_y * height)
    own = canvas[placed.top : placed.top + inner[1], placed.left : placed.left + inner[0]].astype(int)
    theirs = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(own, theirs)


def test_a_picture_of_the_inputs_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(letterbox(image, (64, 64))[0], image)
