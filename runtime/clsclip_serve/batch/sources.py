"""Where images come from: a file, a folder, a pattern, a list of addresses, or Parquet shards with encoded images."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clsclip_runtime.errors import ImageError, one_line
from clsclip_runtime.images import SUFFIXES
from clsclip_runtime.paths import readable
from clsclip_serve.batch.places import Place, RemoteError, join, why

MOST_BYTES = 512 << 20
"""Of an encoded image."""

_PATHS = ("path", "file_name", "filename", "name", "url", "key")
_CONTENTS = ("bytes", "image", "content", "data", "jpg", "png")
_AT_ONCE = 16
"""Rows of a Parquet file that are in memory at once."""


@dataclass(frozen=True)
class Chunk:
    """Images that one process takes at a time.

    Attributes:
        names: of the images, as in the table.
        file, group, rows: of images in a Parquet file, the row group and the rows in it; else empty.
    """

    names: tuple[str, ...]
    file: str = ""
    group: int = 0
    rows: tuple[int, ...] = ()

    def without(self, done: Collection[str]) -> Chunk:
        """The images that are not done."""
        kept = [at for at, name in enumerate(self.names) if name not in done]
        rows = tuple(self.rows[at] for at in kept) if self.file else ()
        return Chunk(tuple(self.names[at] for at in kept), self.file, self.group, rows)


@dataclass(frozen=True)
class Source:
    """Images below an address.

    Attributes:
        root: the folder that names are relative to; empty for lists of addresses.
        columns: of Parquet files, those of names and of contents; None where images are files.
        chunks: all of it, in order.
        notes: what was left out.
    """

    root: str
    columns: tuple[str, str] | None = None
    chunks: tuple[Chunk, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> Iterator[str]:
        """Of all images."""
        return (name for chunk in self.chunks for name in chunk.names)

    def left(self, done: Collection[str], size: int) -> list[Chunk]:
        """The chunks that are still to do, of at most ``size`` images where those are files."""
        rest = [left for chunk in self.chunks if (left := chunk.without(done)).names]
        if self.columns is not None:
            return rest
        names = [name for chunk in rest for name in chunk.names]
        return [Chunk(tuple(names[at : at + size])) for at in range(0, len(names), size)]

    def reader(self) -> Reader:
        """What reads the images, in any process."""
        return Reader(self.root, self.columns)


@dataclass(frozen=True)
class Reader:
    """Reads the images of chunks; see ``Source`` for the attributes."""

    root: str
    columns: tuple[str, str] | None = None

    def contents(self, chunk: Chunk) -> Iterator[tuple[str, bytes | Exception]]:
        """The encoded images one after another; an error in place of one that cannot be had."""
        if self.columns is None:
            place = Place.from_address(self.root) if self.root else None
            for name in chunk.names:
                yield name, self.content(place, name)
            return
        yield from self._of_parquet(chunk)

    def content(self, root: Place | None, name: str) -> bytes | Exception:
        """One file."""
        try:
            place = Place.from_address(name) if root is None else root.inside(name)
            return place.attempt(lambda: _bounded(place))
        except FileNotFoundError:
            return ImageError(f"cannot read {readable(name)}: there is no such file")
        except Exception as error:
            return RemoteError(f"cannot read {readable(name)}: {why(error)}")

    def _of_parquet(self, chunk: Chunk) -> Iterator[tuple[str, bytes | Exception]]:
        wanted = dict(zip(chunk.rows, chunk.names, strict=True))
        given = set()
        try:
            place = Place.from_address(chunk.file)
            column = (self.columns or ("", ""))[1]
            with place.fs.open(place.path, "rb") as file, pq.ParquetFile(file) as parquet:
                row = -1
                for part in parquet.iter_batches(_AT_ONCE, row_groups=[chunk.group], columns=[column]):
                    for value in part.column(0):
                        row += 1
                        if row in wanted:
                            given.add(row)
                            yield wanted[row], _content(value)
        except Exception as error:  # of this file, or of the file system
            for row, name in wanted.items():
                if row not in given:
                    yield name, RemoteError(f"cannot read {readable(name)}: {chunk.file}: {why(error)}")


def find_images(address: str, *, share: tuple[int, int] = (1, 1)) -> Source:
    """List what an address means.

    Args:
        address: a file; a folder, with its sub-folders; a pattern; a ``.txt`` with an address on every line; a Parquet
            file, or a folder or pattern of them. On any file system that fsspec knows.
        share: (i, n) takes the i-th of n parts, which are told apart by the names of images.

    Raises:
        OptionError: there is no such file system, or its package is not installed.
        ImageError: there is nothing, it cannot be listed, or Parquet files have no images.
    """
    place = Place.from_address(address)
    notes: list[str] = []
    try:
        root, files = place.attempt(lambda: _listed(place))
    except FileNotFoundError as error:
        raise ImageError(f"there is no {place.address}. Give a folder, a pattern or an address") from error
    except RemoteError as error:
        raise ImageError(f"cannot list {place.address}: {error}") from error
    tables = sorted(name for name in files if name.endswith(".parquet"))
    images = sorted(name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES or files == [name])
    if tables:
        if len(tables) < len(files):
            notes.append(f"{len(files) - len(tables):,} files that are not .parquet were left out")
        return _of_tables(Place(place.fs, root.path, root.address), tables, share, notes)
    if files and files == images and files[0].endswith(".txt"):
        return Source("", None, _shared(_addresses(root.inside(files[0])), share), notes)
    if not images:
        raise ImageError(f"{place.address} has no images: no file ends with {', '.join(sorted(SUFFIXES)[:6])}, ...")
    if len(images) < len(files):
        notes.append(f"{len(files) - len(images):,} files that are no images by their names were left out")
    return Source(root.full, None, _shared(images, share), notes)


def _listed(place: Place) -> tuple[Place, list[str]]:
    """The folder of an address, and the files in it that are meant, relative to it."""
    fs, path = place.fs, place.path
    if any(mark in path for mark in "*?["):
        fixed = re.split(r"[*?\[]", path)[0].rpartition("/")[0]
        cut = re.split(r"[*?\[]", place.address)[0].rpartition("/")[0]
        found = [one for one, info in fs.glob(path, detail=True).items() if info["type"] == "file"]
        root = Place(fs, fixed, cut)
    elif fs.isdir(path):
        root = place
        found = _walked(path) if place.is_local else list(fs.find(path))
    else:
        fs.info(path)  # absent, or refused
        root = Place(fs, path.rpartition("/")[0], place.address.rpartition("/")[0])
        found = [path]
    start = f"{root.path.rstrip('/')}/"
    return root, [one.removeprefix(start).lstrip("/") for one in found]


def _walked(folder: str) -> list[str]:
    """Files of a local folder, without a dictionary for each."""

    def refuse(error: OSError) -> None:
        raise error

    return [join(at, name) for at, _, files in os.walk(folder, onerror=refuse) for name in files]


def _addresses(place: Place) -> list[str]:
    text = place.attempt(lambda: _bounded(place)).decode("utf-8", "replace")
    found = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return list(dict.fromkeys(found))


def _shared(names: Iterable[str], share: tuple[int, int]) -> tuple[Chunk, ...]:
    return (Chunk(tuple(name for name in names if in_share(name, share))),)


def in_share(name: str, share: tuple[int, int]) -> bool:
    """Whether an image is of the i-th of n parts, (i, n); the same everywhere and for ever."""
    return zlib.crc32(readable(name).encode()) % share[1] == share[0] - 1


def _of_tables(root: Place, files: list[str], share: tuple[int, int], notes: list[str]) -> Source:
    chunks: list[Chunk] = []
    seen: set[str] = set()
    columns: tuple[str, str] | None = None
    twice = 0
    for file in files:
        place = root.inside(file)
        try:
            with place.fs.open(place.path, "rb") as opened, pq.ParquetFile(opened) as parquet:
                columns = columns or _columns(parquet.schema_arrow, place.address)
                for group in range(parquet.num_row_groups):
                    names = _names(parquet, group, columns[0], file)
                    rows = []
                    for row, name in enumerate(names):
                        twice += name in seen
                        if name not in seen and in_share(name, share):
                            rows.append(row)
                        seen.add(name)
                    kept = tuple(names[row] for row in rows)
                    chunks.append(Chunk(kept, place.full, group, tuple(rows)))
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(f"cannot read {place.address}: {why(error)}") from error
    if twice:
        notes.append(f"{twice:,} rows have a name that another row has, and were left out: the first of a name counts")
    return Source(root.full, columns, tuple(chunks), notes)


def _columns(schema: Any, address: str) -> tuple[str, str]:
    """The columns of names (empty if there are none) and of contents."""
    binary = [one.name for one in schema if pa.types.is_binary(one.type) or pa.types.is_large_binary(one.type)]
    structs = [one.name for one in schema if pa.types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0]
    fitting = [name for name in _CONTENTS if name in (*binary, *structs)] or binary or structs
    if not fitting:
        raise ImageError(f"{address} has no column of encoded images. It needs one of bytes, such as: bytes")
    names = [name for name in _PATHS if name in schema.names and pa.types.is_string(schema.field(name).type)]
    return (names[0] if names else ""), fitting[0]


def _names(parquet: Any, group: int, column: str, file: str) -> list[str]:
    """Of the images of a row group; where there is no name, the file's and the row's number."""
    count = parquet.metadata.row_group(group).num_rows
    before = sum(parquet.metadata.row_group(one).num_rows for one in range(group))
    given: list[str | None] = [None] * count
    if column:
        given = parquet.read_row_group(group, columns=[column]).column(0).to_pylist()
    return [name if name else f"{file}#{before + row}" for row, name in enumerate(given)]


def _content(value: Any) -> bytes | Exception:
    found = value.as_py()
    if isinstance(found, dict):
        found = found.get("bytes")
    if not isinstance(found, bytes):
        return ImageError("the row has no image")
    return found if len(found) <= MOST_BYTES else ImageError(one_line(f"the image has {len(found):,} bytes"))


def _bounded(place: Place) -> bytes:
    """A file's content. OSError if it is larger than an image may be."""
    with place.fs.open(place.path, "rb", **({} if place.is_local else {"cache_type": "none"})) as file:
        content: bytes = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(f"it is over {MOST_BYTES >> 20} MiB")
    return content
