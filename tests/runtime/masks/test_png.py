"""Masks as PNG files, read back by Pillow."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clsclip_runtime.masks.png import write_mask
from clsclip_runtime.masks.rle import RleMask

Mask = npt.NDArray[np.bool_]


def png_of(mask: Mask) -> bytes:
    file = io.BytesIO()
    write_mask(file, RleMask.from_mask(mask))
    return file.getvalue()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 9))
def test_pillow_reads_what_was_written(height: int, width: int, seed: int, tall: int, wide: int) -> None:
    """Blocks of ``tall`` x ``wide`` pixels: rows like the one above among others."""
    blocks = np.random.default_rng(seed).random((height, width)) < 0.5
    mask = blocks.repeat(tall, axis=0).repeat(wide, axis=1)
    with Image.open(io.BytesIO(png_of(mask))) as image:
        assert image.size == (width * wide, height * tall)
        assert (np.asarray(image.convert("L")) == 255 * mask).all()


def boxes(height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.bool_)
    for top in range(30, height, 100):
        for left in range(17, width, 90):
            mask[top : top + 60, left : left + 45] = True
    return mask


def disc(height: int, width: int) -> Mask:
    rows, columns = np.mgrid[:height, :width]
    return np.asarray(np.hypot(rows - height / 2, columns - width / 2) < height / 3, np.bool_)


@pytest.mark.parametrize(
    "mask", [boxes(1500, 2000), disc(1500, 2000), ~boxes(1500, 2000)], ids=["boxes", "disc", "holes"]
)
def test_files_are_nearly_as_small_as_pillows(mask: Mask) -> None:
    usual = io.BytesIO()
    Image.fromarray(mask).save(usual, "PNG", compress_level=1)
    assert len(png_of(mask)) < 2 * len(usual.getvalue())
