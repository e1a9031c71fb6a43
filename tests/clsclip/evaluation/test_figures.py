"""The attention that is drawn is the encoder's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clsclip.errors import DataError
from clsclip.evaluation import CheckpointPredictor, Method, Protocol
from clsclip.evaluation.figures import (
    attention_figure,
    attention_maps,
    first_token_attention,
    painted,
    save_figure,
    side_by_side,
)
from clsclip.vit import attention
from clsclip_runtime.errors import OutputError
from tests.clsclip.evaluation.doubles import FixedMasks
from tests.clsclip.evaluation.test_evaluate import BOXES, three_images
from tests.tiny import tiny_model


def test_weights_are_those_of_the_block() -> None:
    model = tiny_model()
    module = model.towers.visual.transformer.resblocks[3]
    tokens = torch.randn(1, 17, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weights = first_token_attention(module, tokens)
        normed = module.ln_1(tokens)
        _, theirs = module.attn(normed, normed, normed, need_weights=True, average_attn_weights=True)
        attention(module.attn, normed)
    torch.testing.assert_close(weights, theirs[0, 0])
    assert float(weights.sum()) == pytest.approx(1)


def test_the_two_paths_part_at_the_first_navigation_layer() -> None:
    model = tiny_model(navigation_layers=(2, 4))
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        token = model.encode_words(["a dog"])[0][0]
    original, navigated = attention_maps(model, pixels, token)
    assert original.shape == navigated.shape == (6, 4, 4)
    assert torch.equal(original[:2], navigated[:2])
    assert all(not torch.allclose(original[layer], navigated[layer]) for layer in range(2, 6))


def test_drawings(tmp_path: Path) -> None:
    fold = three_images().fold()
    figure = side_by_side(fold, [Method(FixedMasks(BOXES))] * 2, Protocol(), list(fold.test_pairs[:2]))
    save_figure(figure, tmp_path / "new" / "show.png")
    predictor = CheckpointPredictor(tiny_model())
    pixels = np.zeros((20, 30, 3), np.uint8)
    save_figure(attention_figure(predictor, pixels, ["dog", "cat"]), tmp_path / "attention.png")
    for name in ("new/show.png", "attention.png"):
        with Image.open(tmp_path / name) as image:
            assert image.width > 200
    with pytest.raises(DataError, match="no pair to show"):
        side_by_side(fold, [], Protocol(), [])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_figure(figure, tmp_path / "file" / "show.png")


def test_paint() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    mask = np.array([[True, False], [False, False]])
    ignore = np.array([[False, True], [False, False]])
    pixels = painted(image, mask, ignore)
    assert pixels[0, 0, 0] > 100
    assert pixels[0, 1].tolist() == [255, 255, 255]
    assert not pixels[1].any()
    assert not image.any()
