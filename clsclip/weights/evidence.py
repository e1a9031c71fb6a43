"""What the small files of a folder say of the towers in it; the same for a folder and for a file that lies in it.

Weights have the same shapes whatever their activation, heads and normalization are. So all that a folder says of these
is read, and two files that contradict each other are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from clsclip.errors import TowersError
from clsclip.weights.configs import check_settings
from clsclip.weights.documents import read_object
from clsclip.weights.flavor import HF_CONFIG, OPEN_CLIP_CONFIG, MeanStd, Told
from clsclip.weights.hf_config import read_hf
from clsclip.weights.hf_names import activation_name
from clsclip.weights.processors import FILTERS, read_processor, triple
from clsclip_runtime.paths import is_file

_RANDOM = "random"
"""A filter of open_clip's configurations: trained with several."""

_LEFT_OUT = ("image_size", "patch_dropout", "output_tokens", "pad_id")
"""Settings that change nothing, or that the weights show."""

_OTHERS = ("timm_", "hf_", "tokenizer_", "attn_pooler_")
"""Beginnings of settings of other kinds of towers."""


@dataclass(frozen=True)
class Configuration:
    """A configuration of towers.

    Attributes:
        path: its file.
        model: the arguments of ``open_clip.CLIP``.
        activations: of image and text tower by transformers' names; None where ``model`` has them.
        told: the flavor that it states.
    """

    path: Path
    model: dict[str, Any]
    activations: tuple[str, str] | None
    told: Told


@dataclass(frozen=True)
class Evidence:
    """All that a folder says.

    Attributes:
        configurations: of towers in it, open_clip's first.
        told: flavors that they and the processor state.
        without_processor: whether it has a configuration of transformers, and no processor.
    """

    configurations: tuple[Configuration, ...]
    told: tuple[Told, ...]
    without_processor: bool


def read_evidence(folder: Path, beside: str = "") -> Evidence:
    """Read what is in a folder.

    Args:
        folder: of weights.
        beside: what follows the name of a file in messages, such as " beside it".

    Raises:
        TowersError: a file is damaged, or states what cannot be.
    """
    found: list[Configuration] = []
    path = folder / OPEN_CLIP_CONFIG
    if is_file(path):
        document = read_object(path)
        # A file may lie beside the configuration of another kind of model, which says nothing of it.
        if not _is_timm(document.get("model_cfg")) and not (beside and _is_no_clip(document.get("model_cfg"))):
            found.append(_of_open_clip(path, document, beside))
    path, processor = folder / HF_CONFIG, None
    if is_file(path):
        document = read_object(path)
        if document.get("model_type") == "clip":
            found.append(_of_transformers(path, document, beside))
            processor = read_processor(folder)  # one that lies there alone may be of any model
    told = [one.told for one in found]
    if processor is not None:
        both = processor.mean is not None and processor.std is not None
        pixels = MeanStd(processor.mean, processor.std) if both else None  # type: ignore[arg-type]
        told.append(Told(f"{processor.source}{beside}", None, pixels, processor.interpolation))
    without = processor is None and any(one.path.name == HF_CONFIG for one in found)
    return Evidence(tuple(found), tuple(told), without)


def check_same(own: Mapping[str, Any], name: str, evidence: Evidence, where: str, remedy: str) -> None:
    """Compare a configuration with those of a folder.

    Args:
        own: the arguments of ``open_clip.CLIP`` that the weights will run with.
        name: of that configuration, for messages.
        evidence: of the folder.
        where: what follows a file's name in messages.
        remedy: one sentence.

    Raises:
        TowersError: one of them states something else; its first difference is named.
    """
    mine = settled(own) if evidence.configurations else {}
    for one in evidence.configurations:
        theirs = settled(one.model)
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                tower, _, setting = key.partition(".")
                what = _LABELS.get(setting, f"for {setting or key}") + (f" of the {tower} tower" if setting else "")
                raise TowersError(
                    f"{one.path.name}{where} says {theirs.get(key)} {what}, and {name} has {mine.get(key)}. {remedy}"
                )


_LABELS = {"heads": "attention heads", "layers": "layers", "eps": "for layer_norm_eps"}
"""What some settings are called in messages."""


def settled(model: Mapping[str, Any]) -> dict[str, object]:
    """All that a configuration sets, with open_clip's defaults and each thing stated in one way.

    Raises:
        TowersError: a setting is unknown.
    """
    found: dict[str, object] = {"embed_dim": model.get("embed_dim")}
    for tower, kind in (("image", CLIPVisionCfg), ("text", CLIPTextCfg)):
        part = model["vision_cfg" if tower == "image" else "text_cfg"]
        try:
            settings = asdict(kind(**part))
        except TypeError as error:
            unknown = sorted(part.keys() - asdict(kind()).keys())
            raise TowersError(f"the setting {', '.join(unknown)[:80]} is none of open_clip's towers") from error
        width, head = settings["width"], settings.pop("head_width", None)
        settings["mlp"] = int(width * settings.pop("mlp_ratio"))
        settings["eps"] = (settings.pop("norm_kwargs") or {}).get("eps", 1e-5)
        if tower == "image":
            settings["heads"] = width // head
        elif settings["pool_type"] in ("argmax", "eos"):  # CLIP's end token has the largest number
            end = settings["vocab_size"] - 1 if settings["pool_type"] == "argmax" else settings["eos_id"]
            settings["pool_type"] = f"token {end}"
        settings.pop("eos_id", None)
        for key, value in settings.items():
            if key not in _LEFT_OUT and not key.startswith(_OTHERS):
                found[f"{tower}.{key}"] = None if value is False else value  # often left out
    return found


def _is_timm(model: object) -> bool:
    """Whether a configuration is of an image tower of timm."""
    vision = model.get("vision_cfg") if isinstance(model, Mapping) else None
    return isinstance(vision, Mapping) and bool(vision.get("timm_model_name"))


def _is_no_clip(model: object) -> bool:
    """Whether a configuration is of another kind of model that open_clip knows, or of none."""
    parts = [model.get(key) for key in ("vision_cfg", "text_cfg")] if isinstance(model, Mapping) else []
    if len(parts) < 2 or not all(isinstance(one, Mapping) for one in parts):
        return True
    vision, text = parts
    return "multimodal_cfg" in model or bool(text.get("hf_model_name")) or isinstance(vision.get("layers"), list)  # type: ignore[operator, union-attr]


def _of_open_clip(path: Path, document: Mapping[str, Any], beside: str) -> Configuration:
    try:
        model, vision, text = check_settings(document.get("model_cfg"))
        _check_sizes(vision, text)
        settled(model)
    except TowersError as error:
        raise TowersError(f"{path} describes no CLIP: {error}.") from error
    preprocess = document.get("preprocess_cfg")
    pixels = filter_ = None
    if preprocess is not None:
        if not isinstance(preprocess, Mapping):
            raise TowersError(f"{path}: its preprocess_cfg is no object of settings. Fetch the file again.")
        mean, std = (triple(path, key, preprocess.get(key)) for key in ("mean", "std"))
        if (mean is None) != (std is None):
            raise TowersError(f"{path}: its preprocess_cfg has one of mean and std, and needs both or none.")
        if mean is not None and std is not None:
            if min(std) <= 0:
                raise TowersError(f"{path}: its std is {std}, and must be above 0.")
            pixels = MeanStd(mean, std)
        filter_ = preprocess.get("interpolation")
        if filter_ not in (None, _RANDOM, *FILTERS):
            raise TowersError(f"{path} resizes by the unknown filter {ascii(filter_)[:80]}.")
    quick = "quick_gelu" if model.get("quick_gelu") else "gelu"
    told = Told(f"{path.name}{beside}", quick, pixels, None if filter_ == _RANDOM else filter_)
    return Configuration(path, model, None, told)


def _check_sizes(vision: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    """Numbers that others are computed from."""
    for part, keys in ((vision, ("width", "head_width")), (text, ("width", "heads", "vocab_size"))):
        for key in keys:
            if key in part and (type(part[key]) is not int or part[key] < 1):
                raise TowersError(f"its {key} is {ascii(part[key])[:80]}, and must be a whole number above 0")
        ratio = part.get("mlp_ratio", 4.0)
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float)):
            raise TowersError(f"its mlp_ratio is {ascii(ratio)[:80]}, and must be a number")


def _of_transformers(path: Path, document: Mapping[str, Any], beside: str) -> Configuration:
    try:
        config = read_hf(document)
    except TowersError as error:
        raise TowersError(f"{path} describes no CLIP: {error}") from error
    told = Told(f"{path.name}{beside}", activation_name(*config.activations))
    return Configuration(path, config.open_clip(), config.activations, told)
