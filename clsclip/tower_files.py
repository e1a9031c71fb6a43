"""Towers from files: open_clip's models by name and tag, local weights, and folders of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save
from tokenizers import Tokenizer
from torch import Tensor, nn

from clsclip.clip_tokenizer import hub_tokenizer
from clsclip.errors import TowersError
from clsclip.tensors import read_tensors
from clsclip.towers import ImageSpec, Towers
from clsclip_runtime.documents import read_json
from clsclip_runtime.paths import is_file, make_folder, write_bytes, write_text
from clsclip_runtime.tensor_files import TensorFile

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
TOKENIZER_FILE = "tokenizer.json"


def load_towers(name: str, pretrained: str | None = None, image_size: int | None = None) -> Towers:
    """Towers by name or folder, frozen and in evaluation mode.

    Args:
        name: an ``open_clip`` model (``"ViT-B-16"``), or a folder with ``open_clip_config.json``,
            ``open_clip_model.safetensors`` and ``tokenizer.json``.
        pretrained: for an open_clip model: a tag (``"openai"``, fetched from a hub), a local ``.safetensors`` or
            torch file, or None for random weights. A folder brings its own.
        image_size: pixels a side; None keeps the size that the towers were trained at.

    Raises:
        TowersError: unknown name, absent or damaged files, no connection for a tag, or towers of another kind.
    """
    folder = Path(name)
    if is_file(folder / CONFIG_FILE):
        towers = load_folder(folder)
    elif name in open_clip.list_models():
        towers = load_open_clip(name, pretrained)
    else:
        raise TowersError(
            f"{name!r} is neither a folder with {CONFIG_FILE} nor an open_clip model. "
            "Run: python -c 'import open_clip; print(open_clip.list_models())'"
        )
    if image_size is not None:
        towers.resize(image_size)
    return towers.requires_grad_(False).eval()


def load_folder(folder: Path) -> Towers:
    """Towers from a folder in open_clip's local-dir layout; see :func:`load_towers`."""
    try:
        config = read_json(folder / CONFIG_FILE)
        clip = build_clip(config["model_cfg"])
        preprocess = config["preprocess_cfg"]
        spec = ImageSpec(config["model_cfg"]["vision_cfg"]["image_size"], *channels(preprocess))
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TowersError(f"{folder} does not hold a readable {CONFIG_FILE} and {TOKENIZER_FILE}: {error}") from error
    except Exception as error:  # the tokenizers library raises bare Exception
        raise TowersError(f"{folder / TOKENIZER_FILE} cannot be read: {error}") from error
    load_weights(clip, read_weights(folder / WEIGHTS_FILE), str(folder))
    return Towers(clip, tokenizer, spec, folder.name)


def load_open_clip(name: str, pretrained: str | None) -> Towers:
    """Towers of a model that open_clip knows; see :func:`load_towers`."""
    config: dict[str, Any] = open_clip.get_model_config(name)
    if "vision_cfg" not in config or config["vision_cfg"].get("timm_model_name") or is_resnet(config):
        raise TowersError(
            f"{name} does not have a plain ViT image tower with [CLS]; ClsCLIP needs one, as ViT-B-16 has."
        )
    local = pretrained is not None and is_file(pretrained)
    tag = None if local else pretrained
    preprocess: dict[str, Any] = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    if tag is not None:
        if tag not in open_clip.list_pretrained_tags_by_model(name):
            known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
            raise TowersError(f"{name} has no pretrained tag {tag!r}, and no such file exists. Its tags: {known}.")
        preprocess |= open_clip.get_pretrained_cfg(name, tag)
    # OpenAI's weights were trained with QuickGELU, which open_clip keeps in the tag and not in the model.
    quick_gelu = bool(config.get("quick_gelu") or preprocess.get("quick_gelu"))
    try:
        clip = open_clip.create_model(name, pretrained=tag, force_quick_gelu=quick_gelu) if tag else build_clip(config)
    except Exception as error:  # hub clients raise many kinds
        raise TowersError(
            f"The weights {tag!r} of {name} could not be loaded: {error}\n"
            "Give a local file instead: --pretrained path/to/open_clip_model.safetensors"
        ) from error
    if local:
        load_weights(clip, read_weights(Path(str(pretrained))), str(pretrained))
    spec = ImageSpec(int(clip.visual.image_size[0]), *channels(preprocess))
    return Towers(
        clip, hub_tokenizer(name), spec, f"{name}:{tag or (Path(str(pretrained)).name if local else 'random')}"
    )


def channels(preprocess: dict[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of an open_clip preprocessing configuration."""
    mean, std = (tuple(float(value) for value in preprocess[key]) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"mean {mean} and std {std} must be three numbers each, std above 0")
    return mean, std


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


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a safetensors file, or of a torch file read with ``weights_only=True``; never a pickle's code.

    Raises:
        TowersError: absent or damaged.
    """
    try:
        if path.suffix == ".safetensors":
            with TensorFile(path) as file:
                return read_tensors(file)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TowersError(f"No weights file {path}.") from error
    except Exception as error:  # safetensors and torch raise many kinds for damaged files
        raise TowersError(f"{path} cannot be read as weights: {error}") from error
    weights = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise TowersError(f"{path} holds no state dictionary of tensors.")
    return {name.removeprefix("module."): value for name, value in weights.items()}


def load_weights(clip: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Put every weight into the model.

    Raises:
        TowersError: a weight is absent, left over, of another shape, or not finite; the message names the first.
    """
    ignored = ("input_resolution", "context_length", "vocab_size", "attn_mask")
    weights = {name: value.float() for name, value in weights.items() if name not in ignored}
    expected = clip.state_dict()
    for name in sorted(expected.keys() - weights.keys()):
        raise TowersError(f"{origin} lacks the weight {name}; it belongs to another model.")
    for name, value in sorted(weights.items()):
        if name not in expected:
            raise TowersError(f"{origin} has the weight {name}, which this model has not.")
        if value.shape != expected[name].shape:
            raise TowersError(f"{origin}: {name} has shape {tuple(value.shape)}, not {tuple(expected[name].shape)}.")
        if not bool(torch.isfinite(value).all()):
            raise TowersError(f"{origin}: {name} holds NaN or infinity; the file is damaged or its training diverged.")
    clip.load_state_dict(weights)


def save_towers(towers: Towers, model_config: dict[str, Any], folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write towers made by ``open_clip.CLIP(**model_config)`` so that :func:`load_towers` and open_clip can read them.

    Args:
        towers: what to write.
        model_config: open_clip's configuration; its image size is replaced by the towers' own.
        folder: made if absent; each file is replaced atomically.
        dtype: of the file. float16 loses nothing once the weights have been rounded to it.
    """
    make_folder(folder)
    model_config = model_config | {"vision_cfg": model_config["vision_cfg"] | {"image_size": towers.image.size}}
    preprocess = {"mean": towers.image.mean, "std": towers.image.std}
    config = json.dumps({"model_cfg": model_config, "preprocess_cfg": preprocess}, indent=1)
    weights = {name.removeprefix("text."): value.to(dtype).contiguous() for name, value in towers.state_dict().items()}
    towers.tokenizer.no_padding()
    towers.tokenizer.no_truncation()
    write_bytes(folder / WEIGHTS_FILE, save(weights), sync=True)
    write_text(folder / TOKENIZER_FILE, towers.tokenizer.to_str(pretty=True), sync=True)
    write_text(folder / CONFIG_FILE, config + "\n", sync=True)
