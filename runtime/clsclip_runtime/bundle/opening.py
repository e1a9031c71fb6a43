"""A bundle on disk: found, read and verified before anything in it is used.

Every file that the manifest names is checked for size and SHA-256; files that it does not name are never
opened. Nothing in a bundle is pickled, so opening one cannot run code.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clsclip_runtime.bundle.external_data import NotOnnxError, external_locations
from clsclip_runtime.bundle.manifest import check_file_name, parse_manifest
from clsclip_runtime.bundle.specs import FROM_FILTER, FileEntry, Manifest
from clsclip_runtime.errors import BundleError
from clsclip_runtime.paths import absence, exists, expanded, file_sha256, is_dir, is_file
from clsclip_runtime.protocols import GraphFile

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
TEXT_ENCODER = "text_encoder.onnx"
IMAGE_ENCODER = "image_encoder.onnx"
STEM = "stem.onnx"
TRUNK = "trunk.onnx"
PRESENCE = "presence.onnx"
TEXT_TOKENS = "text_tokens.safetensors"
DETECTOR = "detector.onnx"

EMBEDDED = Path(__file__).parents[1] / "models" / "stickers.clsclip"
"""The model that is installed with the package."""

_BLOCK = 1 << 20
_MAX_MANIFEST_BYTES = 1 << 24


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: absolute path of the bundle.
        manifest: the checked manifest.
        fingerprint: SHA-256 of ``manifest.json``, which holds the digests of all the other files.
    """

    folder: Path
    manifest: Manifest
    fingerprint: str

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Bundle:
        """Read and verify the bundle at ``path``; None is the embedded one.

        Raises:
            BundleError: there is no bundle, a file is missing or changed, a path leaves the folder, or
                the manifest is wrong or of a newer schema.
        """
        folder = _find(path)
        document = _read_manifest(folder)
        manifest = parse_manifest(document, folder)
        for name in _required(manifest):
            if name not in manifest.files:
                raise BundleError(f"{folder} has no {name} among the files of its manifest. {_again()}")
        _verify_all(folder, manifest)
        for name in manifest.files:
            if name.endswith(".onnx"):
                _verify_external_data(folder, name, manifest)
        return cls(folder=folder, manifest=manifest, fingerprint=hashlib.sha256(document).hexdigest())

    def graph(self, name: str) -> GraphFile:
        """The graph ``name``, for a backend; BundleError if the manifest does not list it."""
        path = self.path(name)
        parts = [name, *sorted(external_locations(path))]
        digests = {one: self.manifest.files[one].sha256 for one in parts}
        return GraphFile(path, self.manifest.precision, digests, self.fingerprint)

    def path(self, name: str) -> Path:
        """Absolute path of the file ``name``; BundleError if the manifest does not list it."""
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder} has no {name} among the files of its manifest. {_again()}")
        return self.folder / name

    def verify(self, name: str) -> None:
        """Verify an ONNX graph, and the weights beside it, once more. BundleError if something has changed."""
        _verify(self.folder, name, self.manifest.files[name])
        for file in _verify_external_data(self.folder, name, self.manifest):
            _verify(self.folder, file, self.manifest.files[file])


def _required(manifest: Manifest) -> list[str]:
    """The files that a bundle of this manifest must have."""
    required = [IMAGE_ENCODER, TRUNK]
    if {TOKENIZER, TEXT_ENCODER} & set(manifest.files):
        required += [TOKENIZER, TEXT_ENCODER]
    elif TEXT_TOKENS not in manifest.files:
        # Words need an encoder, or must be encoded already.
        required += [TEXT_ENCODER]
    if manifest.presence is not None and manifest.presence.source == FROM_FILTER:
        required.append(PRESENCE)
    if manifest.detector is not None:
        required.append(DETECTOR)
    return required


def _again() -> str:
    return "Get the bundle again, or export it again with clsclip-export"


def _find(path: str | os.PathLike[str] | None) -> Path:
    if path is None:
        if not is_dir(EMBEDDED):
            raise BundleError(
                f"no model was given, and this installation has no embedded one at {EMBEDDED}. "
                "Give a bundle: Segmenter.load('model.clsclip'), or clsclip-infer --model model.clsclip"
            )
        return EMBEDDED.resolve()
    folder = expanded(path)
    if not exists(folder):
        raise BundleError(f"{absence(folder, 'bundle')}. Give the folder that clsclip-export wrote")
    if not is_dir(folder):
        raise BundleError(f"{folder} is a file, and a bundle is a folder. Give the folder that clsclip-export wrote")
    return folder.resolve()


def _read_manifest(folder: Path) -> bytes:
    path = folder / MANIFEST
    if not is_file(path):
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}. Give the folder that clsclip-export wrote")
    _check_inside(folder, MANIFEST)
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise BundleError(f"{path} is over {_MAX_MANIFEST_BYTES >> 20} MiB, so it is no manifest. {_again()}")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error


def _check_inside(folder: Path, name: str) -> None:
    """A symbolic link may point elsewhere in the bundle, never out of it."""
    real = Path(os.path.realpath(folder / name))
    if not real.is_relative_to(folder):
        raise BundleError(f"{name} in {folder} is a link that leaves the bundle's folder, so it is refused. {_again()}")


def _verify_all(folder: Path, manifest: Manifest) -> None:
    """Verify every file, the largest first, on all cores: hashing lets other threads run. The first error is told."""
    largest_first = sorted(manifest.files.items(), key=lambda item: -item[1].bytes)
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        for one in [pool.submit(_verify, folder, name, entry) for name, entry in largest_first]:
            one.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _verify(folder: Path, name: str, entry: FileEntry) -> None:
    _check_inside(folder, name)
    path = folder / name
    if not is_file(path):
        raise BundleError(f"{folder} is incomplete: {name} is missing. {_again()}")
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise BundleError(
                f"{name} in {folder} is damaged: it has {size} bytes, and the manifest says {entry.bytes}. {_again()}"
            )
        digest = file_sha256(path)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    if digest != entry.sha256:
        raise BundleError(f"{name} in {folder} is damaged: its SHA-256 is not the one in the manifest. {_again()}")


def _verify_external_data(folder: Path, name: str, manifest: Manifest) -> list[str]:
    """The files in which a graph keeps weights, all of them in the manifest."""
    try:
        locations = sorted(external_locations(folder / name))
    except NotOnnxError as error:
        raise BundleError(f"{name} in {folder} is not an ONNX graph ({error}). {_again()}") from error
    except OSError as error:
        raise BundleError(f"cannot read {folder / name}: {error.strerror or error}") from error
    found = []
    for location in locations:
        check_file_name(location)
        # Locations are relative to the graph that names them, and verified files to the bundle.
        listed = f"{name.rpartition('/')[0]}/{location}".lstrip("/")
        if listed not in manifest.files:
            raise BundleError(
                f"{name} in {folder} keeps weights in {location}, which the manifest does not list, so they "
                f"cannot be verified. {_again()}"
            )
        found.append(listed)
    return found
