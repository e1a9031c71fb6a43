"""A run's own copy of its towers is the same towers, whatever form they were given in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsclip.kept_towers import keep_towers
from clsclip.tower_files import load_towers
from clsclip.towers import Towers
from clsclip.weights.flavor import MEAN_STD, Asked
from tests import weights


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    weights.register(tmp_path_factory.mktemp("configs"))
    return weights.clip()


def from_archive(folder: Path, clip: Any) -> Towers:
    return load_towers(weights.NAME, str(weights.save_archive(folder / "w.pt", clip)))


def from_a_file_that_does_not_tell(folder: Path, clip: Any) -> Towers:
    path = weights.save_open_clip(folder / "given", clip) / "open_clip_model.safetensors"
    alone = folder / "alone.safetensors"
    shutil.move(path, alone)
    return load_towers(weights.NAME, str(alone), asked=Asked("quick_gelu", MEAN_STD["inception"]))


def from_open_clip(folder: Path, clip: Any) -> Towers:
    return load_towers(str(weights.save_open_clip(folder / "given", clip)))


def from_transformers(folder: Path, clip: Any) -> Towers:
    return load_towers(str(weights.save_transformers(folder / "given", clip)))


@pytest.mark.parametrize("size", [None, 48])
@pytest.mark.parametrize("given", [from_archive, from_a_file_that_does_not_tell, from_open_clip, from_transformers])
def test_the_copy_is_the_same_towers(
    tmp_path: Path, clip: Any, given: Callable[[Path, Any], Towers], size: int | None
) -> None:
    towers = given(tmp_path, clip)
    if size is not None:
        towers.resize(size)
    keep_towers(towers, tmp_path / "kept")
    shutil.rmtree(tmp_path / "given", ignore_errors=True)
    found = load_towers(str(tmp_path / "kept"), image_size=size)
    assert found.settings() == towers.settings()
    assert found.fingerprint() == towers.fingerprint()
