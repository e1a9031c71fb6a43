"""Checkpoints: what was learned, as safetensors, with the configuration and the fingerprint of the frozen towers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save

from clsclip.differences import differences
from clsclip.errors import CheckpointError, TowersError
from clsclip.model import ClsClip, ModelConfig
from clsclip.tensors import read_tensors, read_weights
from clsclip.tower_files import OtherTowersError, load_found, load_towers
from clsclip.tower_places import find_towers
from clsclip.towers import Identity, Towers
from clsclip.weights.flavor import ACTIVATIONS, MEAN_STD, Asked, mean_std_of, told_by_name, told_by_tag
from clsclip_runtime.bundle.specs import MOST_CONFIDENCE
from clsclip_runtime.documents import DocumentError, parse_json
from clsclip_runtime.errors import one_line
from clsclip_runtime.paths import is_file, make_folder, write_bytes
from clsclip_runtime.renamed import old_names, rename_keys
from clsclip_runtime.tensor_files import TensorFile, TensorFileError

FORMAT, BEFORE = "clsclip-checkpoint-2", "clsclip-checkpoint-1"
"""Of this version, and of 0.1, whose fingerprint was that of the weights alone."""

MASK_THRESHOLD = 0.5

MOST_SIZE = 4096
"""Pixels a side of a picture."""


def save_checkpoint(
    model: ClsClip, path: Path, towers: str, provenance: dict[str, Any], *, identity: Identity | None = None
) -> None:
    """Write what was learned to ``path``, atomically.

    Args:
        model: its learned weights are written, its towers are not.
        path: a ``.safetensors`` file.
        towers: where they can be loaded from: a folder, or an open_clip name with ``:tag`` or ``:weights file``. Files
            and folders are relative to the checkpoint's folder.
        provenance: data, license, steps, seeds; anything JSON can hold. ``presence_threshold`` is read at export.
        identity: of the towers, where it is known already: to make it, all frozen weights are hashed.

    Raises:
        OutputError: the file cannot be written.
    """
    identity = identity or model.towers.identity()
    about = {"source": towers, "name": model.towers.name, "image_size": model.towers.image.size}
    header = {
        "format": FORMAT,
        "model": json.dumps(asdict(model.config)),
        "towers": json.dumps({**about, "weights": identity.weights, "settings": identity.settings}),
        "fingerprint": identity.fingerprint,
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

    Keys of 0.1 come by the names that they have now; its towers' settings are those that their source tells, and its
    fingerprint is that of the weights.

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
    kind = header.get("format", "")
    if kind not in (FORMAT, BEFORE):
        newer = kind.startswith("clsclip-checkpoint-")
        why = f"it is {kind[:40]!a}, of a newer version" if newer else f"its header does not say {FORMAT}"
        raise CheckpointError(f"{path} is not a ClsCLIP checkpoint that this version reads: {why}.")
    try:
        decoded = {key: parse_json(header[key]) for key in ("model", "towers", "provenance")}
        decoded = rename_keys(decoded, old_names("manifest")) | {"fingerprint": header["fingerprint"]}
    except (KeyError, DocumentError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path} has a damaged header: {error}") from error
    if kind == BEFORE and isinstance(decoded["towers"], dict):
        told = settings_before(str(decoded["towers"].get("source")))
        decoded["towers"] = {**decoded["towers"], "weights": decoded["fingerprint"], "settings": told}
    problem = _problem(decoded, whole=kind == FORMAT)
    if problem is not None:
        raise CheckpointError(f"{path} has a damaged header: {problem}.")
    return decoded


def settings_before(source: str) -> dict[str, Any]:
    """What 0.1 ran towers of a source with: activation and normalization of the name or the tag, and never a file's."""
    name, _, rest = source.partition(":")
    if name not in open_clip.list_models():
        return {}
    tagged = rest in open_clip.list_pretrained_tags_by_model(name)
    told = told_by_tag(name, rest) if tagged else told_by_name(name)
    activation, pixels = told.activation or "gelu", told.mean_std or MEAN_STD["openai"]
    both = {"image": activation, "text": activation}
    return {"activation": both, "mean": list(pixels.mean), "std": list(pixels.std)}


def asked_by(header: Mapping[str, Any], *, wins: bool) -> Asked:
    """What a header says of its towers, as far as files may leave it open."""
    settings = header["towers"]["settings"]
    activations = set(settings.get("activation", {}).values())
    activation = activations.pop() if len(activations) == 1 else None
    try:
        pixels = mean_std_of(settings)
    except (KeyError, TypeError, ValueError):
        pixels = None
    known = activation if activation in ACTIVATIONS else None
    return Asked(known, pixels, "the checkpoint", wins)


def _problem(header: dict[str, Any], *, whole: bool) -> str | None:
    """What is wrong with a header's types and sizes; None if nothing is. A whole one states all settings."""
    for key in ("model", "towers", "provenance"):
        if not isinstance(header[key], dict):
            return f"{key} is no object"
    towers = header["towers"]
    if not isinstance(towers.get("source"), str) or not isinstance(towers.get("name", ""), str):
        return "it does not name its towers"
    if not _whole(towers.get("image_size"), 1, MOST_SIZE):
        return f"towers.image_size must be a whole number from 1 to {MOST_SIZE}"
    for digest in (header["fingerprint"], towers.get("weights")):
        if not isinstance(digest, str) or re.fullmatch("[0-9a-f]{64}", digest) is None:
            return "its fingerprint is none"
    settings = towers.get("settings")
    if not isinstance(settings, dict) or not isinstance(settings.get("activation", {}), dict):
        return "towers.settings are none"
    if whole and Identity(settings, towers["weights"]).fingerprint != header["fingerprint"]:
        return "its fingerprint is not that of the towers that it describes"
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
    check_towers(path, header, towers)
    try:
        with TensorFile(path) as opened:
            with torch.device("meta"):  # shapes alone: nothing is made for a configuration that does not fit the file
                expected = {name: tuple(value.shape) for name, value in ClsClip(towers, config).learned_state().items()}
            if opened.shapes() != expected:
                raise CheckpointError(f"{path} holds other weights than its configuration asks for; it is damaged.")
            learned = read_weights(opened)
    except (TensorFileError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    model = ClsClip(towers, config)
    model.load_state_dict(learned, strict=False)
    return model.eval(), header


def check_towers(path: Path, header: dict[str, Any], towers: Towers) -> None:
    """Compare towers with those that a checkpoint was trained on; the header then has their fingerprint.

    Raises:
        CheckpointError: their weights differ, or what else results hang on.
    """
    found, about = towers.identity(), header["towers"]
    end = "Give the towers it was trained on: --towers NAME_OR_FOLDER"
    if found.weights != about["weights"]:
        raise CheckpointError(
            f"{path} was trained on {about.get('name')} with fingerprint {about['weights'][:12]} of its weights; "
            f"these towers ({towers.name}) have {found.weights[:12]}. {end}"
        )
    before = about["settings"]
    other = differences(before, {key: found.settings.get(key) for key in before})
    if other:
        raise CheckpointError(
            f"{path} was trained on {about.get('name')}, and these towers ({towers.name}) have the same weights and "
            f"compute something else: {'; '.join(other[:5])}. {end}"
        )
    header["fingerprint"] = found.fingerprint


def given_towers(path: Path, name: str, pretrained: str | None) -> Towers:
    """Towers that are given for a checkpoint, of its picture size; what their file does not tell, its header does.

    Raises:
        CheckpointError: the checkpoint is damaged.
        TowersError: the towers cannot be loaded, or contradict the header.
    """
    header = read_header(path)
    return load_towers(name, pretrained, header["towers"]["image_size"], asked_by(header, wins=False))


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
            found = load_found(place, header["towers"]["weights"], size, asked_by(header, wins=True))
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


def least_confidence_of(provenance: Mapping[str, Any]) -> float:
    """The confidence below which a mask's logits are lowered, as ``clsclip-eval threshold`` has fitted it, else 0."""
    found = provenance.get("least_confidence")
    return float(found) if isinstance(found, float) and 0 < found <= MOST_CONFIDENCE else 0.0
