"""The picture maker on tensors: what it says it shows is where it says, and batches are the same on every call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from clsclip.errors import DataError
from clsclip.reproduce.naming import single_things_of
from clsclip.reproduce.stickers.sheets import StickerBook
from clsclip.reproduce.stickers.tensor_maker import Atlas, TensorMaker
from clsclip.reproduce.stickers.tensor_mosaics import TensorBatches, joined
from clsclip.reproduce.stickers.vocabulary import nouns

PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def atlas(sticker_root: Path) -> Atlas:
    return Atlas.of(StickerBook(sticker_root, ["noto"]), side=24, grounds=12, ground_side=32)


def test_an_atlas_holds_every_drawing_once(atlas: Atlas, tmp_path: Path) -> None:
    assert len(atlas.drawings) == sum(len(noun.emoji) for noun in nouns())
    assert torch.bincount(atlas.noun_of).tolist() == [len(noun.emoji) for noun in nouns()]
    assert bool((atlas.drawings[:, :3] <= atlas.drawings[:, 3:]).all()), "premultiplied"
    atlas.save(tmp_path / "atlas.safetensors")
    read = Atlas.load(tmp_path / "atlas.safetensors")
    assert torch.equal(read.drawings, atlas.drawings) and torch.equal(read.grounds, atlas.grounds)
    (tmp_path / "atlas.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        Atlas.load(tmp_path / "atlas.safetensors")


def test_things_are_where_the_owner_says(atlas: Atlas) -> None:
    """Plain drawings of known colours on black: the colour under every owner is that of its drawing."""
    plain = torch.zeros_like(atlas.drawings)
    plain[:, 3] = 255
    for noun in range(len(nouns())):
        plain[atlas.noun_of == noun, noun % 3] = 255
    maker = TensorMaker(Atlas(plain, atlas.noun_of, torch.zeros_like(atlas.grounds)), seed=3)
    maker._finished = lambda canvas: canvas  # type: ignore[method-assign]
    maker._tinted = lambda layers: layers  # type: ignore[method-assign]
    made = maker.make(40, 48, (0.2, 0.6), (1, 4))
    counted = 0
    for image in range(40):
        for thing in range(4):
            inside = made.owner[image] == thing + 1
            noun = int(made.nouns[image, thing])
            if noun >= 0:
                counted += 1
                assert int(inside.sum()) >= 4
                mean = made.pixels[image][:, inside].float().mean(dim=1)
                assert int(mean.argmax()) == noun % 3 and float(mean.max()) > 160
    assert 60 < counted <= 100


def test_things_have_the_size_asked(atlas: Atlas) -> None:
    """Squares as large as their drawing, neither stretched, turned nor squashed much: a side of 40 % of the picture."""
    full = torch.full_like(atlas.drawings, 255)
    maker = TensorMaker(Atlas(full, atlas.noun_of, atlas.grounds), aspect=1.0, seed=5)
    made = maker.make(200, 60, (0.4, 0.4), (1, 1))
    sides = (made.owner == 1).sum(dim=(1, 2)).float().sqrt()
    assert float(sides.median()) == pytest.approx(0.4 * 60, rel=0.08)


def test_batches_are_the_same_on_every_call_and_differ(atlas: Atlas) -> None:
    batches = TensorBatches(TensorMaker(atlas), 6, 20, 48, parts=(1, 2))
    again = TensorBatches(TensorMaker(atlas, seed=9), 6, 20, 48, parts=(1, 2))
    kinds = set()
    for index in range(8):
        first, second = batches[index], again[index]
        assert torch.equal(first.pixels, second.pixels) and first.phrases == second.phrases
        assert first.pixels.shape == (6, 3, 48, 48) and first.pixels.dtype == torch.uint8
        assert first.shown.shape == (6 * first.parts**2, len(first.phrases))
        assert not torch.equal(first.pixels, batches[index + 8].pixels)
        kinds.add(first.parts)
    assert kinds == {1, 2}
    with pytest.raises(IndexError):
        batches[20]


def test_parts_stand_row_by_row() -> None:
    parts = torch.arange(8).reshape(8, 1, 1, 1).expand(8, 3, 2, 2)
    assert joined(parts, 2)[1, 0].tolist() == [[4, 4, 5, 5], [4, 4, 5, 5], [6, 6, 7, 7], [6, 6, 7, 7]]


def test_blocks_keep_what_is_plain(atlas: Atlas) -> None:
    maker = TensorMaker(atlas)
    plain = torch.full((2, 3, 20, 20), 96.0)
    assert torch.allclose(maker._blocks(plain), plain, atol=8)
    busy = torch.rand(2, 3, 20, 20) * 255
    rounded = maker._blocks(busy)
    assert torch.equal(rounded[..., 16:], busy[..., 16:]), "only whole blocks change"
    assert not torch.allclose(rounded[..., :16, :16], busy[..., :16, :16], atol=1)


def test_single_things_are_always_the_same(atlas: Atlas) -> None:
    first, second = (single_things_of(TensorMaker(atlas, seed=seed), 20, 32) for seed in (1, 2))
    assert torch.equal(first.pixels, second.pixels) and torch.equal(first.shown, second.shown)
    assert int(first.shown.min()) >= 0


@pytest.mark.slow
def test_the_run_for_a_gpu_is_rehearsed(atlas: Atlas, tmp_path: Path) -> None:
    atlas.save(tmp_path / "atlas.safetensors")
    script = PROJECT / "benchmarks" / "method" / "gpu_towers.py"
    options = ["--device", "cpu", "--minutes", "0.1", "--batch", "2", "--side", "48", "--timed-steps", "2"]
    arguments = [sys.executable, str(script), str(tmp_path / "atlas.safetensors"), str(tmp_path / "out"), *options]
    done = subprocess.run(arguments, capture_output=True, text=True, env=os.environ, timeout=500)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["steps"] >= 3 and report["device"] == "cpu"
    assert [one["step"] for one in report["named_right"]][-1] == report["steps"]
    assert np.isfinite(report["seconds"])
    assert (tmp_path / "out" / "open_clip_model.safetensors").is_file()
    assert not (tmp_path / "out" / "pretrain_state.safetensors").exists(), "the state is too large to bring home"
