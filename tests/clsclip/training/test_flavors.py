"""Runs are resumed on the towers that they began on, and on none that compute something else from the same weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from open_clip.transformer import QuickGELU
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clsclip.checkpoint import load_checkpoint, read_header
from clsclip.errors import CheckpointError, TrainingError
from clsclip.model import ClsClip
from clsclip.run_files import CHECKPOINT_FILE, STATE_FILE
from clsclip.training import TrainConfig, train
from clsclip.training.config import settings_digest
from clsclip.training.state import read_header as read_state
from tests.clsclip.training.tiny_fold import fresh_model, tiny_fold

SETTINGS = TrainConfig(steps=4, batch=6, workers=0, save_every=2, seed=3, device="cpu")


def run(out: Path, model: ClsClip, steps: int = 2, resume: bool = False, source: str = "towers") -> None:
    train(model, tiny_fold(), replace(SETTINGS, steps=steps), out, towers=source, resume=resume)


def quick_model() -> ClsClip:
    """The same weights, with QuickGELU in both towers."""
    model = fresh_model()
    for blocks in (model.towers.visual.transformer.resblocks, model.towers.text.transformer.resblocks):
        for block in blocks:
            block.mlp.gelu = QuickGELU()
    return model


def other_pixels() -> ClsClip:
    model = fresh_model()
    model.towers.image = replace(model.towers.image, mean=(0.1, 0.2, 0.3))
    return model


@pytest.mark.parametrize(
    ("other", "says"),
    [(quick_model, r"activation\.image was \"gelu\" and is \"quick_gelu\""), (other_pixels, r"settings\.mean was")],
)
def test_another_flavor_is_not_resumed(tmp_path: Path, other: Any, says: str) -> None:
    run(tmp_path, fresh_model())
    with pytest.raises(TrainingError, match=says):
        run(tmp_path, other(), resume=True)
    with pytest.raises(CheckpointError, match="compute something else"):
        load_checkpoint(tmp_path / CHECKPOINT_FILE, other().towers)


def rewrite(path: Path, change: Any) -> None:
    """A safetensors file with another header."""
    with safe_open(path, "pt") as opened:
        about = dict(opened.metadata())
    tensors = load_file(path)
    change(about)
    save_file(tensors, path, about)


def as_before(out: Path, source: str) -> None:
    """State and checkpoint as 0.1 wrote them: of the towers they state the digest of the weights, and a source."""
    digest = read_header(out / CHECKPOINT_FILE)["towers"]["weights"]
    settings = read_state(out / STATE_FILE)[0] | {"towers": digest}

    def state(about: dict[str, str]) -> None:
        about |= {"settings": json.dumps(settings), "settings_sha256": settings_digest(settings)}

    def checkpoint(about: dict[str, str]) -> None:
        towers = {"source": source, "name": "tiny", "image_size": json.loads(about["towers"])["image_size"]}
        about |= {"format": "clsclip-checkpoint-1", "fingerprint": digest, "towers": json.dumps(towers)}

    rewrite(out / STATE_FILE, state)
    rewrite(out / CHECKPOINT_FILE, checkpoint)


def test_a_run_of_before_is_resumed_and_written_anew(tmp_path: Path) -> None:
    run(tmp_path, fresh_model())
    expected = load_file(tmp_path / CHECKPOINT_FILE)
    as_before(tmp_path, "towers")
    run(tmp_path, fresh_model(), resume=True)
    assert read_header(tmp_path / CHECKPOINT_FILE)["towers"]["settings"]["activation"]["image"] == "gelu"
    assert all((value == expected[name]).all() for name, value in load_file(tmp_path / CHECKPOINT_FILE).items())


def test_a_run_of_before_on_a_name_is_not_resumed_with_another_activation(tmp_path: Path) -> None:
    """0.1 ran every file under a name without ``-quickgelu`` with GELU, whatever was in it."""
    run(tmp_path, fresh_model())
    as_before(tmp_path, "ViT-B-16:w.safetensors")
    with pytest.raises(TrainingError, match=r"activation\.image was \"gelu\" and is \"quick_gelu\""):
        run(tmp_path, quick_model(), resume=True)
