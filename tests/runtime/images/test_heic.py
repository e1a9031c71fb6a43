"""HEIC: files that libheif wrote of the scene of the corpus, four times as large, and what is said without a reader."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import ImageError, open_image
from tests.runtime.images.corpus.case import ALPHA, SCENE, on_white

FILES = Path(__file__).with_name("heic")


def larger(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(np.repeat(pixels, 4, axis=0), 4, axis=1)


@pytest.mark.parametrize(
    ("name", "pixels", "notes"),
    [
        ("plain", SCENE, ()),
        ("turned", SCENE, ()),
        ("two", SCENE, ("it holds several pictures, of which the main one alone was read",)),
        ("alpha", on_white(SCENE, ALPHA), ("its transparent parts were taken for white",)),
    ],
)
def test_pixels_and_notes(name: str, pixels: np.ndarray, notes: tuple[str, ...]) -> None:
    read = open_image(FILES / f"{name}.heic")
    assert np.abs(np.asarray(read.image).astype(int) - larger(pixels)).mean() < 3
    assert read.notes == notes


def test_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    open_image(FILES / "plain.heic")
    for name in ("pi_heif", "pillow_heif"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(Image.OPEN, "HEIF")
    with pytest.raises(ImageError, match=r"is a HEIC picture, and pi-heif is not installed\. Run: .*\[heic\]"):
        open_image(FILES / "plain.heic")
    box = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf" + bytes(99)
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    with pytest.raises(ImageError, match=r"an AVIF picture, which this Pillow does not read\. Run: .*\[heic\]"):
        open_image(box)


def test_a_damaged_file_is_an_error() -> None:
    data = (FILES / "plain.heic").read_bytes()
    for share in (0.05, 0.3, 0.9):
        with pytest.raises(ImageError, match="damaged or incomplete"):
            open_image(data[: int(len(data) * share)])
