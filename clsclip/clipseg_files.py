"""CLIPSeg's published weights and fine-tuned ones: a folder as ``transformers`` writes it, or a name on a hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from tokenizers import Tokenizer
from torch import Tensor

from clsclip.clip_tokenizer import clip_tokenizer, tokenizer_from
from clsclip.clipseg import ClipSeg, ClipSegConfig
from clsclip.errors import TowersError
from clsclip.hf_names import open_clip_config, open_clip_state, set_activations, square
from clsclip.tensors import read_tensor
from clsclip.towers import ImageSpec, Towers
from clsclip_runtime import documents
from clsclip_runtime.documents import DocumentError
from clsclip_runtime.paths import is_dir, is_file
from clsclip_runtime.tensor_files import TensorFile, TensorFileError

CONFIG_FILE, WEIGHTS_FILE, PROCESSOR_FILE = "config.json", "model.safetensors", "preprocessor_config.json"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
FILES = (CONFIG_FILE, WEIGHTS_FILE, PROCESSOR_FILE, *TOKENIZER_FILES, "README.md")
"""All that is fetched from a hub."""

_PARTIAL = (
    "If it has pytorch_model.bin alone, which is a pickle, load it once with transformers and save_pretrained it."
)

# fmt: off
_VISION = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_channels": 3, "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}
_TEXT = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
_WHOLE = {
    "projection_dim": 512, "extract_layers": (3, 6, 9), "reduce_dim": 64, "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 2048, "conditional_layer": 0, "use_complex_transposed_convolution": False,
}
_PROCESSOR = {
    "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "resample": 2,
    "size": {"height": 224, "width": 224}, "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5),
}
_PUBLISHED = {"size": 352, "image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
# fmt: on
"""What a configuration that leaves a setting out means by it, as in ``transformers``; numbers of PIL's filters."""


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
    config = read_json(folder / CONFIG_FILE)
    if config.get("model_type") != "clipseg":
        raise TowersError(f"{folder / CONFIG_FILE} describes a {config.get('model_type')!r} model, and not CLIPSeg.")
    notes: list[str] = []
    spec, interpolation = read_processor(folder, notes)
    if image_size is not None:
        spec = ImageSpec(image_size, spec.mean, spec.std)
    try:
        model = build(config, read_weights(folder / WEIGHTS_FILE), spec, read_tokenizer(folder, config, notes), name)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TowersError(f"{folder / CONFIG_FILE} has settings that make no CLIPSeg: {error}") from error
    model.interpolation = interpolation
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
    name, _, revision = source.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise TowersError(f"{source!r} is neither a folder nor a name on a hub, such as CIDAS/clipseg-rd64-refined.")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise TowersError("Weights on a hub need huggingface_hub. Run: pip install 'clsclip[hub]'") from error
    try:
        found = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(FILES)))
    except Exception as first:  # hub clients raise many kinds
        try:
            found = Path(snapshot_download(name, revision=revision or None, local_files_only=True))
        except Exception:  # the first error says more
            raise TowersError(
                f"The weights {source} could not be fetched: {' '.join(str(first).split())[:300]}\n"
                "Give a folder that has them instead: --clipseg FOLDER"
            ) from first
    return found, name, found.name


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. TowersError where it is absent or something else."""
    try:
        document = documents.read_json(path)
    except OSError as error:
        raise TowersError(f"{path} cannot be read: {error.strerror or error}. CLIPSeg needs {CONFIG_FILE}.") from error
    except DocumentError as error:
        raise TowersError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise TowersError(f"{path} is not a JSON object.")
    return document


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read all weights in FP32. TowersError where there are none, or some that are not finite."""
    if not is_file(path):
        raise TowersError(f"{path.parent} has no {path.name}. {_PARTIAL}")
    try:
        with TensorFile(path) as file:
            weights = {name: read_tensor(file, name) for name in file.tensors}
    except (TensorFileError, OSError) as error:
        raise TowersError(f"{path} cannot be read as safetensors: {error}") from error
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
    vision: dict[str, Any] = _VISION | part(config, "vision_config")
    text: dict[str, Any] = _TEXT | part(config, "text_config")
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


def part(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """One tower's settings; older files have them under a second key, which wins there too."""
    return {**(config.get(key) or {}), **(config.get(f"{key}_dict") or {})}


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


def read_processor(folder: Path, notes: list[str]) -> tuple[ImageSpec, str]:
    """How images are prepared: size, mean, std; and the filter that resizes them.

    Raises:
        TowersError: it crops, or scales by something else than 1/255.
    """
    path = folder / PROCESSOR_FILE
    present = is_file(path)
    if not present:
        notes.append(f"{PROCESSOR_FILE} is absent: 352 px, ImageNet's mean and std, bilinear, as published")
    own = {key: value for key, value in (read_json(path) if present else _PUBLISHED).items() if value is not None}
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
    if settings["resample"] not in range(len(_RESAMPLING)):
        raise TowersError(f"{path} resizes by the unknown filter {settings['resample']!r}.")
    normalizes = settings["do_normalize"]
    mean, std = ((tuple(map(float, settings[key]))) for key in ("image_mean", "image_std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise TowersError(f"{path}: mean {mean} and std {std} must be three numbers each, std above 0.")
    spec = ImageSpec(size, mean if normalizes else (0.0, 0.0, 0.0), std if normalizes else (1.0, 1.0, 1.0))
    return spec, _RESAMPLING[settings["resample"]]


def read_tokenizer(folder: Path, config: Mapping[str, Any], notes: list[str]) -> Tokenizer:
    """CLIP's tokenizer with the folder's vocabulary; without one, CLIP's own where the text tower has its size.

    Raises:
        TowersError: the files are damaged, or absent where the vocabulary is another.
    """
    whole, *pair = (folder / name for name in TOKENIZER_FILES)
    try:
        if is_file(whole):
            model = read_json(whole)["model"]
            vocabulary, merges = (
                model["vocab"],
                [one.split() if isinstance(one, str) else one for one in model["merges"]],
            )
        elif all(is_file(path) for path in pair):
            vocabulary = read_json(pair[0])
            lines = pair[1].read_text("utf-8").splitlines()
            merges = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
        else:
            if (_TEXT | part(config, "text_config"))["vocab_size"] != _TEXT["vocab_size"]:
                raise TowersError(f"{folder} has no tokenizer, and its vocabulary is not CLIP's.")
            notes.append("no tokenizer's files: CLIP's own")
            return clip_tokenizer()
        ends = ("<|startoftext|>", "<|endoftext|>")
        return tokenizer_from(vocabulary, [(first, second) for first, second in merges], ends)
    except TowersError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception
        raise TowersError(f"The tokenizer of {folder} cannot be read: {error}") from error


def read_license(folder: Path) -> str | None:
    """The license in the head of the model card; None where it says none."""
    try:
        text = (folder / "README.md").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*[\"']?([^\"'\n#]+)", head.group(1), re.MULTILINE) if head else None
    return found.group(1).strip() if found else None
