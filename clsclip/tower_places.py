"""Where the towers of a checkpoint are found: in the run's own folder, or in this user's caches. Nothing is fetched.

A checkpoint may come from anybody, so its header names towers and opens nothing else: a path counts inside the run's
folder alone, a tag in local caches alone. Where a run used towers from elsewhere on this machine, that is noted in the
user's cache under the towers' fingerprint, so that its checkpoints still open here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import open_clip
import torch
from torch import Tensor

from clsclip.run_files import TOWERS_FOLDER
from clsclip.weights.flavor import HF_CONFIG, OPEN_CLIP_CONFIG
from clsclip.weights.hub import is_hub_name, plain_name
from clsclip_runtime.caches import not_private, users_folder
from clsclip_runtime.documents import DocumentError, read_json
from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import expanded, is_dir, is_file, make_folder, write_json

_FOLDER = "towers"
_BESIDE_WEIGHTS = ("logit_scale", "logit_bias")


@dataclass(frozen=True)
class TowersPlace:
    """Towers on this machine.

    Attributes:
        name: a folder, or an ``open_clip`` model.
        weights: file of the model's weights; None for a folder.
        tag: of the model, for its preprocessing; None for a folder and for weights without one.
        label: name for people; None is the folder's.
    """

    name: str
    weights: Path | None = None
    tag: str | None = None
    label: str | None = None


def find_towers(source: str, beside: Path, fingerprint: str) -> list[TowersPlace]:
    """Find the towers that a checkpoint names.

    Args:
        source: what its header says: a folder, an ``open_clip`` name with ``:tag`` or ``:weights file``, or
            ``user/name`` on a hub.
        beside: folder of the checkpoint.
        fingerprint: of the towers.

    Returns:
        where they may be, the likeliest first. What lies there is not opened: who opens it compares the fingerprint.
    """
    found = []
    inside = _inside(beside, source)
    if inside is not None and is_dir(inside):
        found.append(TowersPlace(str(inside)))
    name, _, rest = source.partition(":")
    if name in open_clip.list_models() and rest:
        weights = _inside(beside, rest)
        if weights is not None and is_file(weights):
            found.append(TowersPlace(name, weights))
        cached = cached_weights(name, rest)
        if cached is not None:
            found.append(TowersPlace(name, cached, rest))
    kept = _inside(beside, TOWERS_FOLDER)
    recalled = _recalled(fingerprint)
    snapshot = cached_folder(source)
    found += [TowersPlace(str(kept))] if kept is not None and is_dir(kept) else []
    found += [TowersPlace(str(snapshot), label=plain_name(source))] if snapshot is not None else []
    found += [recalled] if recalled is not None else []
    return list(dict.fromkeys(found))


def cached_weights(name: str, tag: str) -> Path | None:
    """The file of an ``open_clip`` tag in this user's caches; None if it was never fetched."""
    config = open_clip.get_pretrained_cfg(name, tag)
    model, _, file = str(config.get("hf_hub") or "").rpartition("/")
    if model:
        from huggingface_hub import try_to_load_from_cache

        for one in (file,) if file else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
            found = try_to_load_from_cache(model, one)
            if isinstance(found, str):
                return Path(found)
    url = str(config.get("url") or "")
    path = expanded("~/.cache/clip") / PurePosixPath(url).name
    return path if url and is_file(path) else None


def cached_folder(source: str) -> Path | None:
    """The folder of ``user/name[@revision]`` in the hub's cache; None if it was never fetched."""
    if not is_hub_name(source):
        return None
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = plain_name(source).partition("@")
    for file in (OPEN_CLIP_CONFIG, HF_CONFIG):
        try:
            found = try_to_load_from_cache(name, file, revision=revision or None)
        except ValueError:  # no name on a hub
            return None
        if isinstance(found, str):
            return Path(found).parent
    return None


def remember_towers(fingerprint: str, name: str, pretrained: str | None) -> None:
    """Note where towers lie on this machine; without a cache folder, or if it cannot be written, nothing is noted."""
    cache = users_folder()
    is_folder = is_dir(Path(name))
    if cache is None or not (is_folder or (pretrained is not None and is_file(Path(pretrained)))):
        return
    place = {"name": os.path.abspath(name) if is_folder else name}  # noqa: PTH100
    if not is_folder:
        place["weights"] = os.path.abspath(str(pretrained))  # noqa: PTH100
    try:
        make_folder(cache)
        (cache / _FOLDER).mkdir(mode=0o700, exist_ok=True)
        write_json(cache / _FOLDER / f"{fingerprint}.json", place)
    except (OSError, OutputError):
        return


def _recalled(fingerprint: str) -> TowersPlace | None:
    """Where this user's own runs found towers of this fingerprint."""
    cache = users_folder()
    if cache is None:
        return None
    try:
        if not_private(cache / _FOLDER) is not None:
            return None
        place = read_json(cache / _FOLDER / f"{fingerprint}.json")
    except (OSError, DocumentError):
        return None
    name = place.get("name") if isinstance(place, dict) else None
    weights = place.get("weights") if isinstance(place, dict) else None
    if not isinstance(name, str) or not isinstance(weights, (str, type(None))):
        return None
    return TowersPlace(name, None if weights is None else Path(weights))


def _inside(folder: Path, name: str) -> Path | None:
    """A path under ``folder``; None where it leaves it, links followed."""
    if not name or "\0" in name or PurePosixPath(name).is_absolute() or Path(name).is_absolute():
        return None
    try:
        root, found = folder.resolve(), (folder / name).resolve()
    except (OSError, RuntimeError):
        return None
    return found if found.is_relative_to(root) else None


def digest_of(weights: Mapping[str, Tensor], image_size: int) -> str:
    """The digest of towers that have these weights, by open_clip's names; see ``Towers.weights_digest``.

    Args:
        weights: by name.
        image_size: pixels a side of the pictures that the towers are to take.
    """
    named: dict[str, Tensor] = {}
    for name, value in weights.items():
        own = name.startswith(("visual.", "text.")) or name in _BESIDE_WEIGHTS
        named[name if own else f"text.{name}"] = value
    digest = hashlib.sha256()
    for name, value in sorted(named.items()):
        shape = tuple(value.shape)
        if name == "visual.positional_embedding" and "visual.conv1.weight" in named:
            shape = (1 + (image_size // named["visual.conv1.weight"].shape[-1]) ** 2, *shape[1:])
        digest.update(f"{name}{shape}".encode())
        digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
