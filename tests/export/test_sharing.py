from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clsclip_export.architectures.sharing import first_navigated, shared_trunk
from tests.tiny import tiny_model


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"navigation_layers": (0, 1)},
        {"navigation_layers": (1, 3)},
        {"navigation_layers": (3,)},
        {"decoder_inputs": ("text_token", "similarity", "stem")},
        {"decoder_inputs": ("stem", "residual", "detail")},
        {"visual_prompts": 3},
        {"use_of_text": "film"},
    ],
    ids=str,
)
def test_shared_work_gives_the_plain_trunk(config: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = tiny_model(**config).double()
    size = model.towers.image.size
    crops, classes = torch.tensor([1, 0, 1, 1, 2]), torch.tensor([0, 3, 3, 1, 0])
    words = 3 * torch.randn(4, model.towers.text_width, dtype=torch.float64)
    with torch.no_grad():
        stem, _, patches, *detail = model.encode_image(torch.randn(3, 3, size, size, dtype=torch.float64))
        expected = model.trunk(stem, patches, words, crops, classes, *detail)
        found = shared_trunk(model, stem, patches, words, crops, classes, *detail)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


@settings(max_examples=20)
@given(st.floats(0.01, 300), st.floats(0.01, 300))
def test_sharp_attention_stays_finite_and_exact(patches_by: float, words_by: float) -> None:
    """A word that takes all of the attention, or none of it."""
    torch.manual_seed(1)
    model = tiny_model()
    layer, width = model.towers.visual.transformer.resblocks[2], model.towers.width
    with torch.no_grad():
        layer.attn.in_proj_weight[:width] *= patches_by
        patches, words = torch.randn(2, 9, width), words_by * torch.randn(3, 1, width)
        crops, classes = torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1])
        found = first_navigated(layer, patches, words, crops, classes)
        expected = layer.double()(torch.cat([words[classes], patches[crops]], dim=1).double())
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.double(), expected, atol=2e-4 * words_by + 2e-3, rtol=1e-3)
