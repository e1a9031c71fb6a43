"""Models of transformers whose weights have a CLIP's names, or nearly: each is refused by what it is."""

from __future__ import annotations

from typing import Any

import pytest

from clsclip.errors import TowersError
from clsclip.weights.files import WeightsFile
from clsclip.weights.names import recognized


def relatives() -> dict[str, tuple[Any, str]]:
    """Models of transformers whose weights are named much as a CLIP's, and what is said of them."""
    import transformers as hf

    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    parts = {"text_config": small | {"vocab_size": 100}, "vision_config": small | {"image_size": 32, "patch_size": 16}}
    return {
        "OWL-ViT": (lambda: hf.OwlViTForObjectDetection(hf.OwlViTConfig(**parts)), "OWL-ViT"),
        "OWL-ViT alone": (lambda: hf.OwlViTModel(hf.OwlViTConfig(**parts)), "OWL-ViT"),
        "OWLv2": (lambda: hf.Owlv2ForObjectDetection(hf.Owlv2Config(**parts)), "OWL-ViT"),
        "X-CLIP": (lambda: hf.XCLIPModel(hf.XCLIPConfig(**parts)), "X-CLIP"),
        "AltCLIP": (lambda: hf.AltCLIPModel(hf.AltCLIPConfig(**parts)), "AltCLIP"),
        "BLIP": (lambda: hf.BlipForConditionalGeneration(hf.BlipConfig(**parts)), "a BLIP's"),
        "BLIP that compares": (lambda: hf.BlipForImageTextRetrieval(hf.BlipConfig(**parts)), "a BLIP's"),
        "BLIP-2": (
            lambda: hf.Blip2ForConditionalGeneration(
                hf.Blip2Config(
                    vision_config=parts["vision_config"],
                    qformer_config=small | {"vocab_size": 100, "encoder_hidden_size": 32},
                    text_config={"model_type": "opt", "vocab_size": 100, "ffn_dim": 32, "word_embed_proj_dim": 32}
                    | small,
                )
            ),
            "a BLIP-2's",
        ),
        "Chinese CLIP": (lambda: hf.ChineseCLIPModel(hf.ChineseCLIPConfig(**parts)), "a BERT as its text tower"),
        "CLIP's image tower": (
            lambda: hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**parts["vision_config"])),
            "image tower of a CLIP alone",
        ),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "OWL-ViT",
        "OWL-ViT alone",
        "OWLv2",
        "X-CLIP",
        "AltCLIP",
        "BLIP",
        "BLIP that compares",
        "BLIP-2",
        "Chinese CLIP",
        "CLIP's image tower",
    ],
)
def test_relatives_of_clip_are_named(kind: str) -> None:
    make, says = relatives()[kind]
    with pytest.raises(TowersError, match=says):
        recognized(WeightsFile(dict(make().state_dict()), "safetensors"), "model.safetensors")
