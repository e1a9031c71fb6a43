"""Checkpoints: what was learned, as safetensors, with the configuration and the fingerprint of the frozen towers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from clsclip.errors import CheckpointError, TowersError
from clsclip.model import ClsClip, ModelConfig
from clsclip.tensors import read_tensors
from clsclip.tower_files import OtherTowersError, load_found
from clsclip.tower_places import find_towers
from clsclip.towers import Towers
from clsclip_runtime.documents import DocumentError, parse_json
from clsclip_runtime.errors import one_line
from clsclip_runtime.paths import is_file, make_folder, write_bytes
from clsclip_runtime.renamed import old_names, rename_keys
from clsclip_runtime.tensor_files import TensorFile, TensorFileError

FORMAT = "clsclip-checkpoint-1"
MASK_THRESHOLD = 0.5
MOST_SIZE = 4096
"""Pixels a side of a picture."""


def save_checkpoint(
    model: ClsClip, path: Path, towers: str, provenance: dict[str, Any], *, fingerprint: str | None = None
) -> None:
    """Write what was learned to ``path``, atomically.

    Args:
        model: its learned weights are written, its towers are not.
        path: a ``.safetensors`` file.
        towers: where they can be loaded from: a folder, or an open_clip name with ``:tag`` or ``:weights file``. Files
            and folders are relative to the checkpoint's folder.
        provenance: data, license, steps, seeds; anything JSON can hold. ``presence_threshold`` is read at export.
        fingerprint: the towers' own, where it is known already: to make it, all frozen weights are hashed.

    Raises:
        OutputError: the file cannot be written.
    """
    header = {
        "format": FORMAT,
        "model": json.dumps(asdict(model.config)),
        "towers": json.dumps({"source": towers, "name": model.towers.name, "image_size": model.towers.image.size}),
        "fingerprint": fingerprint or model.towers.fingerprint(),
        "provenance": json.dumps(provenance),
    }
    make_folder(path.parent)
    tensors = {name: value.contiguous() for name, value in model.learned_state().items()}
    write_bytes(path, save(tensors, header), sync=True)


def change_provenance(path: Path, changes: Mapping[str, Any]) -> None:
    """Write a checkpoint again with other provenance; its weights stay as they are.

    Raises:
        CheckpointError: absent, damaged, or not a ClsCLIP checkpoint.
        OutputError: it cannot be written.
    """
    read_header(path)  # checks it
    try:
        with TensorFile(path) as opened:
            header, tensors = dict(opened.metadata), read_tensors(opened)
    except (TensorFileError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    header["provenance"] = json.dumps(parse_json(header["provenance"]) | dict(changes))
    write_bytes(path, save(tensors, header), sync=True)


def read_header(path: Path) -> dict[str, Any]:
    """Decode the header of a checkpoint: ``model``, ``towers``, ``fingerprint``, ``provenance``.

    Keys of 0.1 come by the names that they have now.

    Raises:
        CheckpointError: absent, damaged, or not a ClsCLIP checkpoint.
    """
    if not is_file(path):
        raise CheckpointError(f"No checkpoint {path}.")
    try:
        with TensorFile(path) as opened:
            header = opened.metadata
    except (TensorFileError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a ClsCLIP checkpoint: its header does not say {FORMAT}.")
    try:
        decoded = {key: parse_json(header[key]) for key in ("model", "towers", "provenance")}
        decoded = rename_keys(decoded, old_names("manifest")) | {"fingerprint": header["fingerprint"]}
    except (KeyError, DocumentError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path} has a damaged header: {error}") from error
    problem = _problem(decoded)
    if problem is not None:
        raise CheckpointError(f"{path} has a damaged header: {problem}.")
    return decoded


def _problem(header: dict[str, Any]) -> str | None:
    """What is wrong with a header's types and sizes; None if nothing is."""
    for key in ("model", "towers", "provenance"):
        if not isinstance(header[key], dict):
            return f"{key} is no object"
    towers = header["towers"]
    if not isinstance(towers.get("source"), str) or not isinstance(towers.get("name", ""), str):
        return "it does not name its towers"
    if not _whole(towers.get("image_size"), 1, MOST_SIZE):
        return f"towers.image_size must be a whole number from 1 to {MOST_SIZE}"
    if re.fullmatch("[0-9a-f]{64}", header["fingerprint"]) is None:
        return "its fingerprint is none"
    return None


def model_config(settings: Mapping[str, Any]) -> ModelConfig:
    """The configuration that a header states.

    Raises:
        CheckpointError: a setting is unknown, or its value has another type or is too large.
    """
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise CheckpointError(f"it has the setting {key[:40]!a}, which this version does not know")
        if not _SETTINGS[key](value):
            raise CheckpointError(f"its setting {key} has a value that cannot be: {str(value)[:40]!a}")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return ModelConfig(**given)


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _listed(value: object, most: int, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple)) and len(value) <= most and all(map(fits, value))


_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "navigation_layers": lambda value: _listed(value, 256, lambda one: _whole(one, 0, 255)),
    "decoder_layers": lambda value: _whole(value, 0, 64),
    "decoder_heads": lambda value: _whole(value, 1, 256),
    "upscale": lambda value: _whole(value, 1, 64),
    "decoder_inputs": lambda value: _listed(value, 16, lambda one: isinstance(one, str)),
    "use_of_text": lambda value: isinstance(value, str),
    "visual_prompts": lambda value: _whole(value, 0, 4096),
}


def load_checkpoint(path: Path, towers: Towers | None = None) -> tuple[ClsClip, dict[str, Any]]:
    """A model in evaluation mode, and its header.

    Args:
        path: the checkpoint.
        towers: the frozen towers; None finds those that the header names, see :func:`towers_of`.

    Raises:
        CheckpointError: damaged, not finite, trained on other towers than these, or its towers are not found.
        TowersError: the towers cannot be loaded.
    """
    header = read_header(path)
    try:
        config = model_config(header["model"])
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be loaded: {error}.") from error
    if towers is None:
        towers = towers_of(path, header)
    found = towers.fingerprint()
    if found != header["fingerprint"]:
        raise CheckpointError(
            f"{path} was trained on {header['towers'].get('name')} with fingerprint {header['fingerprint'][:12]}; "
            f"these towers ({towers.name}) have {found[:12]}. "
            "Give the towers it was trained on: --towers NAME_OR_FOLDER"
        )
    try:
        with TensorFile(path) as opened:
            with torch.device("meta"):  # shapes alone: nothing is made for a configuration that does not fit the file
                expected = {name: tuple(value.shape) for name, value in ClsClip(towers, config).learned_state().items()}
            if opened.shapes() != expected:
                raise CheckpointError(f"{path} holds other weights than its configuration asks for; it is damaged.")
            learned = read_tensors(opened)
    except (TensorFileError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    for name, value in learned.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; training diverged or the file is damaged.")
    model = ClsClip(towers, config)
    model.load_state_dict(learned, strict=False)
    return model.eval(), header


def towers_of(path: Path, header: dict[str, Any]) -> Towers:
    """The towers that a checkpoint's header names.

    They are looked for in the checkpoint's own folder and in this user's caches; nothing is fetched, and nothing is
    built whose weights have not the fingerprint that the header states.

    Raises:
        CheckpointError: they are not found, or those that are found have another fingerprint.
        TowersError: what is found cannot be loaded.
    """
    source, size = header["towers"]["source"], header["towers"]["image_size"]
    again = "Say where they are: --towers NAME_OR_FOLDER, and --pretrained TAG_OR_FILE for a name"
    others, damaged = [], None
    for place in find_towers(source, path.parent, header["fingerprint"]):
        try:
            found = load_found(place, header["fingerprint"], size)
            break
        except OtherTowersError as error:
            others.append(str(error))
        except TowersError as error:
            damaged = damaged or error
    else:
        if damaged is not None:
            raise damaged
        if others:
            raise CheckpointError(f"{path} was trained on other towers than those of {', '.join(others)}. {again}")
        raise CheckpointError(
            f"{path} was trained on the towers {source[:80]!a}, which are neither in its own folder nor in this user's "
            f"caches, and a checkpoint opens nothing else. {again}"
        )
    found.name = one_line(header["towers"].get("name") or found.name, 200)
    return found


def mask_threshold_of(provenance: Mapping[str, Any]) -> float:
    """The probability above which a pixel is a word's, as ``clsclip-eval threshold`` has fitted it, else 0.5."""
    found = provenance.get("mask_threshold")
    return float(found) if isinstance(found, float) and 0 < found < 1 else MASK_THRESHOLD
