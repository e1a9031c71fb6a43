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

ACTIVATIONS: dict[str, Any] = {
    "gelu": nn.GELU,
    "gelu_new": lambda: nn.GELU(approximate="tanh"),
    "gelu_pytorch_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
}
"""Besides ``quick_gelu``, which open_clip makes."""


SAME = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "swish": "silu"}
"""Names of one activation: as towers call it."""


def activation_name(vision: str, text: str) -> str:
    """The activation of both towers for people and for comparison."""
    image, words = SAME.get(vision, vision), SAME.get(text, text)
    return image if image == words else f"{image} in the image tower and {words} in the text tower"


def open_clip_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a ``CLIPModel``'s weights as ``open_clip.CLIP`` has them; names that are unknown stay as they are.

    Raises:
        TowersError: queries, keys and values of a layer are not all there, without the file's name.
    """
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if _CONSTANTS.fullmatch(name):
            continue
        layer = _LAYER.fullmatch(name)
        if name in _PLAIN:
            found[_PLAIN[name]] = value
        elif name in _TRANSPOSED:
            found[_TRANSPOSED[name]] = value.T.contiguous() if value.ndim == 2 else value
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
        TowersError: one is absent, or they have different shapes.
    """
    names = [name.replace("q_proj", one) for one in ("q_proj", "k_proj", "v_proj")]
    absent = [one for one in names if one not in weights]
    if absent:
        raise TowersError(f"it lacks the weight {absent[0]}, so it is not whole")
    shapes = {one: tuple(weights[one].shape) for one in names}
    if len(set(shapes.values())) > 1 or () in shapes.values():
        raise TowersError(f"its queries, keys and values have shapes that do not belong together: {shapes}")
    return torch.cat([weights[one] for one in names])


def set_activations(clip: nn.Module, vision: str, text: str) -> None:
    """Give both towers of an ``open_clip.CLIP`` the activations of these names."""
    from open_clip.transformer import QuickGELU

    for transformer, name in ((clip.visual.transformer, vision), (clip.transformer, text)):  # type: ignore[union-attr]
        for layer in transformer.resblocks:  # type: ignore[union-attr]
            layer.mlp.gelu = QuickGELU() if name == "quick_gelu" else ACTIVATIONS[name]()
