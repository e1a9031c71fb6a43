"""Weights in several files with an index, by folder, by index and from a hub's cache; what is refused of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from clsclip.clipseg_files import load_clipseg
from clsclip.errors import TowersError
from clsclip.kept_towers import keep_towers
from clsclip.tower_files import load_towers
from tests import clipseg, weights

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = weights.save_transformers(tmp_path / "clip", weights.clip())
    split(folder)
    return folder


def split(folder: Path) -> None:
    """Put every second weight into a second file, as transformers does with large models."""
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(whole)
    places: dict[str, str] = {}
    for at in range(2):
        part = f"model-0000{at + 1}-of-00002.safetensors"
        save_file({name: whole[name] for name in names[at::2]}, folder / part)
        places |= dict.fromkeys(names[at::2], part)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}), "utf-8")


def test_shards_are_the_same_towers(folder: Path, tmp_path: Path) -> None:
    expected = load_towers(str(weights.save_transformers(tmp_path / "whole", weights.clip()))).fingerprint()
    towers = load_towers(str(folder))
    assert towers.fingerprint() == expected
    assert load_towers(weights.NAME, str(folder / INDEX)).fingerprint() == expected
    keep_towers(towers, tmp_path / "kept")
    assert load_towers(str(tmp_path / "kept")).fingerprint() == expected


def test_shards_of_a_clipseg(tmp_path: Path) -> None:
    folder = clipseg.save(clipseg.reference(**clipseg.TINY), tmp_path)
    expected = load_clipseg(str(folder))[0].state_dict()
    split(folder)
    found = load_clipseg(str(folder))[0].state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_shards_in_a_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    revision = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--a--large"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(revision)
    folder = weights.save_transformers(place / "snapshots" / revision, weights.clip())
    split(folder)
    assert load_towers("a/large").name == "a/large"
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(TowersError, match="could not be fetched"):
        load_towers("a/large")


def edited(folder: Path, **changed: Any) -> None:
    index = json.loads((folder / INDEX).read_text("utf-8"))
    index["weight_map"] |= changed
    (folder / INDEX).write_text(json.dumps(index), "utf-8")


def twice(folder: Path) -> None:
    first, second = sorted(folder.glob("model-*"))
    state = load_file(first)
    save_file(load_file(second) | {name: state[name] for name in list(state)[:1]}, second)


def moved(folder: Path) -> None:
    places = json.loads((folder / INDEX).read_text("utf-8"))["weight_map"]
    edited(folder, logit_scale=next(one for one in set(places.values()) if one != places["logit_scale"]))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(), "1 of its 2 files are not there"),
        (twice, "holds the weight .* which the index does not place there"),
        (moved, "the weight logit_scale, which the index"),
        (lambda folder: edited(folder, more="../model.safetensors"), "is no file beside it"),
        (lambda folder: edited(folder, more="/etc/passwd"), "is no file beside it"),
        (lambda folder: edited(folder, more=3), "is no file beside it"),
        (lambda folder: (folder / INDEX).write_text("{}"), "is no index of weights|a JSON document"),
        (lambda folder: (folder / INDEX).write_text('{"weight_map": []}'), "is no index of weights"),
    ],
)
@pytest.mark.parametrize("file", [False, True], ids=["folder", "index"])
def test_indices_that_do_not_fit(folder: Path, spoil: Any, says: str, file: bool) -> None:
    spoil(folder)
    with pytest.raises(TowersError, match=f"{'model' if file else 'clip'}.*({says})"):
        load_towers(weights.NAME, str(folder / INDEX)) if file else load_towers(str(folder))


def test_one_of_several_files_says_so(folder: Path) -> None:
    with pytest.raises(TowersError, match=f"one of 2 files of the same weights. Give their folder, or {INDEX}"):
        load_towers(weights.NAME, str(folder / "model-00001-of-00002.safetensors"))
