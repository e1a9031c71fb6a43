"""Hugging Face's names and layout of a CLIP, turned into open_clip's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clsclip.errors import TowersError

_PLAIN = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
_TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_TOWERS = {
    "text_model.encoder.layers": "transformer.resblocks",
    "vision_model.encoder.layers": "visual.transformer.resblocks",
}
_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_LAYER = re.compile(r"(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_CONSTANTS = re.compile(r".*\.position_ids")

# fmt: off
VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_channels": 3, "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}
TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
# fmt: on
"""What a configuration that leaves a setting out means by it, as in ``transformers``."""

ACTIVATIONS: dict[str, Any] = {
    "gelu": nn.GELU,
    "gelu_new": lambda: nn.GELU(approximate="tanh"),
    "gelu_pytorch_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
}
"""Besides ``quick_gelu``, which open_clip makes."""


def open_clip_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a ``CLIPModel``'s weights as ``open_clip.CLIP`` has them; names that are unknown stay as they are."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if _CONSTANTS.fullmatch(name):
            continue
        layer = _LAYER.fullmatch(name)
        if name in _PLAIN:
            found[_PLAIN[name]] = value
        elif name in _TRANSPOSED:
            found[_TRANSPOSED[name]] = value.T.contiguous()
        elif layer is None:
            found[name] = value
        else:
            tower, number, part, kind = layer.groups()
            stem = f"{_TOWERS[f'{tower}.encoder.layers']}.{number}"
            if part == "self_attn.q_proj":
                found[f"{stem}.attn.in_proj_{kind}"] = packed(weights, name)
            elif part not in ("self_attn.k_proj", "self_attn.v_proj"):
                found[f"{stem}.{_PARTS.get(part, part)}.{kind}"] = value
    return found


def packed(weights: Mapping[str, Tensor], name: str) -> Tensor:
    """Join the projection ``name`` of queries with those of keys and values, as ``nn.MultiheadAttention`` has them.

    Raises:
        TowersError: one is absent.
    """
    names = [name.replace("q_proj", one) for one in ("q_proj", "k_proj", "v_proj")]
    absent = [one for one in names if one not in weights]
    if absent:
        raise TowersError(f"The weight {absent[0]} is absent; the file is not whole.")
    return torch.cat([weights[one] for one in names])


def open_clip_config(vision: Mapping[str, Any], text: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Make the arguments of ``open_clip.CLIP`` of both towers' configurations and the width of their joint space.

    Raises:
        TowersError: a setting that ``open_clip.CLIP`` has not.
    """
    for what, one in (("vision", vision), ("text", text)):
        activation = one["hidden_act"]
        if activation != "quick_gelu" and activation not in ACTIVATIONS:
            known = ", ".join(("quick_gelu", *ACTIVATIONS))
            raise TowersError(f"The {what} tower's activation {activation!r} is unknown; known: {known}.")
    size, patch = square(vision, "image_size"), square(vision, "patch_size")
    if vision["num_channels"] != 3:
        raise TowersError(f"The towers take {vision['num_channels']} channels; images have 3.")
    end = text["eos_token_id"]
    pooling = {"pool_type": "argmax"} if end == 2 else {"pool_type": "eos", "eos_id": end}
    return {
        "embed_dim": width,
        "vision_cfg": {
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "mlp_ratio": mlp_ratio(vision),
            "patch_size": patch,
            "image_size": size,
            "norm_kwargs": {"eps": vision["layer_norm_eps"]},
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "layers": text["num_hidden_layers"],
            "mlp_ratio": mlp_ratio(text),
            "norm_kwargs": {"eps": text["layer_norm_eps"]},
            **pooling,
        },
    }


def mlp_ratio(config: Mapping[str, Any]) -> float:
    """Ratio from which open_clip, which cuts the product to a whole number, makes the MLP's own width."""
    return float((config["intermediate_size"] + 0.5) / config["hidden_size"])


def square(config: Mapping[str, Any], key: str) -> int:
    """A side in pixels, given once or as two equal ones. TowersError for anything else."""
    value = config[key]
    sides = {*value} if isinstance(value, (list, tuple)) else {value}
    if len(sides) != 1 or not isinstance(side := sides.pop(), int) or side < 1:
        raise TowersError(f"{key} {value!r} is not one side of a square in pixels.")
    return side


def set_activations(clip: nn.Module, vision: str, text: str) -> None:
    """Give both towers of an ``open_clip.CLIP`` the activations of these names."""
    from open_clip.transformer import QuickGELU

    for transformer, name in ((clip.visual.transformer, vision), (clip.transformer, text)):  # type: ignore[union-attr]
        for layer in transformer.resblocks:  # type: ignore[union-attr]
            layer.mlp.gelu = QuickGELU() if name == "quick_gelu" else ACTIVATIONS[name]()
