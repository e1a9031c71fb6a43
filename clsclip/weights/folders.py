"""Folders of towers: open_clip's layout and that of transformers, each with a configuration beside its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from clsclip.clip_tokenizer import clip_tokenizer
from clsclip.errors import TowersError
from clsclip.weights.documents import read_object
from clsclip.weights.evidence import check_same, read_evidence
from clsclip.weights.flavor import HF_CONFIG, OPEN_CLIP_CONFIG, Asked, Flavor, Told, choose
from clsclip.weights.processors import PROCESSOR_FILES
from clsclip.weights.shards import INDEX, shard_paths
from clsclip.weights.tokenizers import CLIPS_WORDS, TOKENIZER_FILES, folder_tokenizer, is_transformers
from clsclip_runtime.paths import is_dir, is_file
from clsclip_runtime.text.tokenizer_file import read_tokenizer

HF_FILES = (OPEN_CLIP_CONFIG, HF_CONFIG, *PROCESSOR_FILES, *TOKENIZER_FILES)
"""Small files of a folder of towers on a hub."""

_WEIGHTS = {
    OPEN_CLIP_CONFIG: ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    HF_CONFIG: (
        *("model.safetensors", f"model.safetensors{INDEX}"),
        *("pytorch_model.bin", f"pytorch_model.bin{INDEX}"),
    ),
}
_ALL_WEIGHTS = tuple(name for names in _WEIGHTS.values() for name in names)
HUB_WEIGHTS = (_WEIGHTS[OPEN_CLIP_CONFIG][0], *_WEIGHTS[HF_CONFIG][:2])
"""Weights that are fetched from a hub, the best one first: no pickles."""


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

    def files(self) -> list[Path]:
        """The weights: one file, or an index and all that it lists. TowersError where the index is damaged."""
        shards = [one for one in shard_paths(self.weights) if one != self.weights]
        return [*shards, self.weights]


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
    configs = [path / name for name in _WEIGHTS if is_file(path / name)]
    if len(configs) == 1 and configs[0].name == HF_CONFIG and not is_clip(configs[0]):
        return None
    if len(configs) > 1 and read_object(configs[1]).get("model_type") != "clip":
        configs.pop()
    # A layout whose weights are there comes first; then open_clip's configuration with any weights.
    for config, names in [(one, _WEIGHTS[one.name]) for one in configs] + [(one, _ALL_WEIGHTS) for one in configs]:
        for name in names:
            if is_file(path / name):
                return Folder(path, config, path / name)
    return Folder(path, configs[0], path / _WEIGHTS[configs[0].name][0]) if configs else None


def is_clip(config: Path) -> bool:
    """Whether a configuration of transformers is a CLIP's."""
    kind = read_object(config).get("model_type")
    if kind == "clipseg":
        raise TowersError(f"{config.parent} holds a CLIPSeg. Run: clsclip-export --clipseg {config.parent}")
    if kind != "clip":
        raise TowersError(f"{config} describes a {str(kind)[:40]!r} model, and not a CLIP.")
    return True


def read_config(folder: Folder, file: Sequence[Told], asked: Asked) -> FolderConfig:
    """Read a folder's configuration and tokenizer.

    Args:
        folder: with towers.
        file: what the weights themselves say.
        asked: of the towers.

    Raises:
        TowersError: something is damaged, or contradicts another file or what is asked for.
        Exception: the tokenizer holds other types than it must.
    """
    evidence = read_evidence(folder.path)
    chosen = next((one for one in evidence.configurations if one.path == folder.config), None)
    if chosen is None:
        raise TowersError(f"{folder.config} does not describe a CLIP with a plain ViT")
    check_same(chosen.model, folder.config.name, evidence, "", "Remove the one that does not belong to the weights.")
    flavor = choose(
        [*file, *evidence.told],
        asked,
        None,
        folder.path.name,
        without_processor=evidence.without_processor,
    )
    notes: list[str] = []
    if folder.config.name == HF_CONFIG:
        tokenizer = folder_tokenizer(folder.path, chosen.model["text_cfg"]["vocab_size"], notes)
        notes = [*flavor.notes, *notes]
    else:
        tokenizer = open_clip_tokenizer(folder.path, chosen.model, notes)
    return FolderConfig(chosen.model, flavor, chosen.activations, tokenizer, tuple(notes))


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
