"""Configurations of transformers: checked before anything is built of them, and turned into open_clip's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clsclip.errors import TowersError
from clsclip.weights.hf_names import ACTIVATIONS

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

PROJECTION = 512
"""The same of the width of the joint space."""

MOST = 1 << 20
"""Of any size or count in a configuration."""

_FIRST_END = 2
"""The end token of configurations that were written before it counted; the largest number stands for it then."""


@dataclass(frozen=True)
class HfConfig:
    """A CLIP as transformers describes it.

    Attributes:
        vision, text: settings of both towers, checked and complete.
        width: of the joint space.
    """

    vision: dict[str, Any]
    text: dict[str, Any]
    width: int

    @property
    def activations(self) -> tuple[str, str]:
        """Of image and text tower, by the names of transformers."""
        return self.vision["hidden_act"], self.text["hidden_act"]

    def open_clip(self) -> dict[str, Any]:
        """The arguments of ``open_clip.CLIP``, activations aside."""
        vision, text, end = self.vision, self.text, self.text["eos_token_id"]
        pooling = {"pool_type": "argmax"} if end == _FIRST_END else {"pool_type": "eos", "eos_id": end}
        return {
            "embed_dim": self.width,
            "vision_cfg": {
                "layers": vision["num_hidden_layers"],
                "width": vision["hidden_size"],
                "head_width": vision["hidden_size"] // vision["num_attention_heads"],
                "mlp_ratio": mlp_ratio(vision),
                "patch_size": vision["patch_size"],
                "image_size": vision["image_size"],
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


def read_hf(document: Mapping[str, Any]) -> HfConfig:
    """Read a configuration of a CLIP or CLIPSeg.

    Raises:
        TowersError: a setting has a type or a value that cannot be, or that ``open_clip.CLIP`` has not.
    """
    vision = _tower("vision", VISION_DEFAULTS | hf_part(document, "vision"))
    text = _tower("text", TEXT_DEFAULTS | hf_part(document, "text"))
    vision |= {key: square(vision, key) for key in ("image_size", "patch_size")}
    if vision["num_channels"] != 3:
        raise TowersError(f"The towers take {vision['num_channels']} channels; images have 3.")
    end = text["eos_token_id"]
    if isinstance(end, list) and len(end) == 1:
        (end,) = end
        text["eos_token_id"] = end
    if type(end) is not int or not 0 <= end <= MOST:
        raise TowersError(f"The text tower's eos_token_id is {shown(end)}, and must be one token's number.")
    width = document.get("projection_dim")
    return HfConfig(vision, text, PROJECTION if width is None else whole(document, "projection_dim", "its"))


def hf_part(config: Mapping[str, Any], tower: str) -> dict[str, Any]:
    """One tower's settings; older files have them under a second key, which wins there too."""
    found: dict[str, Any] = {}
    for key in (f"{tower}_config", f"{tower}_config_dict"):
        part = config.get(key)
        if part is not None and not isinstance(part, Mapping):
            raise TowersError(f"its {key} is {shown(part)}, and must be an object of settings.")
        found |= {name: value for name, value in (part or {}).items() if value is not None}
    return found


def whole(settings: Mapping[str, Any], key: str, whose: str, least: int = 1) -> int:
    """A whole number of a configuration. TowersError where it is something else."""
    value = settings[key]
    if type(value) is not int or not least <= value <= MOST:
        raise TowersError(f"{whose} {key} is {shown(value)}, and must be a whole number from {least} to {MOST}.")
    return value


def shown(value: object) -> str:
    """A value for messages."""
    return ascii(value)[:80]


def _tower(which: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of one tower, those that both have checked."""
    whose = f"The {which} tower's"
    counts = {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels"}
    for key in (counts | {"vocab_size", "max_position_embeddings"}) & settings.keys() & _known(which):
        whole(settings, key, whose)
    if settings["hidden_size"] % settings["num_attention_heads"]:
        raise TowersError(
            f"{whose} {settings['num_attention_heads']} heads do not divide its hidden_size {settings['hidden_size']}."
        )
    eps = settings["layer_norm_eps"]
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 < eps < 1:
        raise TowersError(f"{whose} layer_norm_eps is {shown(eps)}, and must be a number between 0 and 1.")
    activation = settings["hidden_act"]
    if not isinstance(activation, str) or (activation != "quick_gelu" and activation not in ACTIVATIONS):
        known = ", ".join(("quick_gelu", *ACTIVATIONS))
        raise TowersError(f"{whose} activation {shown(activation)} is unknown; known: {known}.")
    return settings


def _known(which: str) -> set[str]:
    return set(VISION_DEFAULTS if which == "vision" else TEXT_DEFAULTS)


def mlp_ratio(config: Mapping[str, Any]) -> float:
    """Ratio from which open_clip, which cuts the product to a whole number, makes the MLP's own width."""
    return float((config["intermediate_size"] + 0.5) / config["hidden_size"])


def square(config: Mapping[str, Any], key: str) -> int:
    """A side in pixels, given once or as two equal ones. TowersError for anything else."""
    value = config[key]
    sides = value if isinstance(value, (list, tuple)) and value else [value]
    if any(type(one) is not int or one != sides[0] for one in sides) or not 1 <= sides[0] <= MOST:
        raise TowersError(f"{key} {shown(value)} is not one side of a square in pixels.")
    return int(sides[0])
