"""A tiny bundle, a picture whose masks are known by hand, and a segmenter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from clsclip_runtime import Segmenter
from clsclip_runtime.bundle import opening as bundle_module
from tests.runtime.tiny_bundle import make_bundle, paint


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good bundle, not to be changed."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny.clsclip")


@pytest.fixture(scope="session")
def segmenter(bundle: Path) -> Iterator[Segmenter]:
    """A segmenter of the good bundle, in the engine that computes its numbers bit for bit as they are known by hand."""
    with Segmenter.load(bundle, "onnxruntime-cpu", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def scene() -> npt.NDArray[np.uint8]:
    """32 x 32 pixels: red at patch rows 1-3 and columns 1-4, green at rows 5-6 and columns 2-3; no blue."""
    return paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})


@pytest.fixture(scope="session")
def red_mask() -> npt.NDArray[np.bool_]:
    """Where the scene is red, by hand.

    Logits are 2.5 inside and about -6.8 outside, so the bilinear line between two patch centres (4 px apart)
    crosses zero 1.1 px after the inner centre: half a pixel beyond the centre is in, 1.5 px is out.
    """
    mask = np.zeros((32, 32), dtype=np.bool_)
    mask[5:15, 5:19] = True
    return mask


@pytest.fixture
def photo(tmp_path: Path, scene: npt.NDArray[np.uint8]) -> Path:
    """The scene as a PNG file."""
    path = tmp_path / "photo.png"
    Image.fromarray(scene).save(path)
    return path


@pytest.fixture
def embedded_tiny(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny bundle is the embedded one, and runs begin in an empty folder."""
    monkeypatch.setattr(bundle_module, "EMBEDDED", bundle)
    monkeypatch.delenv("CLSCLIP_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
