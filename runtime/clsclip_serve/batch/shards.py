"""The output: a folder of Parquet files, each written as a whole. What it holds says what is left to do."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clsclip_runtime import system
from clsclip_runtime.documents import parse_json
from clsclip_runtime.errors import OptionError, OutputError
from clsclip_runtime.paths import make_folder, write_bytes
from clsclip_serve.batch.job import digest
from clsclip_serve.batch.places import Place, RemoteError
from clsclip_serve.batch.schema import SCHEMA

META = b"clsclip"
"""Key of a file's metadata: what the table is made of, as JSON."""

DAMAGED = "_damaged-"
"""Before the names of damaged files: readers of tables pass over names that begin so."""

MOST_BYTES = 64 << 20
"""Of the rows of a file, in memory."""

ABOUT = "_clsclip.json"
"""Tells people what the table is made of; written first, so that a place that takes nothing is found at once."""

BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "tos"}
"""File systems without folders; making one there would make a bucket."""

_NAME = re.compile(r"part-[0-9a-f]{8}-[0-9]{6}-([0-9a-f]{16})\.parquet")
"""Run, number, and the beginning of the content's SHA-256: checksums of pages leave out their headers."""


@dataclass
class Held:
    """What an output folder holds.

    Attributes:
        files: names of its files, with their rows.
        done: names of images that have a row.
        errors: how many of those have an error.
        notes: for the user: damaged files, rows that came twice.
    """

    files: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    errors: int = 0
    notes: list[str] = field(default_factory=list)


def read_held(out: Place, made_of: Mapping[str, Any], *, retry_errors: bool = False) -> Held:
    """Read every file of a table that was begun, page by page, so that damage anywhere in it is found.

    Damaged files get another name, and their images are to be done again. Rows that came twice, and with
    ``retry_errors`` those with an error, are taken out.

    Raises:
        OptionError: the folder holds another table, or files of other programs.
        OutputError: it cannot be read or written.
    """
    held = Held()
    for name in list_files(out):
        if not _NAME.fullmatch(name):
            raise OptionError(f"{out.address} holds {name}, which is not of this command. Give another --out")
        file = out.inside(name)
        table = _table(file)
        if isinstance(table, str):
            _attempt(file, partial(file.fs.mv, file.path, out.inside(DAMAGED + name).path))
            held.notes.append(
                f"{file.address} is damaged ({table}): it is now {DAMAGED}{name}, its images are done again"
            )
            continue
        _same(out, made_of, table.schema.metadata)
        names = table.column("path").to_pylist()
        failed = pc.is_valid(table.column("error")).to_pylist()
        seen: set[str] = set()
        first = [not (one in held.done or one in seen or seen.add(one)) for one in names]  # type: ignore[func-returns-value]
        kept = [new and not (retry_errors and bad) for new, bad in zip(first, failed, strict=True)]
        if not all(first):
            held.notes.append(f"{file.address} had {first.count(False):,} rows twice; they were taken out")
        if not all(kept):
            table = table.filter(pa.array(kept))
            if not len(table):
                _attempt(file, partial(file.fs.rm, file.path))
                continue
            old, name = file, _named(name[:20], content := _content(table))
            _put(out.inside(name), content)
            _attempt(old, partial(old.fs.rm, old.path))
        held.files[name] = len(table)
        held.done.update(table.column("path").to_pylist())
        held.errors += sum(bad for bad, keep in zip(failed, kept, strict=True) if keep)
    return held


def list_files(out: Place) -> list[str]:
    """Names of the Parquet files of a folder; none where there is none. OutputError if it cannot be read."""
    out.fs.invalidate_cache()
    try:
        found = out.attempt(partial(out.fs.ls, out.path, detail=False))
    except FileNotFoundError:
        return []
    except RemoteError as error:
        raise OutputError(f"cannot read {out.address}: {error}") from error
    names = sorted(str(one).rstrip("/").rpartition("/")[2] for one in found)
    return [name for name in names if name.endswith(".parquet") and not name.startswith(("_", "."))]


def open_table(name: str, content: bytes) -> Any:
    """A file of a table. ValueError if it is not what was written under this name."""
    named = _NAME.fullmatch(name)
    if named is not None and hashlib.sha256(content).hexdigest()[:16] != named[1]:
        raise ValueError("it is not what was written")
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)


def made_of_table(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any] | None:
    """What a table was made of, from a file's metadata; None if it is of another program."""
    try:
        found = parse_json((metadata or {})[META])
    except (KeyError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class Writer:
    """Collects rows and writes files of them.

    Attributes:
        files: names of the files that were written, with their rows.
    """

    def __init__(self, out: Place, made_of: Mapping[str, Any], *, rows: int = 1000, seconds: float = 60.0) -> None:
        """Write to ``out``.

        Args:
            out: the folder, which is made if need be.
            made_of: of the table.
            rows: of a file.
            seconds: after which a file is written although it has fewer; what is in memory is lost when the process
                is killed.

        Raises:
            OutputError: the folder cannot be made.
        """
        self._out, self._rows, self._seconds = out, rows, seconds
        self._schema = SCHEMA.with_metadata({META: json.dumps(made_of, sort_keys=True)})
        self._run = secrets.token_hex(4)
        self._waiting: list[dict[str, Any]] = []
        self._bytes, self._since = 0, 0.0
        self.files: dict[str, int] = {}
        if out.is_local:
            make_folder(Path(out.path))
        elif not BUCKETS.intersection(_protocols(out.fs)):
            _attempt(out, partial(out.fs.makedirs, out.path, exist_ok=True))

    def begin(self) -> None:
        """Write what the table is made of. OutputError if that cannot be."""
        made_of = parse_json(self._schema.metadata[META])
        _put(self._out.inside(ABOUT), json.dumps(made_of, indent=1, ensure_ascii=False).encode())

    def add(self, row: dict[str, Any]) -> None:
        """Take a row, and write a file if it is time. OutputError if that cannot be."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(row)
        self._bytes += 200 + sum(100 + len(one["counts"]) for one in row["annotations"])
        if len(self._waiting) >= self._rows or self._bytes >= MOST_BYTES:
            self.flush()
        else:
            self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what has waited long enough. OutputError if that cannot be."""
        if self._waiting and time.monotonic() - self._since >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Write what waits. OutputError if that cannot be; it waits no more then."""
        rows, self._waiting, self._bytes = sorted(self._waiting, key=lambda row: row["path"]), [], 0
        if rows:
            content = _content(pa.Table.from_pylist(rows, self._schema))
            name = _named(f"part-{self._run}-{len(self.files):06}", content)
            try:
                _put(self._out.inside(name), content)
            except OutputError as error:
                raise OutputError(f"{error}. {self._kept()}; the same command does the rest") from error
            self.files[name] = len(rows)

    def _kept(self) -> str:
        """What became of the files that this run wrote."""
        try:
            there = set(list_files(self._out))
        except OutputError:
            return f"{sum(self.files.values()):,} rows of this run were written before"
        kept = [count for name, count in self.files.items() if name in there]
        gone = len(self.files) - len(kept)
        more = f", and {gone} files that it wrote are not there any more" if gone else ""
        return f"{sum(kept):,} rows of this run are kept{more}"

    def check(self, held: Mapping[str, int]) -> None:
        """Look whether all files are there still. OutputError if not."""
        gone = sorted({*held, *self.files} - set(list_files(self._out)))
        if gone:
            raise OutputError(
                f"{len(gone)} of the files that were in {self._out.address} are not there any more ({gone[0]}, ...): "
                "something else removed them. Run the same command again: their images are done again"
            )


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


class Lock:
    """Of a local output folder, until the end of the process. Other file systems have none."""

    def __init__(self, out: Place, name: str) -> None:
        """Lock it. OptionError if another process has it."""
        self._path = Path(out.path) / f".clsclip-batch-{name}.lock"
        self._number: int | None = None
        if not out.is_local:
            return
        try:
            self._number = system.append(self._path)
        except OSError as error:
            raise OutputError(f"cannot write to {out.address}: {error.strerror or error}. Change --out") from error
        if system.lock(self._number) is False:
            raise OptionError(f"another clsclip-batch writes to {out.address}. Wait for it, or give another --out")

    def release(self) -> None:
        """Unlock."""
        if self._number is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._number)
            self._number = None


def _table(file: Place) -> Any:
    """All rows of a file; a text that says what is wrong with it if it is damaged."""
    content = _attempt(file, partial(file.fs.cat_file, file.path))
    try:
        with open_table(file.path.rpartition("/")[2], content) as parquet:
            if made_of_table(parquet.schema_arrow.metadata) is None:
                raise OptionError(f"{file.address} is of another program. Give another --out")
            return parquet.read()
    except OptionError:
        raise
    except Exception as error:  # whatever pyarrow says of bytes that it cannot make sense of
        return (
            f"{len(content):,} bytes, {str(error).splitlines()[0][:100]}" if str(error) else f"{len(content):,} bytes"
        )


def _same(out: Place, made_of: Mapping[str, Any], metadata: Mapping[bytes, bytes] | None) -> None:
    found = made_of_table(metadata) or {}
    if digest(found) != digest(made_of):
        differs = sorted(
            key for key in {*found, *made_of} if found.get(key) != parse_json(json.dumps(made_of)).get(key)
        )
        raise OptionError(
            f"{out.address} holds a table of other masks: it differs in {', '.join(differs)}. Give another --out, or "
            "the same question as before"
        )


def _content(table: Any) -> bytes:
    """A table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _named(start: str, content: bytes) -> str:
    return f"{start}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"


def _put(file: Place, content: bytes) -> None:
    if file.is_local:
        write_bytes(Path(file.path), content, sync=True)
        return
    _attempt(file, partial(file.fs.pipe_file, file.path, content))


def _attempt(file: Place, run: Callable[[], Any]) -> Any:
    try:
        return file.attempt(run)
    except (FileNotFoundError, RemoteError) as error:
        full = getattr(error, "number", None) in (errno.ENOSPC, errno.EDQUOT)
        advice = "Make room" if full else "Look whether it is there, and whether you may write to it"
        raise OutputError(f"cannot use {file.address}: {error}. {advice}") from error
