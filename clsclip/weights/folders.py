"""Folders of towers: open_clip's layout and that of transformers, each with a configuration beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from clsclip.clip_tokenizer import clip_tokenizer
from clsclip.errors import TowersError
from clsclip.weights.flavor import (
    ACTIVATIONS,
    HF_CONFIG,
    HF_PROCESSOR,
    OPEN_CLIP_CONFIG,
    Asked,
    Flavor,
    Told,
    choose,
    hf_part,
    interpolation_of,
    mean_std_of,
    read_object,
    told_by_processor,
)
from clsclip.weights.hf_names import TEXT_DEFAULTS, VISION_DEFAULTS, open_clip_config
from clsclip.weights.tokenizers import CLIPS_WORDS, TOKENIZER_FILES, folder_tokenizer, is_transformers
from clsclip_runtime.paths import is_dir, is_file
from clsclip_runtime.text.tokenizer_file import read_tokenizer

HF_FILES = (OPEN_CLIP_CONFIG, HF_CONFIG, HF_PROCESSOR, *TOKENIZER_FILES)
"""Small files of a folder of towers on a hub."""

_WEIGHTS = {
    OPEN_CLIP_CONFIG: ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    HF_CONFIG: ("model.safetensors", "pytorch_model.bin"),
}


@dataclass(frozen=True)
class Folder:
    """A folder that holds towers.

    Attributes:
        path: the folder.
        config: its configuration.
        weights: its weights; the file may be absent.
    """

    path: Path
    config: Path
    weights: Path

    def heads(self) -> tuple[int | None, int | None]:
        """Attention heads of image and text tower, as the configuration says; None where it does not."""
        document = read_object(self.config)
        if self.config.name == HF_CONFIG:
            vision, text = (hf_part(document, tower).get("num_attention_heads") for tower in ("vision", "text"))
            return vision, text
        model = document.get("model_cfg")
        parts = [model.get(key) if isinstance(model, dict) else None for key in ("vision_cfg", "text_cfg")]
        vision_cfg, text_cfg = (one if isinstance(one, dict) else {} for one in parts)
        width, head = vision_cfg.get("width"), vision_cfg.get("head_width")
        both = isinstance(width, int) and isinstance(head, int) and head > 0
        return width // head if both else None, text_cfg.get("heads")  # type: ignore[operator]


@dataclass(frozen=True)
class FolderConfig:
    """What a folder says of its towers.

    Attributes:
        model: arguments of ``open_clip.CLIP``.
        flavor: activation, normalization and filter.
        activations: of image and text tower by transformers' names; None where ``model`` has them.
        tokenizer: of the folder.
        notes: what was assumed, for people.
    """

    model: dict[str, Any]
    flavor: Flavor
    activations: tuple[str, str] | None
    tokenizer: Tokenizer
    notes: tuple[str, ...]


def find_folder(path: Path) -> Folder | None:
    """Look for towers in a folder; None where there are none. What lies there is not checked."""
    if not is_dir(path):
        return None
    for config, names in _WEIGHTS.items():
        if is_file(path / config) and (config == OPEN_CLIP_CONFIG or is_clip(path / config)):
            found = next((name for name in names if is_file(path / name)), names[0])
            return Folder(path, path / config, path / found)
    return None


def is_clip(config: Path) -> bool:
    """Whether a configuration of transformers is a CLIP's."""
    kind = read_object(config).get("model_type")
    if kind == "clipseg":
        raise TowersError(f"{config.parent} holds a CLIPSeg. Run: clsclip-export --clipseg {config.parent}")
    if kind != "clip":
        raise TowersError(f"{config} describes a {str(kind)[:40]!r} model, and not a CLIP.")
    return True


def read_config(folder: Folder, asked: Asked) -> FolderConfig:
    """Read a folder's configuration and tokenizer.

    Raises:
        TowersError: something is damaged, or contradicts what is asked for.
        Exception: the configuration holds other types than it must.
    """
    document = read_object(folder.config)
    notes: list[str] = []
    if folder.config.name == HF_CONFIG:
        vision, text = (
            defaults | hf_part(document, part)
            for part, defaults in (("vision", VISION_DEFAULTS), ("text", TEXT_DEFAULTS))
        )
        activations = (str(vision["hidden_act"]), str(text["hidden_act"]))
        same = activations[0] if len(set(activations)) == 1 and activations[0] in ACTIVATIONS else None
        told = [Told(HF_CONFIG, same), told_by_processor(folder.path)]
        if same is None:  # named by transformers and no choice of ours
            asked = Asked(None, asked.mean_std, asked.by)
            told[0] = Told(HF_CONFIG, "gelu")
        flavor = choose(told, asked, folder.path.name, folder.path.name)
        model = open_clip_config(vision, text, int(document.get("projection_dim", 512)))
        tokenizer = folder_tokenizer(folder.path, int(text["vocab_size"]), notes)
        return FolderConfig(model, flavor, activations, tokenizer, (*flavor.notes, *notes))
    model, preprocess = document["model_cfg"], document["preprocess_cfg"]
    quick = "quick_gelu" if model.get("quick_gelu") else "gelu"
    told = [Told(OPEN_CLIP_CONFIG, quick, mean_std_of(preprocess), interpolation_of(preprocess))]
    flavor = choose(told, asked, folder.path.name, folder.path.name)
    return FolderConfig(model, flavor, None, open_clip_tokenizer(folder.path, model, notes), tuple(notes))


def open_clip_tokenizer(folder: Path, model: dict[str, Any], notes: list[str]) -> Tokenizer:
    """The tokenizer of a folder in open_clip's layout: its own, or CLIP's."""
    path = folder / TOKENIZER_FILES[0]
    words = model["text_cfg"].get("vocab_size", CLIPS_WORDS)
    if not is_file(path):
        if words != CLIPS_WORDS or model["text_cfg"].get("hf_tokenizer_name"):
            raise TowersError(f"it has no {path.name}, and its vocabulary is not CLIP's")
        notes.append(f"no {path.name}: CLIP's own")
        return clip_tokenizer()
    content = path.read_bytes()
    if is_transformers(read_object(path)):
        return folder_tokenizer(folder, words, notes)
    return read_tokenizer(content)
