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
from clsclip.tensors import first_not_finite
from clsclip.towers import ImageSpec, Towers
from clsclip.weights.configs import check_shapes
from clsclip.weights.documents import read_object
from clsclip.weights.files import read_file
from clsclip.weights.hf_config import HfConfig, read_hf, shown, whole
from clsclip.weights.hf_names import open_clip_state, set_activations
from clsclip.weights.hub import hub_folder, is_hub_name
from clsclip.weights.names import check_floats, other, prefixes, unwrapped
from clsclip.weights.processors import PROCESSOR_FILES
from clsclip.weights.processors import read_processor as read_image_processor
from clsclip.weights.shards import INDEX
from clsclip.weights.tokenizers import TOKENIZER_FILES, folder_tokenizer
from clsclip_runtime.paths import is_dir, is_file

CONFIG_FILE, WEIGHTS_FILES = "config.json", ("model.safetensors", f"model.safetensors{INDEX}")
FILES = (CONFIG_FILE, *PROCESSOR_FILES, *TOKENIZER_FILES, "README.md")
"""All that is fetched from a hub besides weights."""

_PARTIAL = (
    "If it has pytorch_model.bin alone, which is a pickle, load it once with transformers and save_pretrained it."
)

# fmt: off
_DECODER = {
    "extract_layers": (3, 6, 9), "reduce_dim": 64, "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 2048, "conditional_layer": 0, "use_complex_transposed_convolution": False,
}
# fmt: on
"""What a configuration that leaves a setting out means by it, as in ``transformers``."""

_USUAL = ImageSpec(224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear")
"""The same of a processor."""

_PUBLISHED = replace(_USUAL, size=352, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The processor of the published weights."""


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
    weights = read_weights(folder)
    try:
        clip = read_hf(config)
        tokenizer = folder_tokenizer(folder, clip.text["vocab_size"], notes)
        model = build(config, clip, weights, spec, tokenizer, name)
    except TowersError as error:
        raise TowersError(f"{folder} cannot be loaded: {error}") from error
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
    found = hub_folder(source, FILES, WEIGHTS_FILES, "Give a folder that has them instead: --clipseg FOLDER")
    return found.path, found.name, found.revision


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read all weights in FP32 by the names of ``CLIPSegForImageSegmentation``.

    Raises:
        TowersError: there are none, some are not finite, or they are of another model.
    """
    path = next((folder / name for name in WEIGHTS_FILES if is_file(folder / name)), None)
    if path is None:
        raise TowersError(f"{folder} has no {WEIGHTS_FILES[0]}. {_PARTIAL}")
    weights = unwrapped(read_file(path).tensors, str(path))
    weights = {name: value for name, value in weights.items() if not name.endswith(".position_ids")}
    weights = unprefixed(weights, str(path))
    check_floats(weights, str(path))
    wrong = first_not_finite(weights)
    if wrong is not None:
        raise TowersError(f"{path}: {wrong} holds NaN or infinity; the file is damaged or its training diverged.")
    return {name: value.float() for name, value in weights.items()}


def unprefixed(weights: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Leave out what stands before all names. TowersError where they are not a whole CLIPSeg's."""
    towers, decoders = prefixes(weights, f"clip.{_PATCHES}"), prefixes(weights, "decoder.film_mul.weight")
    if len(towers) == 1 and towers == decoders:
        left = [name for name in weights if not name.startswith(towers[0])]
        if left:
            raise TowersError(f"{origin} has the weight {left[0]}, which is none of CLIPSeg's: it is of another model.")
        return {name.removeprefix(towers[0]): value for name, value in weights.items()}
    if len(towers) > 1 or len(decoders) > 1:
        raise TowersError(f"{origin} holds several CLIPSegs, and does not say which is meant. Save one alone.")
    whole_one = "Save the whole CLIPSegForImageSegmentation"
    if decoders:
        raise TowersError(f"{origin} holds CLIPSeg's decoder without its CLIP. {whole_one}.")
    if prefixes(weights, _PATCHES):
        raise TowersError(f"{origin} holds a CLIP without CLIPSeg's decoder, as CLIPSegModel has it. {whole_one}.")
    raise TowersError(f"{origin} holds {other(weights)}.")


_PATCHES = "vision_model.embeddings.patch_embedding.weight"


def decoder_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The decoder's settings, complete. TowersError where one has a type or a value that cannot be."""
    found: dict[str, Any] = _DECODER | {key: config[key] for key in _DECODER if config.get(key) is not None}
    for key, least in (
        *(("reduce_dim", 1), ("decoder_num_attention_heads", 1)),
        *(("decoder_intermediate_size", 1), ("conditional_layer", 0)),
    ):
        whole(found, key, "CLIPSeg's", least)
    layers = found["extract_layers"]
    if not isinstance(layers, (list, tuple)) or any(type(one) is not int for one in layers):
        raise TowersError(
            f"CLIPSeg's extract_layers is {shown(layers)}, and must be numbers of layers of the image tower."
        )
    if not isinstance(found["use_complex_transposed_convolution"], bool):
        stated = shown(found["use_complex_transposed_convolution"])
        raise TowersError(f"CLIPSeg's use_complex_transposed_convolution is {stated}, and must be true or false.")
    return found


def build(
    config: Mapping[str, Any],
    described: HfConfig,
    weights: Mapping[str, Tensor],
    spec: ImageSpec,
    tokenizer: Tokenizer,
    name: str,
) -> ClipSeg:
    """Make the model of a configuration and put every weight into it.

    Raises:
        TowersError: a weight is absent, left over or of another shape, or a setting is unknown.
    """
    vision, decoder = described.vision, decoder_settings(config)
    patch = vision["patch_size"]
    if spec.size < patch or spec.size % patch:
        raise TowersError(f"Image size {spec.size} is not a multiple of the patch of {name}: {patch} px.")
    own = {key.removeprefix("clip."): value for key, value in weights.items() if key.startswith("clip.")}
    state = open_clip_state(own)
    positions = state.get("visual.positional_embedding")
    if positions is not None:
        state["visual.positional_embedding"] = resampled(positions, spec.size // patch)
    made = replace(described, vision=vision | {"image_size": spec.size}).open_clip()
    check_shapes(made, state)
    clip = open_clip.CLIP(**made)
    set_activations(clip, *described.activations)
    fill(clip, state, "clip.")
    model = ClipSeg(
        Towers(clip, tokenizer, spec, name),
        ClipSegConfig(
            extract_layers=tuple(decoder["extract_layers"]),
            reduce_dim=decoder["reduce_dim"],
            decoder_heads=decoder["decoder_num_attention_heads"],
            decoder_width=decoder["decoder_intermediate_size"],
            conditional_layer=decoder["conditional_layer"],
            complex_upsampling=decoder["use_complex_transposed_convolution"],
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
    try:
        packed = open_clip_state(layers)  # it packs queries, keys and values
    except TowersError as error:
        raise TowersError(str(error).replace("text_model.encoder.", "decoder.")) from error
    for name, value in packed.items():
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
    """Position embeddings (1 + n, d) for ``grid`` patches a side: bicubic without antialiasing, as in transformers.

    Raises:
        TowersError: they are not those of a square.
    """
    old = round(max(0, len(positions) - 1) ** 0.5) if positions.ndim == 2 else 0
    if old < 1 or 1 + old * old != len(positions):
        raise TowersError(f"its position embeddings have shape {tuple(positions.shape)}, which is no square of patches")
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
    found = read_image_processor(folder)
    if found is None:
        notes.append(f"{PROCESSOR_FILES[0]} is absent: 352 px, ImageNet's mean and std, bilinear, as published")
        return _PUBLISHED
    size = _USUAL.size if found.stated_size is None else found.size
    if size is None or found.crops or found.resizes is False:
        raise TowersError(
            f"{folder / found.source} does not resize to a square of one size (size {shown(found.stated_size)}), and "
            "bundles do nothing else."
        )
    mean, std = found.mean or _USUAL.mean, found.std or _USUAL.std
    return ImageSpec(size, mean, std, found.interpolation or _USUAL.interpolation)


def read_license(folder: Path) -> str | None:
    """The license in the head of the model card; None where it says none."""
    try:
        text = (folder / "README.md").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:[ \t]*(.*(?:\n[ \t]*-[ \t].*)*)", head.group(1), re.MULTILINE) if head else None
    if found is None:
        return None
    # One license, or a list of them in brackets or one a line.
    lines = [line.partition("#")[0] for line in found.group(1).splitlines()]
    parts = [part.strip(" \t\r-[]\"'") for line in lines for part in line.split(",")]
    return ", ".join(part for part in parts if part) or None
