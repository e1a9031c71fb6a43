"""Encoded words in SQLite: one file, read and written by many processes at once.

Every function opens the file and closes it again, so that a process may fork at any time, and that the last one leaves
the file alone in its folder. Words are committed together or not at all: a process that is killed while it writes loses
only what it had not committed. Files use write-ahead logging where the folder allows it, else a rollback journal.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

WAIT_SECONDS = 20.0
"""How long a process waits for others that write."""

_TABLE = """
CREATE TABLE IF NOT EXISTS words (
    id INTEGER PRIMARY KEY,
    word TEXT NOT NULL UNIQUE,
    written INTEGER NOT NULL,
    truncated INTEGER NOT NULL,
    layout TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    arrays BLOB NOT NULL
)
"""
_WORDS_A_QUERY = 500
_SHARE_A_STEP = 8


class DamagedError(Exception):
    """The file is no database, or SQLite finds it damaged."""


class UnusableError(Exception):
    """The file cannot be opened, read, locked or written."""


class Row(NamedTuple):
    """One word: the arrays as bytes, and what they must be to be used."""

    word: str
    truncated: int
    layout: str
    checksum: int
    arrays: bytes


def read(path: Path, words: Sequence[str]) -> list[Row]:
    """The rows of those of ``words`` that are there.

    Raises:
        DamagedError, UnusableError: see there.
    """
    try:
        with _open(path, "mode=rw") as connection:
            return _select(connection, words)
    except UnusableError:
        # A folder that may only be read has no place for the log's index. Without a log the file is all there is.
        try:
            with _open(path, "mode=ro&immutable=1") as connection:
                return _select(connection, words)
        except DamagedError as error:  # perhaps half written, and it cannot be replaced
            raise UnusableError(str(error)) from error


def write(path: Path, rows: Sequence[Row]) -> None:
    """Add rows or replace them, and commit. The file must be there: an empty one is an empty database.

    Raises:
        DamagedError, UnusableError: see there.
    """
    with _open(path, "mode=rw") as connection:  # never made here: one that others have replaced would come back
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file alone
        with suppress(sqlite3.OperationalError):  # the folder does not allow it, or others use the file just now
            connection.execute("PRAGMA journal_mode = WAL")
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            connection.execute("PRAGMA synchronous = NORMAL")  # the log is synced at checkpoints: no file is damaged
        with _transaction(connection):
            connection.execute(_TABLE)
            connection.executemany(
                "INSERT OR REPLACE INTO words (word, written, truncated, layout, checksum, arrays)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [(one.word, time.time_ns(), one.truncated, one.layout, one.checksum, one.arrays) for one in rows],
            )


def keep_within(paths: Sequence[Path], limit: int) -> list[Path]:
    """Delete the oldest words of all files until the rest is within ``limit`` bytes; give the files that are damaged.

    Files that cannot be opened or written are left out: nothing can be done about them.
    """
    damaged: list[Path] = []
    sizes: dict[Path, int] = {}
    ages: dict[Path, int] = {}  # of the files that have words

    def attempt(path: Path, connection: sqlite3.Connection, *, delete: bool) -> None:
        sizes.pop(path, None)
        ages.pop(path, None)
        try:
            if delete:
                _delete_oldest(connection)
            size, oldest = _live_bytes(connection), _oldest(connection)
            sizes[path] = size
            if oldest is not None:
                ages[path] = oldest
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if _is_damage(error):
                damaged.append(path)

    with ExitStack() as stack:
        files: dict[Path, sqlite3.Connection] = {}
        for path in paths:
            with suppress(sqlite3.Error):
                files[path] = stack.enter_context(closing(connect(path, "mode=rw")))
                attempt(path, files[path], delete=False)
        while ages and sum(sizes.values()) > limit:
            path = min(ages, key=lambda path: ages[path])
            attempt(path, files[path], delete=True)
    return damaged


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file; in its own function so that tests can open it in other ways."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", timeout=WAIT_SECONDS, isolation_level=None, uri=True)


@contextmanager
def _open(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    try:
        with closing(connect(path, mode)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")  # damaged text is compared, too
            yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise (DamagedError if _is_damage(error) else UnusableError)(str(error)) from error


def _is_damage(error: Exception) -> bool:
    """Whether the content of the file is wrong, and not its place or its time."""
    if not isinstance(error, sqlite3.OperationalError):
        return True  # UnicodeDecodeError comes from messages of SQLite that quote what is damaged
    return any(one in str(error) for one in ("no such", "has no column", "unsupported file format", "syntax error"))


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or undo it. The lock is taken first: later it would fail instead of waiting."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some errors have undone it already
            connection.execute("ROLLBACK")
        raise


def _select(connection: sqlite3.Connection, words: Sequence[str]) -> list[Row]:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone() is None:
        return []  # a process has made the file just now
    found = []
    for start in range(0, len(words), _WORDS_A_QUERY):
        asked = words[start : start + _WORDS_A_QUERY]
        marks = ", ".join("?" * len(asked))
        query = f"SELECT word, truncated, layout, checksum, arrays FROM words WHERE word IN ({marks})"  # noqa: S608
        found += [Row(*row) for row in connection.execute(query, list(asked))]
    return found


def _delete_oldest(connection: sqlite3.Connection) -> None:
    """Delete a share of the words, those that were written first, and give their pages back."""
    with _transaction(connection):
        (count,) = connection.execute("SELECT count(*) FROM words").fetchone()
        step = max(1, count // _SHARE_A_STEP)
        connection.execute("DELETE FROM words WHERE id IN (SELECT id FROM words ORDER BY id LIMIT ?)", (step,))
    connection.executescript("PRAGMA incremental_vacuum")  # execute() would free a few pages alone
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _live_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the pages that are in use."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _oldest(connection: sqlite3.Connection) -> int | None:
    """When the oldest word was written, in nanoseconds; None where there is no word."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone() is None:
        return None
    row = connection.execute("SELECT written FROM words ORDER BY id LIMIT 1").fetchone()
    return None if row is None else int(row[0])
