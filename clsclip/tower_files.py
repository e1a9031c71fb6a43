"""Towers from files: open_clip's models by name and tag, local weights, and folders of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from safetensors.torch import save
from torch import Tensor, nn

from clsclip.clip_tokenizer import hub_tokenizer
from clsclip.errors import TowersError
from clsclip.tensors import read_tensors
from clsclip.tower_places import TowersPlace, fingerprint_of
from clsclip.towers import ImageSpec, Towers
from clsclip_runtime.documents import read_json
from clsclip_runtime.errors import BundleError
from clsclip_runtime.paths import is_file, make_folder, write_bytes, write_text
from clsclip_runtime.tensor_files import TensorFile
from clsclip_runtime.text.tokenizer_file import read_tokenizer

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
TOKENIZER_FILE = "tokenizer.json"

_MOST_CHARACTERS = 256


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
    towers.origin = name
    if image_size is not None:
        towers.resize(image_size)
    return towers.requires_grad_(False).eval()


class OtherTowersError(TowersError):
    """Towers have another fingerprint than was asked for."""


class Wanted(NamedTuple):
    """The fingerprint that towers must have, for pictures of a size."""

    fingerprint: str
    image_size: int


def load_found(place: TowersPlace, fingerprint: str, image_size: int) -> Towers:
    """Towers that were found by themselves: their weights must have a fingerprint before anything is built of them.

    Raises:
        OtherTowersError: they have another one.
        TowersError: they cannot be loaded.
    """
    wanted = Wanted(fingerprint, image_size)
    towers = load_folder(Path(place.name), wanted) if place.weights is None else _load_file(place, wanted)
    towers.origin = place.name
    if towers.image.size != image_size:
        towers.resize(image_size)
    return towers.requires_grad_(False).eval()


def _load_file(place: TowersPlace, wanted: Wanted) -> Towers:
    config: dict[str, Any] = open_clip.get_model_config(place.name)
    check_kind(place.name, config)
    preprocess: dict[str, Any] = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    if place.tag is not None:
        preprocess |= open_clip.get_pretrained_cfg(place.name, place.tag)
        config = config | {"quick_gelu": bool(config.get("quick_gelu") or preprocess.get("quick_gelu"))}
    path = Path(str(place.weights))
    weights = _expected(read_weights(path), wanted, path)
    clip = build_clip(config)
    load_weights(clip, weights, str(path))
    spec = ImageSpec(int(clip.visual.image_size[0]), *channels(preprocess))
    return Towers(clip, hub_tokenizer(place.name), spec, f"{place.name}:{place.tag or path.name}")


def _expected(weights: dict[str, Tensor], wanted: Wanted | None, path: Path) -> dict[str, Tensor]:
    """The weights, if they have the fingerprint that is asked for; None asks for none. OtherTowersError if not."""
    if wanted is not None and fingerprint_of(weights, wanted.image_size) != wanted.fingerprint:
        raise OtherTowersError(str(path))
    return weights


def load_folder(folder: Path, wanted: Wanted | None = None) -> Towers:
    """Towers from a folder in open_clip's local-dir layout, of a fingerprint; see :func:`load_towers`."""
    weights = _expected(read_weights(folder / WEIGHTS_FILE), wanted, folder)
    try:
        config = read_json(folder / CONFIG_FILE)
        check_shapes(config["model_cfg"], weights)
        clip = build_clip(config["model_cfg"])
        preprocess = config["preprocess_cfg"]
        spec = ImageSpec(config["model_cfg"]["vision_cfg"]["image_size"], *channels(preprocess))
        tokenizer = read_tokenizer((folder / TOKENIZER_FILE).read_bytes())
    except (TowersError, BundleError) as error:
        raise TowersError(f"{folder} cannot be loaded: {error}") from error
    except Exception as error:  # open_clip checks nothing by itself
        raise TowersError(f"{folder} does not hold a readable {CONFIG_FILE} and {TOKENIZER_FILE}: {error}") from error
    load_weights(clip, weights, str(folder))
    return Towers(clip, tokenizer, spec, folder.name)


def load_open_clip(name: str, pretrained: str | None) -> Towers:
    """Towers of a model that open_clip knows; see :func:`load_towers`."""
    config: dict[str, Any] = open_clip.get_model_config(name)
    check_kind(name, config)
    local = pretrained is not None and is_file(pretrained)
    # As open_clip spells tags: it takes OpenAI and laion2b-s34b-b88k too.
    tag = None if local or pretrained is None else pretrained.lower().replace("-", "_")
    preprocess: dict[str, Any] = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    if tag is not None:
        if tag not in open_clip.list_pretrained_tags_by_model(name):
            known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
            raise TowersError(
                f"{name} has no pretrained tag {pretrained!r}, and there is no such file. Its tags: {known}."
            )
        preprocess |= open_clip.get_pretrained_cfg(name, tag)
    # OpenAI's weights were trained with QuickGELU, which open_clip keeps in the tag and not in the model.
    quick_gelu = bool(config.get("quick_gelu") or preprocess.get("quick_gelu"))
    try:
        clip = open_clip.create_model(name, pretrained=tag, force_quick_gelu=quick_gelu) if tag else build_clip(config)
    except TowersError:
        raise
    except Exception as error:  # hub clients raise many kinds
        raise TowersError(
            f"The weights {tag or 'at random'} of {name} could not be loaded: {error}\n"
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


def check_kind(name: str, config: dict[str, Any]) -> None:
    """Refuse what has no plain ViT as its image tower. TowersError then."""
    if "vision_cfg" not in config or config["vision_cfg"].get("timm_model_name") or is_resnet(config):
        raise TowersError(
            f"{name} does not have a plain ViT image tower with [CLS]; ClsCLIP needs one, as ViT-B-16 has."
        )


def check_shapes(config: Any, weights: Mapping[str, Tensor]) -> None:
    """Compare what a configuration asks for with the weights that are there, before anything is built.

    Raises:
        TowersError: they differ, or the configuration asks for something else than numbers and switches.
    """
    parts = [config] + [config.get(key) if isinstance(config, dict) else None for key in ("vision_cfg", "text_cfg")]
    if not all(isinstance(part, dict) for part in parts):
        raise TowersError("its model_cfg is no configuration of towers")
    model, vision, text = parts
    for part in parts:
        for key, value in part.items():
            if any(key.startswith(kind) for kind in ("timm_", "hf_")) and value not in (None, False):
                raise TowersError(f"its {key} names a model of another library, which is not loaded")
            plain = isinstance(value, (bool, int, float, str, type(None))) or key in ("vision_cfg", "text_cfg")
            if not plain or (len(str(value)) > _MOST_CHARACTERS and key not in ("vision_cfg", "text_cfg")):
                raise TowersError(f"its setting {key} has a value that cannot be")
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
