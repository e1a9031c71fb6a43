"""CLIPSeg's published weights and fine-tuned ones: a folder as ``transformers`` writes it, or a name on a hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from tokenizers import Tokenizer
from torch import Tensor

from clsclip.clipseg import ClipSeg, ClipSegConfig
from clsclip.errors import TowersError
from clsclip.towers import ImageSpec, Towers
from clsclip.weights.files import read_file
from clsclip.weights.flavor import FILTERS, hf_part, read_object
from clsclip.weights.hf_names import (
    TEXT_DEFAULTS,
    VISION_DEFAULTS,
    open_clip_config,
    open_clip_state,
    set_activations,
    square,
)
from clsclip.weights.hub import hub_folder, is_hub_name
from clsclip.weights.names import unwrapped
from clsclip.weights.tokenizers import TOKENIZER_FILES, folder_tokenizer
from clsclip_runtime.paths import is_dir, is_file

CONFIG_FILE, WEIGHTS_FILE, PROCESSOR_FILE = "config.json", "model.safetensors", "preprocessor_config.json"
FILES = (CONFIG_FILE, WEIGHTS_FILE, PROCESSOR_FILE, *TOKENIZER_FILES, "README.md")
"""All that is fetched from a hub."""

_PARTIAL = (
    "If it has pytorch_model.bin alone, which is a pickle, load it once with transformers and save_pretrained it."
)

# fmt: off
_WHOLE = {
    "projection_dim": 512, "extract_layers": (3, 6, 9), "reduce_dim": 64, "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 2048, "conditional_layer": 0, "use_complex_transposed_convolution": False,
}
_PROCESSOR = {
    "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "resample": 2,
    "size": {"height": 224, "width": 224}, "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5),
}
_PUBLISHED = {"size": 352, "image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
# fmt: on
"""What a configuration that leaves a setting out means by it, as in ``transformers``."""


@dataclass(frozen=True)
class ClipSegSource:
    """Where weights came from, for a manifest.

    Attributes:
        name: of the weights: the hub's, or the folder's.
        revision: the hub's commit; None for a folder.
        license: as the model card says; None where it says nothing.
        notes: what was assumed, for people.
    """

    name: str
    revision: str | None
    license: str | None
    notes: tuple[str, ...]


def load_clipseg(source: str, image_size: int | None = None) -> tuple[ClipSeg, ClipSegSource]:
    """Load a CLIPSeg, frozen and in evaluation mode.

    Args:
        source: a folder with ``config.json`` and ``model.safetensors``, or ``NAME[@REVISION]`` on a hub, which works
            without a connection where its files are in the hub's cache.
        image_size: pixels a side; None is what its processor says. Positions are resampled as ``transformers`` does.

    Raises:
        TowersError: no such files, damaged ones, another model, or a configuration that bundles cannot express.
    """
    folder, name, revision = find(source)
    if not is_file(folder / CONFIG_FILE):
        raise TowersError(f"{folder} has no {CONFIG_FILE}, which CLIPSeg needs beside its weights.")
    config = read_object(folder / CONFIG_FILE)
    if config.get("model_type") != "clipseg":
        raise TowersError(f"{folder / CONFIG_FILE} describes a {config.get('model_type')!r} model, and not CLIPSeg.")
    notes: list[str] = []
    spec = read_processor(folder, notes)
    if image_size is not None:
        spec = replace(spec, size=image_size)
    try:
        words = (TEXT_DEFAULTS | hf_part(config, "text"))["vocab_size"]
        tokenizer = folder_tokenizer(folder, words, notes)
        model = build(config, read_weights(folder / WEIGHTS_FILE), spec, tokenizer, name)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TowersError(f"{folder / CONFIG_FILE} has settings that make no CLIPSeg: {error}") from error
    license_text = read_license(folder)
    return model.requires_grad_(False).eval(), ClipSegSource(name, revision, license_text, tuple(notes))


def find(source: str) -> tuple[Path, str, str | None]:
    """Find the files of a folder or hub name: the folder, its name, and the hub's commit.

    Raises:
        TowersError: it is no folder, and the hub cannot be asked or has no such weights.
    """
    folder = Path(source)
    if is_dir(folder):
        return folder, folder.resolve().name, None
    if not is_hub_name(source):
        raise TowersError(f"{source!r} is neither a folder nor a name on a hub, such as CIDAS/clipseg-rd64-refined.")
    found = hub_folder(source, FILES, (WEIGHTS_FILE,), "Give a folder that has them instead: --clipseg FOLDER")
    return found.path, found.name, found.revision


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read all weights in FP32. TowersError where there are none, or some that are not finite."""
    if not is_file(path):
        raise TowersError(f"{path.parent} has no {path.name}. {_PARTIAL}")
    weights = unwrapped(read_file(path).tensors, str(path))
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise TowersError(f"{path}: {name} holds NaN or infinity; the file is damaged or its training diverged.")
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def build(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], spec: ImageSpec, tokenizer: Tokenizer, name: str
) -> ClipSeg:
    """Make the model of a configuration and put every weight into it.

    Raises:
        TowersError: a weight is absent, left over or of another shape, or a setting is unknown.
    """
    vision: dict[str, Any] = VISION_DEFAULTS | hf_part(config, "vision")
    text: dict[str, Any] = TEXT_DEFAULTS | hf_part(config, "text")
    whole: dict[str, Any] = _WHOLE | {key: config[key] for key in _WHOLE if config.get(key) is not None}
    patch = square(vision, "patch_size")
    if spec.size < patch or spec.size % patch:
        raise TowersError(f"Image size {spec.size} is not a multiple of the patch of {name}: {patch} px.")
    own = {key.removeprefix("clip."): value for key, value in weights.items() if key.startswith("clip.")}
    state = open_clip_state(own)
    positions = state.get("visual.positional_embedding")
    if positions is not None:
        state["visual.positional_embedding"] = resampled(positions, spec.size // patch)
    made = open_clip_config({**vision, "image_size": spec.size}, text, whole["projection_dim"])
    clip = open_clip.CLIP(**made)
    set_activations(clip, vision["hidden_act"], text["hidden_act"])
    fill(clip, state, "clip.")
    model = ClipSeg(
        Towers(clip, tokenizer, spec, name),
        ClipSegConfig(
            extract_layers=tuple(whole["extract_layers"]),
            reduce_dim=whole["reduce_dim"],
            decoder_heads=whole["decoder_num_attention_heads"],
            decoder_width=whole["decoder_intermediate_size"],
            conditional_layer=whole["conditional_layer"],
            complex_upsampling=bool(whole["use_complex_transposed_convolution"]),
            norm_eps=vision["layer_norm_eps"],
        ),
    )
    fill(model.decoder, decoder_state(weights), "decoder.")
    left = sorted(key for key in weights if not key.startswith(("clip.", "decoder.")))
    if left:
        raise TowersError(f"The weight {left[0]} is none of CLIPSeg's; the file belongs to another model.")
    return model


def decoder_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the decoder by the names of :class:`clsclip.clipseg.Decoder`."""
    layers = {
        f"text_model.encoder.{name.removeprefix('decoder.')}": value
        for name, value in weights.items()
        if name.startswith("decoder.layers.")
    }
    found = {}
    for name, value in open_clip_state(layers).items():  # it packs queries, keys and values
        short = name.removeprefix("transformer.resblocks.").replace("mlp.c_fc", "fc1").replace("mlp.c_proj", "fc2")
        found[f"layers.{short}"] = value
    for name, value in weights.items():
        if name.startswith("decoder.") and not name.startswith("decoder.layers."):
            found[name.removeprefix("decoder.").replace("transposed_convolution", "upsampling")] = value
    return found


def fill(module: torch.nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put every weight into a module. TowersError names the first that does not fit."""
    expected = module.state_dict()
    for name in sorted(expected.keys() ^ weights.keys()):
        what = "lacks the weight" if name in expected else "has the weight"
        end = "" if name in expected else ", which its configuration does not ask for"
        raise TowersError(f"The file {what} {where}{name}{end}. Its {CONFIG_FILE} belongs to another model.")
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            shapes = f"{tuple(value.shape)}, not {tuple(expected[name].shape)}"
            raise TowersError(f"{where}{name} has shape {shapes}. The file's {CONFIG_FILE} belongs to another model.")
    module.load_state_dict(dict(weights))


def resampled(positions: Tensor, grid: int) -> Tensor:
    """Position embeddings (1 + n, d) for ``grid`` patches a side: bicubic without antialiasing, as in transformers."""
    old = round((len(positions) - 1) ** 0.5)
    if old == grid:
        return positions
    patches = positions[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    patches = torch.nn.functional.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], patches.permute(0, 2, 3, 1).reshape(grid * grid, -1)])


def read_processor(folder: Path, notes: list[str]) -> ImageSpec:
    """How images are prepared.

    Raises:
        TowersError: it crops, or scales by something else than 1/255.
    """
    path = folder / PROCESSOR_FILE
    present = is_file(path)
    if not present:
        notes.append(f"{PROCESSOR_FILE} is absent: 352 px, ImageNet's mean and std, bilinear, as published")
    own = {key: value for key, value in (read_object(path) if present else _PUBLISHED).items() if value is not None}
    settings: dict[str, Any] = _PROCESSOR | own
    size = settings["size"]
    if isinstance(size, dict):
        size = size.get("height") if size.get("height") == size.get("width") else None
    scale = settings["rescale_factor"] if settings["do_rescale"] else 1.0
    if not isinstance(size, int) or settings.get("do_center_crop") or not settings["do_resize"]:
        raise TowersError(
            f"{path} does not resize to a square of one size (size {settings['size']}), and bundles do nothing else."
        )
    if abs(scale * 255 - 1) > 1e-6:
        raise TowersError(f"{path} scales pixels by {scale:g}; bundles scale by 1/255.")
    if settings["resample"] not in range(len(FILTERS)):
        raise TowersError(f"{path} resizes by the unknown filter {settings['resample']!r}.")
    normalizes = settings["do_normalize"]
    mean, std = ((tuple(map(float, settings[key]))) for key in ("image_mean", "image_std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise TowersError(f"{path}: mean {mean} and std {std} must be three numbers each, std above 0.")
    plain = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return ImageSpec(size, *((mean, std) if normalizes else plain), FILTERS[settings["resample"]])


def read_license(folder: Path) -> str | None:
    """The license in the head of the model card; None where it says none."""
    try:
        text = (folder / "README.md").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*[\"']?([^\"'\n#]+)", head.group(1), re.MULTILINE) if head else None
    return found.group(1).strip() if found else None
