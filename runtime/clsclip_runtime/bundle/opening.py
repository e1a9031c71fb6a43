"""A bundle on disk: found, read and verified before anything in it is used.

Every file that the manifest names is checked for size and SHA-256; files that it does not name are never opened. A
file is opened once and what was hashed is what is used: whoever changes files afterwards changes nothing. An engine
gets a graph when the graph and its weights are verified, and runs when all files are. Nothing in a bundle is pickled,
so opening one cannot run code.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clsclip_runtime.bundle.contents import AGAIN, copy_verified, read_verified, read_whole
from clsclip_runtime.bundle.graph_file import Memory, WalkedGraph, unknown, walk_graph
from clsclip_runtime.bundle.graph_inputs import OtherValuesError, check_values
from clsclip_runtime.bundle.graph_rules import BUNDLES, DETECTORS, UnknownGraphError
from clsclip_runtime.bundle.hub import hub_folder, on_hub
from clsclip_runtime.bundle.manifest import check_file_name, parse_manifest
from clsclip_runtime.bundle.onnx_graph import NotOnnxError
from clsclip_runtime.bundle.signature import Signature, signature_of
from clsclip_runtime.bundle.specs import FROM_FILTER, MOST_TOKENIZER_BYTES, Manifest
from clsclip_runtime.errors import BundleError
from clsclip_runtime.paths import absence, exists, expanded, is_dir
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
SEGMENTER = "segmenter.onnx"
"""The image's graphs in one, for other programs."""

EMBEDDED = Path(__file__).parents[1] / "models" / "stickers.clsclip"
"""The model that is installed with the package."""

_MAX_MANIFEST_BYTES = 1 << 24
_BLOCK = 1 << 20
_SMALL_GRAPH = 8 << 20
_SMALL_FILE = 64 << 20
_MOST_GRAPH = 1 << 31
"""Bytes of a file in ONNX's format, which is protobuf's."""

_GRAPHS = (TEXT_ENCODER, IMAGE_ENCODER, STEM, TRUNK, PRESENCE)
_OF_WORDS = frozenset({TOKENIZER, TEXT_TOKENS})
_MOST_UNUSED = 2
"""A file with weights is at most so many times as large as all the weights in it, and a little more."""


@dataclass
class _Held:
    """What was read when the bundle was opened, until it is used."""

    graphs: dict[str, WalkedGraph] = field(default_factory=dict)
    files: dict[str, Memory] = field(default_factory=dict)
    late: dict[str, Future[None]] = field(default_factory=dict)
    """Large files that are read and verified while engines load what has been verified."""
    told: dict[str, tuple[Signature, frozenset[str]]] = field(default_factory=dict)
    """What every graph that was walked takes and gives, and in which files it keeps weights. This is kept."""
    readers: ThreadPoolExecutor | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


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
    _held: _Held = field(default_factory=_Held, repr=False, compare=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None, *, to_load: bool = False) -> Bundle:
        """Read and verify the bundle at ``path``; None is the embedded one.

        Args:
            path: the folder, or ``hf:USER/NAME@REVISION``.
            to_load: hold what engines are about to load in memory until :meth:`release`, so that it is read once; the
                whole model as one graph, which no engine here loads, is verified and not walked. Large files are still
                being verified when this returns: what is asked for is waited for, and :meth:`loading` waits for all.
                Else every graph is walked, nothing is held, and what is asked for later is read and verified again.

        Raises:
            BundleError: there is no bundle, a file is missing or changed, a graph is none that exporters write, or the
                manifest is wrong or of a newer schema.
        """
        folder = _find(path)
        document = _read_manifest(folder)
        manifest = parse_manifest(document, folder)
        _check_bytes(manifest, folder)
        for name in _required(manifest):
            if name not in manifest.files:
                raise BundleError(f"{folder} has no {name} among the files of its manifest. {AGAIN}")
        bundle = cls(folder=folder, manifest=manifest, fingerprint=hashlib.sha256(document).hexdigest())
        bundle._read_all(to_load)
        return bundle

    def graph(self, name: str) -> GraphFile:
        """Return the graph ``name``, for an engine: verified and walked, with its weights in memory.

        Raises:
            BundleError: the manifest does not list it, or its files are not any more what was verified.
        """
        walked = self._walked(name)
        places = {location: _listed(name, location) for location in walked.locations}
        others = {location: self._content(file) for location, file in places.items()}
        entries = self.manifest.files
        digests = {one: entries[one].sha256 for one in [name, *sorted(places.values())]}
        try:
            return walked.file(self.folder / name, others, self.manifest.precision, digests, self.fingerprint)
        except NotOnnxError as error:
            raise self._no_graph(name, error) from error

    def signature(self, name: str) -> Signature:
        """Tell what the graph ``name`` takes and gives, as it was verified. BundleError as :meth:`graph`."""
        return self._told(name)[0]

    def digests(self, name: str) -> Mapping[str, str]:
        """Return SHA-256 of a graph and of the files that hold its weights, by name. BundleError as :meth:`graph`."""
        files = [name, *sorted(_listed(name, location) for location in self._told(name)[1])]
        return {one: self.manifest.files[one].sha256 for one in files}

    def read(self, name: str) -> bytes:
        """Return a small file, such as the tokenizer, as it was verified. BundleError as :meth:`graph`."""
        self.path(name)
        return bytes(self._content(name))

    def path(self, name: str) -> Path:
        """Return the absolute path of the file ``name``; BundleError if the manifest does not list it."""
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder} has no {name} among the files of its manifest. {AGAIN}")
        return self.folder / name

    def copy(self, names: Iterable[str], folder: Path) -> None:
        """Write files, as they were verified, into another bundle. BundleError as :meth:`graph`, or OutputError."""
        for name in names:
            self.path(name)
            copy_verified(self.folder, name, self.manifest.files[name], folder / name)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Load what ``to_load`` holds inside of this; at its end all is verified, and nothing is held any more.

        Raises:
            BundleError: a file is damaged, whatever else went wrong: it may be the reason.
        """
        try:
            yield
            self.wait_until_verified()
        except Exception:  # whoever interrupts does not wait
            self.wait_until_verified()
            raise
        finally:
            self.release()

    def wait_until_verified(self) -> None:
        """Wait until every file has been verified. BundleError: the first that is not what the manifest states."""
        for one in list(self._held.late.values()):
            one.result()

    def let_go(self, name: str) -> None:
        """Let go of a graph that an engine has loaded, with the weights inside of it; asked for again, it is read."""
        with self._held.lock:
            self._held.graphs.pop(name, None)

    def let_go_of_weights(self) -> None:
        """Let go of the files that hold weights of graphs; asked for again, they are read."""
        with self._held.lock:
            self._held.files = {name: one for name, one in self._held.files.items() if name in _OF_WORDS}

    def release(self) -> None:
        """Let go of what ``to_load`` held; engines keep what they use."""
        if self._held.readers is not None:
            self._held.readers.shutdown(cancel_futures=True)
        with self._held.lock:
            self._held.late.clear()
            self._held.graphs.clear()
            self._held.files.clear()

    def _read_all(self, to_load: bool) -> None:
        """Verify every file, on all cores: hashing lets other threads run. The first error is told.

        Small graphs are walked at once, since they name the files with weights. Other small files and large graphs are
        read meanwhile; large files afterwards, when it is known which of them are to be held.
        """
        files, held = self.manifest.files, self._held
        graphs = [name for name in files if name.endswith(".onnx") and not (to_load and name == SEGMENTER)]
        small = sorted((one for one in graphs if files[one].bytes <= _SMALL_GRAPH), key=lambda one: files[one].bytes)
        rest = sorted(set(files) - set(small), key=lambda one: -files[one].bytes)
        late = [name for name in rest if files[name].bytes > _SMALL_FILE or name in graphs]

        def read(name: str, keep: bool) -> None:
            if name in graphs:
                walked = self._walk(name)
                if to_load and name in _GRAPHS:
                    held.graphs[name] = walked
            else:
                content = read_verified(self.folder, name, files[name], keep=keep)
                if content is not None:
                    held.files[name] = content

        def read_late(name: str, keep: bool) -> None:
            if name in late and name not in held.late:
                held.late[name] = pool.submit(read, name, keep)

        pool = held.readers = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            early = [pool.submit(read, name, to_load and name != SEGMENTER) for name in rest if name not in late]
            for name in set(late).intersection(graphs):
                read_late(name, False)
            kept = self._walk_small(small, to_load, read_late) | _OF_WORDS
            for name in late:
                read_late(name, to_load and name in kept)
            for one in early:
                one.result()
            for name in set(held.files) - kept - set(held.late):
                del held.files[name]
            if not to_load:
                self.wait_until_verified()
                self.release()
        except BaseException:
            self.release()
            raise

    def _walk_small(self, graphs: list[str], to_load: bool, read: Callable[[str, bool], None]) -> set[str]:
        """Walk graphs; which files hold weights of those that are to be loaded. Each is read once its size is right."""
        files = self.manifest.files
        used: Counter[str] = Counter()
        weights: set[str] = set()
        for name in graphs:
            walked = self._walk(name)
            used += self._used(name, walked)
            if to_load and name in _GRAPHS:
                self._held.graphs[name] = walked
                weights |= {_listed(name, location) for location in walked.locations}
                for one in weights:
                    if not self._too_large(one, used):
                        read(one, True)
        if SEGMENTER in files and SEGMENTER not in graphs and any(self._too_large(name, used) for name in weights):
            used += self._used(SEGMENTER, self._walk(SEGMENTER))
        for name in weights:
            if self._too_large(name, used):
                raise BundleError(
                    f"{name} in {self.folder} has {files[name].bytes} bytes, and the graphs use {used[name]} of them. "
                    f"{AGAIN}"
                )
        return weights

    def _used(self, name: str, walked: WalkedGraph) -> Counter[str]:
        """Bytes that a graph uses of other files."""
        used: Counter[str] = Counter()
        for tensor, location, _ in walked.weights:
            if location:
                used[_listed(name, location)] += tensor.nbytes
        return used

    def _too_large(self, name: str, used: Counter[str]) -> bool:
        """Whether a file with weights holds much that no graph uses."""
        return self.manifest.files[name].bytes > _MOST_UNUSED * used[name] + _BLOCK

    def _told(self, name: str) -> tuple[Signature, frozenset[str]]:
        self.path(name)
        self._wait_for(name)
        if name not in self._held.told:
            self._walk(name)
        return self._held.told[name]

    def _walked(self, name: str) -> WalkedGraph:
        self.path(name)
        self._wait_for(name)
        with self._held.lock:
            found = self._held.graphs.get(name)
        return found or self._walk(name)

    def _walk(self, name: str) -> WalkedGraph:
        """Read, verify and walk a graph. Where it keeps weights must be in the manifest."""
        memory = self._verified(name)
        rules = DETECTORS if name == DETECTOR else BUNDLES
        try:
            walked = walk_graph(memory, rules)
            signature = signature_of(walked.model)
            check_values(name, signature, self.manifest)
        except NotOnnxError as error:
            raise self._no_graph(name, error) from error
        except UnknownGraphError as error:
            raise BundleError(f"{name} in {self.folder} {error}, and {unknown(rules)}") from error
        except OtherValuesError as error:
            raise BundleError(
                f"{name} in {self.folder} {error}. The bundle is damaged: get it again or export it again"
            ) from error
        for location in sorted(walked.locations):
            check_file_name(location)
            if _listed(name, location) not in self.manifest.files:
                raise BundleError(
                    f"{name} in {self.folder} keeps weights in {location}, which the manifest does not list, so they "
                    f"cannot be verified. {AGAIN}"
                )
        self._held.told[name] = (signature, walked.locations)
        return walked

    def _no_graph(self, name: str, error: NotOnnxError) -> BundleError:
        return BundleError(f"{name} in {self.folder} is not an ONNX graph as exporters write them ({error}). {AGAIN}")

    def _content(self, name: str) -> Memory:
        """A file that is no graph."""
        self._wait_for(name)
        with self._held.lock:
            held = self._held.files.get(name)
        return self._verified(name) if held is None else held

    def _wait_for(self, name: str) -> None:
        reading = self._held.late.get(name)
        if reading is not None:
            reading.result()

    def _verified(self, name: str) -> Memory:
        content = read_verified(self.folder, name, self.manifest.files[name], keep=True)
        assert content is not None  # noqa: S101 (it is kept)
        return content


def _listed(graph: str, location: str) -> str:
    """A file with weights as the manifest lists it: graphs name it beside themselves."""
    return f"{graph.rpartition('/')[0]}/{location}".lstrip("/")


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


def _check_bytes(manifest: Manifest, folder: Path) -> None:
    """Raise BundleError where a file is larger than its reader takes, before any of it is read."""
    for name, entry in manifest.files.items():
        most = MOST_TOKENIZER_BYTES if name == TOKENIZER else _MOST_GRAPH if name.endswith(".onnx") else None
        if most is not None and entry.bytes > most:
            raise BundleError(f"{name} in {folder} is over {most >> 20} MiB, which is the most that is read. {AGAIN}")


def _find(path: str | os.PathLike[str] | None) -> Path:
    if path is None:
        if not is_dir(EMBEDDED):
            raise BundleError(
                f"no model was given, and this installation has no embedded one at {EMBEDDED}. "
                "Give a bundle: Segmenter.load('model.clsclip'), or clsclip-infer --model model.clsclip"
            )
        return EMBEDDED.resolve()
    path = os.fsdecode(path)  # a path in bytes too
    if on_hub(path):
        return hub_folder(path).resolve()
    folder = expanded(path)
    if not exists(folder):
        raise BundleError(f"{absence(folder, 'bundle')}. Give the folder that clsclip-export wrote")
    if not is_dir(folder):
        raise BundleError(f"{folder} is a file, and a bundle is a folder. Give the folder that clsclip-export wrote")
    return folder.resolve()


def _read_manifest(folder: Path) -> bytes:
    """The manifest of a folder that the caller named: it may be a link to a file, as in caches of hubs."""
    path = folder / MANIFEST
    try:
        return bytes(read_whole(path, _MAX_MANIFEST_BYTES))
    except ValueError as error:
        raise BundleError(f"{path} is over {_MAX_MANIFEST_BYTES >> 20} MiB, so it is no manifest. {AGAIN}") from error
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}. Give the folder that clsclip-export wrote"
        ) from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
