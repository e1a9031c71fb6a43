"""Uses of the text, visual prompts and the stem in the decoder: the same interface, gradients, files and export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clsclip.checkpoint import load_checkpoint, save_checkpoint
from clsclip.errors import CheckpointError
from clsclip.model import ModelConfig
from clsclip.variants import SpatialAttention, VisualPrompts
from clsclip_export.bundle import write_bundle
from clsclip_export.options import BundleOptions
from clsclip_export.parity import TOLERANCE
from tests.tiny import tiny_model, tiny_towers

VARIANTS: dict[str, dict[str, object]] = {
    "exact": {},
    "channel": {"use_of_text": "channel"},
    "spatial": {"use_of_text": "spatial"},
    "film": {"use_of_text": "film"},
    "prompts5": {"visual_prompts": 5},
    "text_token+similarity+stem": {"decoder_inputs": ("text_token", "similarity", "stem")},
    "stem+residual": {"decoder_inputs": ("stem", "residual")},
    "text_token+detail": {"decoder_inputs": ("text_token", "detail")},
    "similarity+residual+detail": {"decoder_inputs": ("similarity", "residual", "detail")},
    "film+prompts3+similarity": {"use_of_text": "film", "visual_prompts": 3, "decoder_inputs": ("similarity",)},
}

every_variant = pytest.mark.parametrize("name", VARIANTS)


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    images, words = torch.randn(2, 3, 32, 32, generator=generator), torch.randn(3, 32, generator=generator)
    return images, words, torch.tensor([0, 1, 1, 0]), torch.tensor([2, 0, 1, 1])


@every_variant
def test_frozen_weights_get_no_gradient_and_learned_ones_all_do(name: str) -> None:
    model = tiny_model(**VARIANTS[name])
    model(*inputs()).square().mean().backward()
    for weight, value in model.named_parameters():
        if weight.startswith("towers."):
            assert value.grad is None and not value.requires_grad, weight
        elif not weight.startswith("presence."):  # its own fit, never a mask's
            assert value.grad is not None and value.grad.abs().max() > 0, weight


@every_variant
def test_masks_follow_the_word_and_each_pair_stands_alone(name: str) -> None:
    model = tiny_model(**VARIANTS[name])
    images, words, crops, classes = inputs()
    assert model.config.variant == name
    with torch.no_grad():
        together = model(images, words, crops, classes)
        assert together.shape == (4, 16, 16)
        assert (together[1] - together[2]).abs().max() > 1e-4, "two words of one picture must differ"
        stem, _, patches, *detail = model.encode_image(images)
        assert stem.shape == (2, 1 + model.config.visual_prompts + 16, 48)
        apart = model.trunk(stem, patches, words, crops, classes, *detail)
        torch.testing.assert_close(apart, together, atol=1e-6, rtol=0)
        for row, (crop, word) in enumerate(zip(crops, classes, strict=True)):
            alone = model(images[crop][None], words[word][None], torch.tensor([0]), torch.tensor([0]))
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


@pytest.mark.parametrize("use", ["channel", "spatial", "film"])
def test_the_encoder_runs_once_where_it_is_not_navigated(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(use_of_text=use)
    assert model.config.navigation_layers == () and not model.maps
    assert model.stem_layers == model.towers.layers
    stem, _, patches = model.encode_image(inputs()[0])
    monkeypatch.setattr(model.towers, "run_layers", None)
    model.trunk(stem, patches, *inputs()[1:])


def test_features_of_clip_know_no_prompts() -> None:
    plain, prompted = tiny_model(), tiny_model(visual_prompts=4)
    images = inputs()[0]
    with torch.no_grad():
        for ours, theirs in zip(plain.encode_image(images)[1:], prompted.encode_image(images)[1:], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_spatial_attention_is_not_normalised_away() -> None:
    """A factor per patch before a LayerNorm would have no effect: the decoder's input must change with the word."""
    attention = SpatialAttention(32, 48)
    tokens = torch.randn(1, 16, 48)
    factors = attention(tokens, torch.randn(1, 32)) / tokens
    torch.testing.assert_close(factors, factors[..., :1].expand_as(factors), atol=1e-4, rtol=1e-4)
    assert factors.std() > 0 and factors.min() > 0 and factors.max() < 1


def test_prompts_stand_between_cls_and_patches() -> None:
    prompts, embedded = VisualPrompts(3, 8, 4), torch.randn(2, 5, 8)
    made = prompts(embedded)
    assert made.shape == (2, 8, 8)
    assert torch.equal(made[:, 0], embedded[:, 0]) and torch.equal(made[:, 4:], embedded[:, 1:])
    assert torch.equal(made[1, 1:4], prompts.tokens)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"use_of_text": "magic"}, "Unknown use of text 'magic'"),
        ({"visual_prompts": -1}, "visual prompts"),
        ({"use_of_text": "film", "decoder_inputs": ("stem",)}, "whole encoder"),
        ({"navigation_layers": ()}, "at least one"),
        ({"decoder_inputs": ("detail",), "upscale": 3}, "1, 2 or 4 pixels a side, and patches of 8 pixels"),
    ],
)
def test_impossible_variants_are_refused(config: dict[str, object], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        tiny_model(**config)


@every_variant
def test_checkpoints_keep_the_variant(name: str, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    model = tiny_model(**VARIANTS[name])
    save_checkpoint(model, path, "towers", {})
    again, _ = load_checkpoint(path, tiny_towers())
    assert again.config == model.config
    assert torch.equal(again(*inputs()), model(*inputs()))


def test_checkpoints_from_before_the_variants_load(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(tiny_model(), path, "towers", {})
    with safe_open(str(path), framework="pt") as opened:
        header = opened.metadata()
    settings = json.loads(header["model"])
    del settings["use_of_text"], settings["visual_prompts"]
    save_file(load_file(path), path, header | {"model": json.dumps(settings)})
    assert load_checkpoint(path, tiny_towers())[0].config == ModelConfig()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "exact"])
def test_every_variant_exports(name: str, tmp_path: Path) -> None:
    out = tmp_path / "tiny.clsclip"
    parity = write_bundle(tiny_model(**VARIANTS[name]), {}, out, BundleOptions("tiny"))
    assert max(row.difference for row in parity) <= TOLERANCE
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["model"]["variant"] == name
    if "prompts" in name:
        from clsclip_runtime import Segmenter

        with Segmenter.load(out) as segmenter:
            pixels = inputs()[0][0].mul(50).clamp(0, 255).byte().permute(1, 2, 0).numpy()
            result = segmenter(pixels, classes=["dog", "cat"], presence_threshold=0)
        assert result.masks.shape == (2, 32, 32)
