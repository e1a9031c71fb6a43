"""Encoded words on disk, so that no word is ever encoded twice on a machine.

A database for every text encoder (its files' digests, tokenizer, templates, features, engine) holds its words. Whatever
happens to it costs time alone: words that cannot be read are encoded again, and a database that is damaged makes room
for a new one. Its file name has a number that is never used again, since SQLite's logs belong to names.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from clsclip_runtime.bundle.opening import TEXT_ENCODER, TOKENIZER, Bundle
from clsclip_runtime.bundle.specs import FeatureSpec
from clsclip_runtime.caches import OFF, users_folder
from clsclip_runtime.errors import OptionError
from clsclip_runtime.paths import CACHE_VARIABLE, as_path, exists, expanded, is_dir
from clsclip_runtime.text.encoded import EncodedWord

if TYPE_CHECKING:
    from clsclip_runtime.text.database import Row

Place: TypeAlias = "str | os.PathLike[str] | bool | None"
"""A folder; True or None for the user's cache folder; False for none."""

MAX_BYTES = 256 << 20
"""Of all text encoders' databases together; the oldest words go. At ViT-B/16's widths that is 55,000 words."""

WORDS = "words"
"""Folder of a cache."""

_FORMAT = "3"
_ATTEMPTS = 4
_LOGS = ("", "-wal", "-shm", "-journal")
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class WordCache:
    """The words of one text encoder. Not locked: one thread at a time."""

    def __init__(self, folder: Path, key: str, features: Sequence[FeatureSpec]) -> None:
        """Keep words in ``folder``, which is made when the first is written.

        Args:
            folder: of all text encoders.
            key: of this one.
            features: the arrays of its words; other arrays are not read.
        """
        self._folder, self._key = folder, key
        self._features = tuple(features)
        self._layout = json.dumps([[one.name, *one.shape] for one in features])
        ends = list(accumulate(one.bytes // 4 for one in features))
        self._slices = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        self._readable = self._writable = True
        self._notes: list[str] = []

    @classmethod
    def from_bundle(cls, bundle: Bundle, engine: str, place: Place = None) -> WordCache | None:
        """The cache for a bundle's text encoder in an engine; None where there is to be none.

        Args:
            bundle: verified.
            engine: its name; engines differ in the last digits.
            place: see ``Place``.

        Raises:
            OptionError: ``place`` was given, and it is no folder or this Python has no SQLite.
        """
        given = place is not None
        if place is None or place is True:
            place = users_folder() or False
        if place is False or place == OFF:
            return None
        folder = expanded(as_path("word_cache", place))
        if str(folder).startswith("~") or (exists(folder) and not is_dir(folder)):
            if not given:
                raise OptionError(f"{CACHE_VARIABLE} is {place}, which is no folder. Give it one, or {OFF}")
            raise OptionError(f"word_cache must be a folder, True or False, and it is {place!r}")
        if TEXT_ENCODER not in bundle.manifest.files:
            return None  # all its words are in the bundle
        try:
            import_module("clsclip_runtime.text.database")
        except ImportError as error:  # Python can be built without SQLite
            reason = f"words cannot be kept on disk ({error}). Use a Python that has sqlite3, or word_cache=False"
            if given:
                raise OptionError(reason) from error
            _log.warning("%s", reason)
            return None
        return cls(folder / WORDS, _key(bundle, engine), bundle.manifest.text.features)

    def read(self, words: Sequence[str]) -> dict[str, EncodedWord]:
        """Those of ``words`` that are there."""
        from clsclip_runtime.text import database

        def rows(path: Path) -> list[Row]:
            return database.read(path, words)

        if not self._readable or not words or self._newest() is None:
            return {}
        found = {}
        for row in self._try(rows) or ():
            encoded = self._unpack(row)
            if encoded is not None:
                found[row.word] = encoded
        return found

    def write(self, encoded: Mapping[str, EncodedWord]) -> None:
        """Keep words; where that is not possible a note says so once, and they are encoded again next time."""
        from clsclip_runtime.text import database

        rows = [self._pack(word, one) for word, one in encoded.items()]

        def add(path: Path) -> None:
            database.write(path, rows)
            self._prune()

        if rows and self._writable:
            self._try(add, writes=True)

    def take_notes(self) -> tuple[str, ...]:
        """What the user should know, each once."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def _try(self, operation: Callable[[Path], _T], *, writes: bool = False) -> _T | None:
        """Do something with the database; None where that is not possible. A damaged one makes room for a new one."""
        from clsclip_runtime.text import database

        for _ in range(_ATTEMPTS):
            path = self._numbered(0)
            try:
                path = self._newest() or (self._begin() if writes else path)
                return operation(path)
            except database.DamagedError as error:
                self._note(f"encoded words in {path} were damaged ({error}): they are encoded again")
                self._replace(path)
            except (database.UnusableError, OSError) as error:
                newest = self._newest()
                if newest not in (None, path):
                    continue  # another process has replaced it meanwhile
                if newest is None and not writes:
                    return None
                first = self._readable and self._writable
                self._writable, self._readable = False, self._readable and writes
                reason = getattr(error, "strerror", None) or error
                if not first:
                    return None
                self._note(
                    f"encoded words cannot be kept in {self._folder} ({reason}): they are kept in memory alone, and "
                    "encoded again by the next process"
                )
                return None
        return None

    def _note(self, note: str) -> None:
        _log.warning("%s", note)
        self._notes.append(note)

    def _numbered(self, number: int) -> Path:
        return self._folder / f"{self._key}.{number}.sqlite"

    def _newest(self) -> Path | None:
        """The database with the highest number, which is the one in use."""
        numbers = [int(path.name.split(".")[1]) for path in _databases(self._folder, self._key)]
        return self._numbered(max(numbers)) if numbers else None

    def _begin(self) -> Path:
        """An empty file, which is an empty database, and its folder; or what another process has begun meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        first = self._numbered(0)
        first.touch(mode=0o600)
        return self._newest() or first

    def _replace(self, damaged: Path) -> None:
        """Begin the database with the next number, then remove the damaged one."""
        key, number, suffix = damaged.name.split(".")
        try:
            damaged.with_name(f"{key}.{int(number) + 1}.{suffix}").touch(mode=0o600)
        except OSError:
            self._readable = self._writable = False  # a folder that may only be read
            return
        _remove(damaged)

    def _prune(self) -> None:
        """Remove the oldest words of all encoders until the rest is within ``MAX_BYTES``."""
        from clsclip_runtime.text import database

        paths = _databases(self._folder)
        if sum(_size(path) for path in paths) > MAX_BYTES:
            for path in database.keep_within(paths, MAX_BYTES):
                self._replace(path)

    def _pack(self, word: str, encoded: EncodedWord) -> Row:
        from clsclip_runtime.text.database import Row

        arrays = b"".join(np.asarray(encoded.arrays[one.name], "<f4").tobytes() for one in self._features)
        truncated = int(encoded.truncated)
        return Row(word, truncated, self._layout, _checksum(word, truncated, arrays), arrays)

    def _unpack(self, row: Row) -> EncodedWord | None:
        """The word of a row; None where anything about it is not as it was written or should be."""
        if row.layout != self._layout or not isinstance(row.arrays, bytes):
            return None
        if len(row.arrays) != sum(one.bytes for one in self._features):
            return None
        if row.checksum != _checksum(row.word, row.truncated, row.arrays):
            return None
        values = np.frombuffer(row.arrays, "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            return None
        arrays = {
            one.name: values[part].reshape(one.shape) for one, part in zip(self._features, self._slices, strict=True)
        }
        return EncodedWord(arrays, bool(row.truncated))


def word_files(cache: Path) -> list[Path]:
    """Every file of encoded words in a cache folder, SQLite's logs too."""
    all_files = [path.with_name(path.name + one) for path in _databases(cache / WORDS) for one in _LOGS]
    return [path for path in all_files if exists(path)]


_NAME = re.compile(r"[0-9a-zA-Z_-]+\.[0-9]{1,9}\.sqlite")


def _databases(folder: Path, key: str | None = None) -> list[Path]:
    """The databases of a text encoder, or of all of them."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    return [path for path in paths if _NAME.fullmatch(path.name) and key in (None, path.name.split(".")[0])]


def _size(path: Path) -> int:
    """Bytes of a database and what is still in its log."""
    total = 0
    for suffix in ("", "-wal"):
        with suppress(OSError):
            total += path.with_name(path.name + suffix).stat().st_size
    return total


def _remove(path: Path) -> None:
    """Remove a database and its logs, as far as that is possible."""
    for suffix in _LOGS:
        with suppress(OSError):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _checksum(word: str, truncated: int, arrays: bytes) -> int:
    """CRC-32 of a word and its arrays: SQLite does not notice damage inside a row."""
    return zlib.crc32(arrays, zlib.crc32(f"{word}\0{truncated}".encode()))


def _key(bundle: Bundle, engine: str) -> str:
    """All that an encoded word depends on, as one name."""
    files, text = bundle.manifest.files, bundle.manifest.text
    names = [*bundle.digests(TEXT_ENCODER), TOKENIZER]
    parts = {
        "files": [files[name].sha256 for name in names],
        "templates": list(text.templates),
        "length": [text.context_length, text.pad_token_id],
        "features": [[one.name, list(one.shape), one.dtype, one.unit_norm] for one in text.features],
        "engine": engine,
        "format": _FORMAT,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
