"""Encoded words on disk, so that no word is ever encoded twice on a machine.

A folder for every text encoder (its files' digests, tokenizer, templates, engine) holds safetensors files that never
change: each call that met new words adds one, and when there are many they are merged into one. Files appear complete,
and nobody has to lock anything: two processes that do the same at the same time write the same words twice, no more.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from clsclip_runtime.bundle.external_data import external_locations
from clsclip_runtime.bundle.opening import TEXT_ENCODER, TOKENIZER, Bundle
from clsclip_runtime.errors import OptionError
from clsclip_runtime.text.encoded import EncodedWord

Place: TypeAlias = "str | os.PathLike[str] | bool | None"
"""A folder; True or None for the user's cache folder; False for none."""

VARIABLE = "CLSCLIP_CACHE"
"""Environment variable: a folder in place of the user's cache folder, or ``off``."""

MAX_BYTES = 256 << 20
"""Of all text encoders' files together; the oldest go first. At ViT-B/16's widths that is 64,000 words."""

_MANY_FILES = 16
_FORMAT = "1"
_log = logging.getLogger(__name__)


class WordCache:
    """The words of one text encoder. Not locked: one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made when the first word is written."""
        self._folder = folder
        self._places: dict[str, tuple[str, int]] = {}
        self._known: set[str] = set()
        self._widths: tuple[int, int] | None = None

    @classmethod
    def of(cls, bundle: Bundle, engine: str, place: Place = None) -> WordCache | None:
        """The cache for a bundle's text encoder in an engine; None where there is to be none.

        Args:
            bundle: verified.
            engine: its name; engines differ in the last digits.
            place: see ``Place``.

        Raises:
            OptionError: ``place`` was given, and it is no folder or safetensors is not installed.
        """
        given = place is not None
        if place is None or place is True:
            place = os.environ.get(VARIABLE) or _users_folder()
        if place is False or place == "off":
            return None
        folder = Path(place).expanduser() if isinstance(place, (str, os.PathLike)) else None
        if folder is None or (folder.exists() and not folder.is_dir()):
            raise OptionError(f"word_cache must be a folder, True or False, and it is {place!r}")
        try:
            import_module("safetensors.numpy")
        except ImportError as error:
            reason = f"words cannot be kept on disk ({error}). Run: pip install safetensors"
            if given:
                raise OptionError(reason) from error
            _log.warning("%s", reason)
            return None
        return cls(folder / "words" / _key(bundle, engine))

    def read(self, words: Sequence[str]) -> dict[str, EncodedWord]:
        """Those of ``words`` that are there."""
        self._look()
        found: dict[str, EncodedWord] = {}
        wanted = {word: self._places[word] for word in words if word in self._places}
        for name in sorted({name for name, _ in wanted.values()}):
            content = self._load(name)
            if content is None:
                continue
            _, tokens, features, truncated = content
            for word, (own, row) in wanted.items():
                if own == name:
                    found[word] = EncodedWord(tokens[row].copy(), features[row].copy(), truncated[row])
        return found

    def write(self, encoded: Mapping[str, EncodedWord]) -> None:
        """Keep words; a folder that cannot be written is logged, and costs encoding them again next time."""
        if not encoded:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._add(encoded)
            self._merge()
            self._prune()
        except OSError as error:
            _log.warning("encoded words cannot be kept in %s: %s", self._folder, error.strerror or error)

    def _look(self) -> None:
        """Take in the files that are new."""
        try:
            names = [one.name for one in _files(self._folder)]
        except OSError:
            return
        for name in names:
            if name not in self._known:
                content = self._load(name)
                if content is not None:
                    self._places.update({word: (name, row) for row, word in enumerate(content[0])})
                self._known.add(name)

    def _load(self, name: str) -> tuple[list[str], Any, Any, list[bool]] | None:
        """Words, tokens, features and whether they were cut off, of one file; None where it is of no use."""
        path = self._folder / name
        try:
            with import_module("safetensors").safe_open(path, framework="numpy") as file:
                about: dict[str, str] = file.metadata() or {}
                words, truncated = json.loads(about["words"]), json.loads(about["truncated"])
                tokens, features = file.get_tensor("tokens"), file.get_tensor("features")
            self._check(words, truncated, tokens, features)
        except FileNotFoundError:  # merged by another process
            return None
        except Exception as error:  # the library raises its own, json and numpy theirs: damaged is damaged
            _log.warning("%s is damaged (%s): its words are encoded again", path, " ".join(str(error).split()))
            with suppress(OSError):  # a folder that can only be read
                path.unlink(missing_ok=True)
            return None
        return words, tokens, features, truncated

    def _check(self, words: Any, truncated: Any, tokens: Any, features: Any) -> None:
        """Raise ValueError unless a file's parts fit together and to those of the other files."""
        count = len(words)
        fine = (
            all(isinstance(word, str) for word in words)
            and [len(truncated), len(tokens), len(features)] == [count] * 3
            and tokens.ndim == features.ndim == 2
            and tokens.dtype == features.dtype == np.float32
            and bool(np.isfinite(tokens).all() and np.isfinite(features).all())
        )
        widths = (tokens.shape[-1], features.shape[-1])
        if not fine or (self._widths is not None and widths != self._widths):
            raise ValueError(f"{count} words with tokens {tokens.shape} and features {features.shape}")
        self._widths = widths

    def _add(self, encoded: Mapping[str, EncodedWord]) -> None:
        tensors = {
            "tokens": np.stack([one.token for one in encoded.values()]),
            "features": np.stack([one.feature for one in encoded.values()]),
        }
        truncated = json.dumps([bool(one.truncated) for one in encoded.values()])
        content = import_module("safetensors.numpy").save(
            tensors, {"format": _FORMAT, "words": json.dumps(list(encoded)), "truncated": truncated}
        )
        path = self._folder / f"{secrets.token_hex(8)}.safetensors"
        part = path.with_suffix(".part")
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def _merge(self) -> None:
        """One file in place of many; others that read the old ones meanwhile encode those words again, no more."""
        files = _files(self._folder)
        if len(files) <= _MANY_FILES or sum(one.st_size for one in files.values()) > MAX_BYTES // 2:
            return  # a large set stays in pieces, of which the oldest can go
        every: dict[str, EncodedWord] = {}
        for path in files:
            content = self._load(path.name)
            if content is not None:
                words, tokens, features, truncated = content
                every |= {word: EncodedWord(tokens[at], features[at], truncated[at]) for at, word in enumerate(words)}
        if not every:  # another process has merged them meanwhile
            return
        self._add(every)
        for path in files:
            path.unlink(missing_ok=True)
            self._known.discard(path.name)
        self._places.clear()
        self._look()

    def _prune(self) -> None:
        """Remove the oldest files of all encoders until the rest is within ``MAX_BYTES``."""
        sizes: dict[Path, os.stat_result] = {}
        for folder in self._folder.parent.iterdir():
            sizes |= _files(folder)
        total = sum(one.st_size for one in sizes.values())
        for path in sorted(sizes, key=lambda path: sizes[path].st_mtime_ns):
            if total <= MAX_BYTES:
                break
            path.unlink(missing_ok=True)
            total -= sizes[path].st_size


def _files(folder: Path) -> dict[Path, os.stat_result]:
    """Complete files, the oldest first."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with suppress(FileNotFoundError):  # merged or removed by another process
            found[path] = path.stat()
    return dict(sorted(found.items(), key=lambda one: (one[1].st_mtime_ns, one[0])))


def _key(bundle: Bundle, engine: str) -> str:
    """All that an encoded word depends on, as one name."""
    files, text = bundle.manifest.files, bundle.manifest.text
    names = [TEXT_ENCODER, TOKENIZER, *sorted(external_locations(bundle.path(TEXT_ENCODER)))]
    parts = {
        "files": [files[name].sha256 for name in names],
        "templates": list(text.templates),
        "length": [text.context_length, text.pad_token_id],
        "engine": engine,
        "format": _FORMAT,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _users_folder() -> str | bool:
    """The user's cache folder for this program; False where there is none."""
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():
        return str(Path(base) / "clsclip")
    try:
        return str(Path.home() / ".cache" / "clsclip")
    except RuntimeError:  # a user without a home
        return False
