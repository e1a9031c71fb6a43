"""Logits of faint masks are lowered: the formula, written anew, and where checkpoints and bundles use it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from clsclip.checkpoint import change_provenance, least_confidence_of, save_checkpoint
from clsclip.evaluation import CheckpointPredictor, open_predictor
from clsclip.photographs import photographs
from clsclip.tower_files import save_towers
from clsclip_export.cli import command
from clsclip_runtime import Segmenter
from clsclip_runtime.masks.confidence import SLOPE, confidence, lower_faint, lowered
from clsclip_runtime.masks.upsampling import mask_at
from clsclip_runtime.regions import Proposals
from tests.tiny import tiny_config, tiny_model

WORDS = ("bottle", "boat", "cat")


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
    found = lowered(logits, least)
    assert found.dtype == np.float32 and (found <= logits).all()
    np.testing.assert_allclose(found, by_hand(logits, least), atol=1e-4, rtol=1e-5)


def test_sure_masks_change_nothing() -> None:
    logits = np.random.default_rng(0).normal(20, 1, (4, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(lowered(logits, 5.0), logits)
    assert confidence(-logits).tolist() == [0] * 4
    assert lowered(logits[:0], 5.0).shape == (0, 8, 8)


def test_many_pairs_of_which_some_are_chosen() -> None:
    logits = np.random.default_rng(1).normal(0, 1, (150, 4, 4)).astype(np.float32)
    chosen = np.arange(150) % 3 > 0
    found = logits.copy()
    lower_faint(found, 2.0, chosen)
    np.testing.assert_array_equal(found[~chosen], logits[~chosen])
    np.testing.assert_allclose(found[chosen], by_hand(logits[chosen], 2.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [None, "2", -1.0, 0.0, float("nan"), float("inf"), 51.0, True, [2.0]])
def test_values_that_are_none(value: object) -> None:
    assert least_confidence_of({"least_confidence": value}) == 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, some of whose masks are fainter than its least confidence, with its towers beside it."""
    folder = tmp_path_factory.mktemp("faint")
    model = tiny_model(decoder_inputs=("similarity", "residual", "detail"))
    save_towers(model.towers, tiny_config(), folder / "towers")
    save_checkpoint(model, folder / "last.safetensors", "towers", {"templates": ["a {}"]})
    plain = logits_of(folder / "last.safetensors")
    change_provenance(folder / "last.safetensors", {"least_confidence": float(np.median(confidence(plain))) + 0.01})
    return folder / "last.safetensors"


def logits_of(path: Path) -> np.ndarray:
    predictor = open_predictor(path)
    assert isinstance(predictor, CheckpointPredictor)
    return predictor.logits(photographs()[0], WORDS).logits


def test_a_checkpoint_uses_it_where_absent_words_are_left_out(checkpoint: Path) -> None:
    image, plain = photographs()[0], logits_of(checkpoint)
    predictor = open_predictor(checkpoint, presence=True)
    assert isinstance(predictor, CheckpointPredictor)
    least, size = predictor.least_confidence, (image.shape[1], image.shape[0])
    faint = by_hand(plain, least).astype(np.float32)
    assert 0 < (confidence(plain) < least).sum() < len(WORDS)
    for found, wanted in (
        (predictor.predict(image, WORDS), faint),
        (predictor.predict(image, WORDS, mask_threshold=0.5), plain),  # a box of these words
        (open_predictor(checkpoint).predict(image, WORDS), plain),
    ):
        expected = np.stack([mask_at(one, size, 0.0) for one in wanted])
        assert (found.masks != expected).mean() < 1e-3


@pytest.fixture(scope="module")
def faint(checkpoint: Path) -> Path:
    """Its bundle."""
    out, sizes = checkpoint.with_name("faint.clsclip"), ["--crops", "1,1,2", "--classes", "1,2,3", "--pairs", "1,2,6"]
    done = CliRunner().invoke(command, ["--ckpt", str(checkpoint), "--out", str(out), *sizes])
    assert done.exit_code == 0, done.output
    return out


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime-cpu", "openvino"])
def test_the_bundle_uses_it_where_nobody_says_what_a_crop_shows(checkpoint: Path, faint: Path, backend: str) -> None:
    out, image = faint, photographs()[0]
    least = json.loads((out / "manifest.json").read_text("utf-8"))["presence"]["least_confidence"]
    plain = logits_of(checkpoint)
    height, width = image.shape[:2]
    with Segmenter.load(out, backend) as segmenter:
        usual, every = segmenter(image, WORDS), segmenter(image, WORDS, presence_threshold=0.0)
        off = segmenter(image, WORDS, presence_filter=False)
        named = Proposals.from_boxes([[0, 0, width, height]] * 3, WORDS)
        boxed = segmenter(image, WORDS, regions=named)
        anonymous = segmenter(image, WORDS, regions=[[0, 0, width, height]])
        tiled = segmenter(image, WORDS, regions="tiles")
    np.testing.assert_allclose(usual.logits, by_hand(plain, least), atol=1e-3, rtol=0)
    for one in (every, off):
        np.testing.assert_allclose(one.logits, plain, atol=1e-3, rtol=0)
    # The box is the whole image, so its logits are the image's: plain where its name says what it shows.
    np.testing.assert_allclose(boxed.pairs.logits, plain, atol=1e-3, rtol=0)
    np.testing.assert_allclose(anonymous.pairs.logits, by_hand(plain, least), atol=1e-3, rtol=0)
    assert (confidence(tiled.pairs.logits) < least).any()
    with Segmenter.load(out, backend) as segmenter:
        raw = segmenter(image, WORDS, regions="tiles", presence_threshold=0.0)
    np.testing.assert_allclose(tiled.pairs.logits, by_hand(raw.pairs.logits, least), atol=1e-3, rtol=0)
