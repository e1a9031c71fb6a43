"""A checkpoint in PyTorch and its bundle in the runtime draw the same masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clsclip.errors import CheckpointError, DeviceError
from clsclip.evaluation import BundlePredictor, CheckpointPredictor, Method, Protocol, evaluate, open_predictor
from clsclip_runtime.errors import BundleError
from tests.clsclip.evaluation.doubles import MadeImages
from tests.tiny import tiny_model

ROOT = Path(__file__).resolve().parents[3]
CHECKPOINT = ROOT / "models" / "stickers" / "last.safetensors"
WORDS = ["bottle", "boat", "dog", "potted plant", "pizza"]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    from clsclip.data.files import read_image

    return read_image(ROOT / "examples" / "cluttered.png")


@pytest.mark.parametrize("presence", [False, True])
def test_masks_agree(image: np.ndarray, presence: bool) -> None:
    bundle = open_predictor(None, threads=1, presence=presence)
    checkpoint = open_predictor(CHECKPOINT, presence=presence)
    assert isinstance(bundle, BundlePredictor)
    assert isinstance(checkpoint, CheckpointPredictor)
    one, two = bundle.predict(image, WORDS), checkpoint.predict(image, WORDS)
    assert one.masks.shape == two.masks.shape == (5, *image.shape[:2])
    assert (one.masks != two.masks).mean() < 1e-4
    assert one.presence is not None
    assert two.presence is not None
    np.testing.assert_allclose(one.presence, two.presence, atol=1e-4)
    if presence:
        assert not one.masks[4].any()
        assert not two.masks[4].any()


class Clutter(MadeImages):
    """Crops and mirror images of the cluttered picture; the truth is a model's own masks, moved by a few pixels."""

    def __init__(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        self.images = [image, image[:, ::-1], image[: height * 3 // 4], image[:, width // 5 :]]
        self.images = [np.ascontiguousarray(one) for one in self.images]
        predictor = open_predictor(None, threads=1)
        labels = []
        for one in self.images:
            map_ = np.zeros(one.shape[:2], np.uint8)
            for number, mask in enumerate(predictor.predict(one, WORDS[:4]).masks, start=1):
                map_[np.roll(mask, (3, 5), (0, 1))] = number
            map_[:2] = 255
            labels.append(map_)
        super().__init__(labels, tuple(WORDS))

    def image(self, index: int) -> np.ndarray:
        return self.images[index]


@pytest.mark.parametrize("size", [None, 64])
def test_the_same_miou_from_both(image: np.ndarray, size: int | None) -> None:
    fold = Clutter(image).fold()
    figures = [
        evaluate(fold, Method(predictor), Protocol(size))
        for predictor in (open_predictor(None, threads=1), open_predictor(CHECKPOINT))
    ]
    assert figures[0].pairs >= 12
    assert 40 < figures[0].miou < 99
    for name in ("miou", "fb_iou", "which_word"):
        assert getattr(figures[0], name) == pytest.approx(getattr(figures[1], name), abs=0.1)
    assert figures[0].leakage == pytest.approx(figures[1].leakage, abs=0.002)
    assert figures[1].method == "stickers/last (pytorch)"


def test_many_words_and_several_templates() -> None:
    model = tiny_model()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    predictor = CheckpointPredictor(model, ["a {}", "the {}"])
    words = [f"word {number}" for number in range(70)]
    logits, presence = predictor.logits(pixels, words)
    assert logits.shape[0] == presence.shape[0] == 70
    again = CheckpointPredictor(model, ["a {}", "the {}"]).logits(pixels, words[66:67])[0]
    np.testing.assert_allclose(logits[66], again[0], atol=1e-5)
    with torch.no_grad():
        mean = model.encode_words(["a word 3", "the word 3"])[0].mean(dim=0)
    torch.testing.assert_close(predictor.text_tokens(words)[3], mean)


def test_a_damaged_model_is_named() -> None:
    model = tiny_model()
    torch.nn.init.constant_(model.decoder.head.bias, float("nan"))
    with pytest.raises(CheckpointError, match=r"mine \(pytorch\) gives NaN"):
        CheckpointPredictor(model, name="mine").predict(np.zeros((8, 8, 3), np.uint8), ["dog"])


def test_models_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No checkpoint"):
        open_predictor(tmp_path / "none.safetensors")
    with pytest.raises(BundleError):
        open_predictor(tmp_path / "none.clsclip")


@pytest.mark.parametrize(("device", "message"), [("cuda", "finds no GPU"), ("gpu0", "no device 'gpu0'")])
def test_a_device_that_is_not_there_is_told_before_anything_is_loaded(
    tmp_path: Path, device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=message):
        open_predictor(tmp_path / "none.safetensors", device=device)
