"""Configurations of open_clip's models: checked before anything is built of them, and built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import open_clip
from torch import Tensor

from clsclip.errors import TowersError

_MOST_CHARACTERS = 256
_NORM = "norm_kwargs"


POOLINGS = ("argmax", "eos", "first", "last")
"""How open_clip's text towers find the token that stands for a text."""


def check_kind(name: str, config: dict[str, Any]) -> None:
    """Refuse what has no plain ViT as its image tower. TowersError then."""
    if "vision_cfg" not in config or config["vision_cfg"].get("timm_model_name") or is_resnet(config):
        raise TowersError(
            f"{name} does not have a plain ViT image tower with [CLS]; ClsCLIP needs one, as ViT-B-16 has."
        )


def check_settings(config: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Check the types of a configuration: it, and the parts of its image and its text tower.

    Raises:
        TowersError: it asks for something else than numbers, texts and switches.
    """
    parts = [config] + [config.get(key) if isinstance(config, dict) else None for key in ("vision_cfg", "text_cfg")]
    if not all(isinstance(part, dict) for part in parts):
        raise TowersError("its model_cfg is no configuration of towers")
    if not isinstance(config.get("quick_gelu", False), bool):
        raise TowersError(f"its quick_gelu is {str(config['quick_gelu'])[:40]!a}, and must be true or false")
    for part in parts:
        for key, value in part.items():
            if any(key.startswith(kind) for kind in ("timm_", "hf_")) and value not in (None, False):
                raise TowersError(f"its {key} names a model of another library, which is not loaded")
            if key == _NORM and isinstance(value, dict) and value.keys() == {"eps"} and _is_eps(value["eps"]):
                continue
            plain = isinstance(value, (bool, int, float, str, type(None))) or key in ("vision_cfg", "text_cfg")
            if not plain or (len(str(value)) > _MOST_CHARACTERS and key not in ("vision_cfg", "text_cfg")):
                raise TowersError(f"its setting {key} has a value that cannot be")
    return config, config["vision_cfg"], config["text_cfg"]


def _is_eps(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1


def check_shapes(config: Any, weights: Mapping[str, Tensor]) -> None:
    """Compare what a configuration asks for with the weights that are there, before anything is built.

    Raises:
        TowersError: they differ, or the configuration asks for something else than numbers and switches.
    """
    model, vision, text = check_settings(config)
    own = "" if "token_embedding.weight" in weights else "text."
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    patch, size = vision.get("patch_size", 16), vision.get("image_size", 224)
    grid = size // patch if type(size) is int and type(patch) is int and patch > 0 else 0
    width, text_width = vision.get("width", 768), text.get("width", 512)
    for name, shape in {
        "visual.conv1.weight": (width, 3, patch, patch),
        "visual.positional_embedding": (1 + grid * grid, width),
        "visual.proj": (width, model.get("embed_dim")),
        f"{own}token_embedding.weight": (text.get("vocab_size", 49408), text_width),
        f"{own}positional_embedding": (text.get("context_length", 77), text_width),
    }.items():
        if name in shapes and shapes[name] != shape:
            raise TowersError(f"its configuration asks for {name} of shape {shape}, and it has {shapes[name]}")
    for prefix, part in (("visual.", vision), (own, text)):
        there = {
            name.split(".resblocks.")[1].split(".")[0]
            for name in shapes
            if name.startswith(f"{prefix}transformer.resblocks.")
        }
        if part.get("layers", 12) != len(there):
            raise TowersError(f"its configuration asks for {part.get('layers', 12)} layers, and there are {len(there)}")
    for part, divides in ((vision, vision.get("head_width", 64)), (text, text.get("heads", 8))):
        wide = part.get("width")
        if type(divides) is not int or divides < 1 or (type(wide) is int and wide % divides):
            raise TowersError("its heads do not divide its width")
    for part in (vision, text):
        ratio = part.get("mlp_ratio", 4.0)
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 < ratio <= 16:
            raise TowersError("its mlp_ratio is not from 0 to 16")
    pooling, end = text.get("pool_type", "argmax"), text.get("eos_id", 2)
    if pooling not in POOLINGS:
        raise TowersError(f"its text is pooled by {str(pooling)[:40]!a}, and known are {', '.join(POOLINGS)}")
    words = text.get("vocab_size", 49408)
    if type(end) is not int or (pooling == "eos" and type(words) is int and not 0 <= end < words):
        raise TowersError(f"its eos_id {str(end)[:40]!a} is no token")


def is_resnet(config: dict[str, Any]) -> bool:
    """True for open_clip's modified ResNets: their layers are a list, one number a stage."""
    return not isinstance(config["vision_cfg"].get("layers", 12), int)


def build_clip(config: dict[str, Any]) -> Any:
    """An open_clip model with random weights from its configuration; nothing is fetched.

    Raises:
        TowersError: the text tower comes from a hub, which plain construction must not ask.
    """
    settings = {key: value for key, value in config.items() if key != "custom_text"}
    if settings.get("text_cfg", {}).get("hf_model_name"):
        raise TowersError(f"The text tower {settings['text_cfg']['hf_model_name']} is not open_clip's own transformer.")
    if "multimodal_cfg" in settings:
        raise TowersError("CoCa models pool by attention; ClsCLIP needs a plain ViT CLIP.")
    if config.get("custom_text"):
        return open_clip.CustomTextCLIP(**settings)
    return open_clip.CLIP(**settings)


def own_size(config: dict[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration with the image size that the weights have positions for, where that is a square of patches."""
    table, vision = weights.get("visual.positional_embedding"), config["vision_cfg"]
    patch = vision.get("patch_size", 16)
    if table is None or table.ndim != 2:
        return config
    grid = round((table.shape[0] - 1) ** 0.5)
    if grid < 1 or 1 + grid * grid != table.shape[0]:
        return config
    return config | {"vision_cfg": vision | {"image_size": grid * patch}}
