"""Logits of faint masks are lowered: the formula, written anew; the checkpoint, the bundle and its graphs have it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from clsclip.checkpoint import change_provenance, load_checkpoint, save_checkpoint
from clsclip.confidence import SLOPE, confidence, least_confidence_of, lowered
from clsclip.evaluation import CheckpointPredictor, open_predictor
from clsclip.photographs import photographs
from clsclip.tower_files import save_towers
from clsclip_export.cli import command
from clsclip_runtime import Segmenter
from tests.tiny import tiny_config, tiny_model

WORDS = ("bottle", "boat")


def by_hand(logits: np.ndarray, least: float) -> np.ndarray:
    out = logits.astype(np.float64).copy()
    for pair in out:
        positive = pair[pair > 0]
        own = float((positive**2).sum() / (positive.sum() + 1e-3 * pair.size))  # an empty mask divides by something
        pair -= SLOPE * max(least - own, 0.0)
    return out


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 6), st.floats(0.1, 8))
def test_formula(seed: int, least: float, spread: float) -> None:
    logits = np.random.default_rng(seed).normal(-spread / 2, spread, (3, 8, 8)).astype(np.float32)
    found = lowered(torch.from_numpy(logits), least).numpy()
    np.testing.assert_allclose(found, by_hand(logits, least), atol=1e-4, rtol=1e-5)
    assert (found <= logits).all()


def test_sure_masks_and_no_level_change_nothing() -> None:
    logits = torch.randn(4, 8, 8)
    assert lowered(logits, 0.0) is logits
    sure = logits + 20
    torch.testing.assert_close(lowered(sure, 5.0), sure, atol=0, rtol=0)
    empty = -torch.rand(1, 8, 8)
    assert float(confidence(empty)) == 0


@pytest.mark.parametrize("value", [None, "2", -1.0, 0.0, float("nan"), float("inf"), 51.0, True, [2.0]])
def test_values_that_are_none(value: object) -> None:
    assert least_confidence_of({"least_confidence": value}) == 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose masks are faint, since it is random, with its towers beside it."""
    folder = tmp_path_factory.mktemp("faint")
    model = tiny_model(decoder_inputs=("similarity", "residual", "detail"))
    save_towers(model.towers, tiny_config(), folder / "towers")
    save_checkpoint(model, folder / "last.safetensors", "towers", {"templates": ["a {}"]})
    return folder / "last.safetensors"


def logits_of(path: Path) -> np.ndarray:
    predictor = open_predictor(path)
    assert isinstance(predictor, CheckpointPredictor)
    return predictor.logits(photographs()[0], WORDS).logits


def test_a_checkpoint_says_it_and_training_does_not_see_it(checkpoint: Path) -> None:
    plain = logits_of(checkpoint)
    strongest = max(float(by_hand(plain, 0)[at].max()) for at in range(len(WORDS)))
    least = strongest + 0.2  # above every confidence
    change_provenance(checkpoint, {"least_confidence": least})
    found = logits_of(checkpoint)
    np.testing.assert_allclose(found, by_hand(plain, least), atol=1e-4, rtol=0)
    assert (found < plain).all()
    model, _ = load_checkpoint(checkpoint)
    assert model.least_confidence == least
    pixels, words = torch.rand(1, 3, 32, 32), model.encode_words(list(WORDS))[0]
    pairs = torch.zeros(2, dtype=torch.int64), torch.arange(2)
    with torch.no_grad():
        evaluated, trained = model(pixels, words, *pairs), model.train()(pixels, words, *pairs)
    assert (evaluated < trained).all()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_bundle_draws_what_the_checkpoint_draws(checkpoint: Path, tmp_path: Path, precision: str) -> None:
    """Every graph with masks has it, and parity, which the export checks, compares with the model in PyTorch."""
    change_provenance(checkpoint, {"least_confidence": 1.0})
    out = tmp_path / "faint.clsclip"
    sizes = ["--crops", "1,1,2", "--classes", "1,2,3", "--pairs", "1,2,6"]
    done = CliRunner().invoke(command, ["--ckpt", str(checkpoint), "--out", str(out), f"--{precision}", *sizes])
    assert done.exit_code == 0, done.output
    assert json.loads((out / "manifest.json").read_text("utf-8"))["provenance"]["least_confidence"] == 1.0
    engine = "openvino" if precision == "bf16" else "onnxruntime-cpu"
    with Segmenter.load(out, engine) as segmenter:
        result = segmenter(photographs()[0], WORDS, presence_filter=False)
    wanted = logits_of(checkpoint)
    off = np.abs(result.logits - wanted).max()
    assert off < {"fp32": 1e-3, "fp16": 5e-2, "bf16": 0.5}[precision], off
