"""Checkpoints: what was learned, as safetensors, with the configuration and the fingerprint of the frozen towers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from clsclip.errors import CheckpointError
from clsclip.model import ClsClip, ModelConfig
from clsclip.tensors import read_tensors
from clsclip.tower_files import load_towers
from clsclip.towers import Towers
from clsclip_runtime.documents import parse_json
from clsclip_runtime.paths import is_dir, is_file, make_folder, write_bytes
from clsclip_runtime.renamed import old_names, rename_keys
from clsclip_runtime.tensor_files import TensorFile, TensorFileError

FORMAT = "clsclip-checkpoint-1"


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
        return rename_keys(decoded, old_names("manifest")) | {"fingerprint": header["fingerprint"]}
    except (KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} has a damaged header: {error}") from error


def load_checkpoint(path: Path, towers: Towers | None = None) -> tuple[ClsClip, dict[str, Any]]:
    """A model in evaluation mode, and its header.

    Args:
        path: the checkpoint.
        towers: the frozen towers; None loads the ones that the header names.

    Raises:
        CheckpointError: damaged, not finite, or trained on other towers than these.
        TowersError: the towers cannot be loaded.
    """
    header = read_header(path)
    if towers is None:
        towers = towers_of(path, header)
    found = towers.fingerprint()
    if found != header["fingerprint"]:
        raise CheckpointError(
            f"{path} was trained on {header['towers'].get('name')} with fingerprint {header['fingerprint'][:12]}; "
            f"these towers ({towers.name}) have {found[:12]}. "
            "Give the towers it was trained on: --towers NAME_OR_FOLDER"
        )
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in header["model"].items()
    }
    try:
        model = ClsClip(towers, ModelConfig(**settings))
    except TypeError as error:
        raise CheckpointError(f"{path} has settings that this version does not know: {error}") from error
    expected = model.learned_state()
    with TensorFile(path) as opened:
        if opened.shapes() != {name: tuple(value.shape) for name, value in expected.items()}:
            raise CheckpointError(f"{path} holds other weights than its configuration asks for; it is damaged.")
        learned = read_tensors(opened)
    for name, value in learned.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; training diverged or the file is damaged.")
    model.load_state_dict(learned, strict=False)
    return model.eval(), header


def towers_of(path: Path, header: dict[str, Any]) -> Towers:
    """The towers that a checkpoint's header names: a folder, or an open_clip ``name:tag`` or ``name:weights file``.

    Folders and files are relative to the checkpoint's.
    """
    source, size = header["towers"]["source"], header["towers"]["image_size"]
    beside = path.parent / source
    if is_dir(beside):
        return load_towers(str(beside), image_size=size)
    name, _, tag = source.partition(":")
    weights = path.parent / tag
    return load_towers(name, str(weights) if is_file(weights) else tag or None, image_size=size)
