"""A bundle of schema 1, which clsclip 0.1 wrote, made one of schema 2.

Graphs, weights and tokenizer are copied byte for byte, so masks stay the same bit for bit. Keys, values and files get
the names that ``renamed.json`` gives them. What schema 1 left to the runtime is written down: features and their shapes
come from the graphs, estimates of memory from the formulas that 0.1 had built in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsclip_runtime.bundle import memory
from clsclip_runtime.bundle.contents import copy_verified
from clsclip_runtime.bundle.description import describe_features, read_signatures
from clsclip_runtime.bundle.folder import check_target, file_entries, staged_folder
from clsclip_runtime.bundle.manifest import SCHEMA_VERSION, check_file_name
from clsclip_runtime.bundle.opening import IMAGE_ENCODER, MANIFEST, PRESENCE, TEXT_ENCODER, TRUNK, Bundle
from clsclip_runtime.bundle.specs import FileEntry
from clsclip_runtime.documents import DocumentError, read_json
from clsclip_runtime.errors import BundleError, OptionError
from clsclip_runtime.extras import upgrade_advice
from clsclip_runtime.paths import expanded, file_sha256, is_file, write_json
from clsclip_runtime.renamed import old_names, rename_keys
from clsclip_runtime.version import __version__

OLD_SCHEMA, NEW_SCHEMA = 1, SCHEMA_VERSION
PROFILE = {"crops": [1, 1, 4], "classes": [1, 8, 64], "pairs": [1, 8, 32]}
"""Sizes that 0.1 built engines for; its manifests do not state them."""

_MATCHING = "text_features"
_AGAIN = "Get the bundle again, or export it again with clsclip-export"
_MAX_MANIFEST_BYTES = 1 << 24
_LARGE_PATCH, _LARGE_WIDTH = 14, 1024
"""What 0.1 took for a model that does not state its patch size or width."""


def upgrade_bundle(old: str | os.PathLike[str], new: str | os.PathLike[str], *, force: bool = False) -> list[str]:
    """Write the bundle ``old`` of schema 1 as one of schema 2; nothing stands at ``new`` until it is whole.

    Args:
        old: a bundle that clsclip 0.1 wrote. It is verified, and left as it is.
        new: the folder to write.
        force: replace what stands at ``new``.

    Returns:
        Sentences for the user about what was left out.

    Raises:
        BundleError: ``old`` is not a bundle, is damaged, or has another schema.
        OptionError: ``new`` is ``old``, or one of them lies in the other.
        OutputError: ``new`` exists and ``force`` is not set, or it cannot be written.
    """
    source, target = expanded(old).resolve(), expanded(new).absolute()
    if source.is_relative_to(target.resolve()) or target.resolve().is_relative_to(source):
        raise OptionError(f"{new} and {old} overlap, and the old bundle is left as it is. Give another folder")
    check_target(target, force=force)
    document = _read(source, old)
    listed = _verified_files(source, document)
    document = rename_words(document)
    notes: list[str] = []
    try:
        with staged_folder(target, force=force) as folder:
            for name, entry in listed.items():
                new_name = old_names("files").get(name, name)
                if new_name == PRESENCE and document.get("presence") is None:
                    notes.append(f"{name} was left out: the manifest has no threshold of presence, so nothing used it")
                    continue
                copy_verified(source, name, entry, folder / new_name)
            write_json(folder / MANIFEST, new_manifest(document, folder))
            try:
                Bundle.open(folder)
            except BundleError as error:
                raise BundleError(str(error).replace(str(folder.resolve()), str(old))) from error
    finally:
        pass
    return notes


def new_manifest(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Make a manifest of schema 2.

    Args:
        document: of schema 1, with its keys renamed.
        folder: holds the files of the new bundle.

    Raises:
        BundleError: a key or a graph is not what 0.1 wrote.
    """
    graphs = read_signatures(folder)
    for file in (IMAGE_ENCODER, TRUNK, TEXT_ENCODER):
        if file not in graphs:
            raise BundleError(f"the bundle has no {file}. {_AGAIN}")
    presence = document.get("presence")
    if presence is not None and PRESENCE not in graphs:
        raise BundleError(f"the bundle has a threshold of presence and no gate.onnx. {_AGAIN}")
    features = describe_features(graphs, IMAGE_ENCODER)
    text = describe_features(graphs, TEXT_ENCODER, compared=[_MATCHING])
    for one in text:
        one["unit_norm"] = one["name"] == _MATCHING
    before = {"schema_version": OLD_SCHEMA, "clsclip_version": document.get("clsclip_version")}
    made = {
        "schema_version": NEW_SCHEMA,
        "name": document.get("name"),
        "clsclip_version": __version__,
        "upgraded_from": before,
        "description": document.get("description", ""),
        "requires": [],
        "model": _section(document, "model"),
        "license": _section(document, "license"),
        "image": _section(document, "image"),
        "features": features,
        "text": {
            **_section(document, "text"),
            "features": text,
            "matching": _MATCHING if any(one["name"] == _MATCHING for one in text) else None,
        },
        "mask": _section(document, "mask"),
        "presence": None if presence is None else {"from": "filter", "form": "probability", **presence},
        "memory": _memory(document, features, text, has_presence=presence is not None),
        "profile": PROFILE,
        "graphs": {file: signature.to_json() for file, signature in graphs.items()},
        "files": file_entries(folder),
    }
    return {**made, **{key: value for key, value in document.items() if key not in made}}


def rename_words(document: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keys and values of a manifest, and the files that its parity is about, their new names."""
    changed = rename_keys(document, old_names("manifest"))
    spellings: Mapping[str, Any] = old_names("values")
    for path, words in spellings.items():
        section, _, key = path.partition(".")
        found = changed.get(section)
        if isinstance(found, dict) and isinstance(found.get(key), str):
            found[key] = words.get(found[key], found[key])
    if "parity" in changed:
        changed["parity"] = _rename_files(changed["parity"])
    return changed


def _rename_files(value: Any) -> Any:
    """Keys such as ``gate.onnx:presence`` name an output of a file."""
    if not isinstance(value, Mapping):
        return value
    changed = {}
    for key, inner in value.items():
        file, colon, output = key.partition(":")
        changed[old_names("files").get(file, file) + colon + output] = _rename_files(inner)
    return changed


def _read(folder: Path, shown: object) -> dict[str, Any]:
    """The manifest of a bundle of schema 1."""
    path = folder / MANIFEST
    if not is_file(path):
        raise BundleError(f"{shown} is not a bundle: it has no {MANIFEST}. Give the folder that clsclip-export wrote")
    try:
        document = read_json(path)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    except DocumentError as error:
        raise BundleError(f"{path} is not valid JSON ({error}). {_AGAIN}") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, bool) or not isinstance(version, int):
        raise BundleError(f"{path} states no schema version. {_AGAIN}")
    if version == NEW_SCHEMA:
        raise BundleError(f"{shown} has schema version {NEW_SCHEMA} already: use it as it is")
    if version != OLD_SCHEMA:
        raise BundleError(
            f"{shown} has schema version {version}, and this clsclip upgrades version {OLD_SCHEMA} to {NEW_SCHEMA}. "
            f"{upgrade_advice()}"
        )
    return dict(document)


def _verified_files(folder: Path, document: Mapping[str, Any]) -> dict[str, FileEntry]:
    """The files that the manifest lists, each with the size and digest that it states."""
    entries, found = _section(document, "files"), {}
    for name in entries:
        check_file_name(name)
        entry, path = _section(entries, name), folder / name
        if not Path(os.path.realpath(path)).is_relative_to(folder):
            raise BundleError(f"{name} is a link that leaves the bundle's folder, so it is refused. {_AGAIN}")
        try:
            whole = is_file(path) and path.stat().st_size == entry.get("bytes")
            digest = file_sha256(path) if whole else None
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
        if digest is None or digest != str(entry.get("sha256")).lower():
            what = "missing" if not is_file(path) else "damaged: its size or SHA-256 is not the one in the manifest"
            raise BundleError(f"{name} in {folder} is {what}. {_AGAIN}")
        found[name] = FileEntry(digest, path.stat().st_size)
    return found


def _memory(
    document: Mapping[str, Any], features: list[dict[str, Any]], text: list[dict[str, Any]], *, has_presence: bool
) -> dict[str, int]:
    """Estimates by the formulas of 0.1, which knew one architecture: its stem tokens are (tokens, width)."""
    stem = next((one["shape"] for one in features if one["name"] == "stem_tokens"), None)
    word = next((one["shape"] for one in text if one["name"] == "text_tokens"), None)
    if stem is None or len(stem) != 2 or word is None or len(word) != 1:
        raise BundleError(f"{TRUNK} takes no stem_tokens or no text_tokens, which 0.1 always gave it. {_AGAIN}")
    model, mask = _section(document, "model"), _section(document, "mask")
    size = _whole(document, "image", "size")
    patch, width = (model.get(key) for key in ("patch_size", "width"))
    patch = patch if isinstance(patch, int) and patch > 0 else _LARGE_PATCH
    width = width if isinstance(width, int) and width > 0 else _LARGE_WIDTH
    height_out, width_out = (_whole({"mask": mask}, "mask", key) for key in ("height", "width"))
    return {
        "crop_bytes": memory.crop_bytes(size, 1 + (size // patch) ** 2, width),
        "pair_bytes": memory.pair_bytes(stem[0], stem[1], height_out, width_out),
        "presence_pair_bytes": memory.presence_pair_bytes(stem[0]) if has_presence else 0,
        "word_bytes": memory.word_bytes(_whole(document, "text", "context_length"), word[0]),
    }


def _section(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise BundleError(f"'{key}' in {MANIFEST} is not an object. {_AGAIN}")
    return value


def _whole(document: Mapping[str, Any], section: str, key: str) -> int:
    value = _section(document, section).get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BundleError(f"'{section}.{key}' in {MANIFEST} must be a whole number of 1 or more. {_AGAIN}")
    return value
