"""The corpus of odd pictures through Python: known pixels, known notes, known refusals."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from clsclip_runtime import ImageError, open_image
from tests.runtime.images.corpus import cases
from tests.runtime.images.corpus.case import Case

EVERY = 6
"""The quick tier takes each sixth case."""


def check(case: Case, path: Path) -> None:
    path.write_bytes(case.content)
    if case.pixels is None:
        with pytest.raises(ImageError) as error:
            open_image(path)
        assert case.refusal in str(error.value)
        assert path.name in str(error.value) and "\n" not in str(error.value)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, which the command turns into notes
        read = open_image(path)
    pixels = np.asarray(read.image)
    assert pixels.shape == case.pixels.shape
    difference = np.abs(pixels.astype(int) - case.pixels.astype(int))
    assert difference.mean() <= case.lossy, (difference.mean(), difference.max())
    assert len(read.notes) == len(case.notes), read.notes
    for note, part in zip(read.notes, case.notes, strict=True):
        assert part in note


def test_there_are_enough() -> None:
    assert len(cases()) >= 120
    assert len({name.rpartition(".")[2] for name in cases()}) >= 25


@pytest.mark.parametrize("name", list(cases())[::EVERY])
def test_a_slice(name: str, tmp_path: Path) -> None:
    check(cases()[name], tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases())
def test_all(name: str, tmp_path: Path) -> None:
    check(cases()[name], tmp_path / name)
