"""The word cache among other processes: together, killed, and in folders that do not allow all."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from clsclip_runtime.text import database
from clsclip_runtime.text.encoded import EncodedWord
from tests.runtime.text.words_on_disk import cache_in, check, files, word, words_of

WRITER = """
import sys
from pathlib import Path
from tests.runtime.text.words_on_disk import cache_in, word
folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for at in range(count):
    cache = cache_in(folder)
    cache.write({f"{name}{at}": word(at)})
    assert cache.take_notes() == ()
    print(at, flush=True)
"""


def writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_eight_processes_that_write_together_lose_nothing(tmp_path: Path) -> None:
    running = [writer(tmp_path / "words", name, 15) for name in "abcdefgh"]
    for one in running:
        _, problems = one.communicate(timeout=300)
        assert one.returncode == 0, problems
    expected = {f"{name}{at}": word(at) for name in "abcdefgh" for at in range(15)}
    check(cache_in(tmp_path / "words").read(list(expected)), expected)
    assert [path.name for path in files(tmp_path)] == ["key.0.sqlite"]


def test_killed_writers_lose_nothing_that_was_committed(tmp_path: Path) -> None:
    chance = random.Random(5)
    told: dict[str, EncodedWord] = {}
    for turn in range(2):
        running = {name: writer(tmp_path, f"{name}{turn}-", 100_000) for name in "xy"}
        for one in running.values():
            assert one.stdout is not None
            assert one.stdout.readline() == "0\n"
        time.sleep(chance.uniform(0.05, 0.4))
        for one in running.values():
            os.kill(one.pid, signal.SIGKILL)
        for name, one in running.items():
            out, _ = one.communicate(timeout=60)
            last = max((int(line) for line in out.split("\n")[:-1]), default=0)
            told |= {f"{name}{turn}-{at}": word(at) for at in range(last + 1)}
        cache = cache_in(tmp_path)
        check(cache.read(list(told)), told)
        assert cache.take_notes() == ()
    assert len(told) > 4
    cache_in(tmp_path).write(words_of(1))
    assert [path.name for path in files(tmp_path)] == ["key.0.sqlite"]
    with sqlite3.connect(tmp_path / "key.0.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_eight_processes_find_a_damaged_file_together(tmp_path: Path) -> None:
    """Each says so at most once, one new file is begun, and what is written into it stays."""
    (tmp_path / "key.0.sqlite").write_bytes(b"\xff" * 9000)
    code = WRITER.replace("    assert cache.take_notes() == ()\n", "    assert len(cache.take_notes()) <= (at == 0)\n")
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen([*command, name, "6"], stderr=subprocess.PIPE, text=True) for name in "abcdefgh"]
    for one in running:
        _, problems = one.communicate(timeout=300)
        assert one.returncode == 0, problems
    expected = {f"{name}{at}": word(at) for name in "abcdefgh" for at in range(6)}
    check(cache_in(tmp_path).read(list(expected)), expected)
    assert [path.name for path in files(tmp_path)] == ["key.1.sqlite"]


def test_what_another_process_replaces_between_choice_and_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word goes into the new file, and the old name does not come back."""
    damaged = tmp_path / "key.0.sqlite"
    damaged.write_bytes(b"\xff" * 9000)
    write = database.write

    def late(path: Path, rows: Sequence[database.Row]) -> None:
        monkeypatch.setattr(database, "write", write)
        cache_in(tmp_path).write({"other": word(1)})
        write(path, rows)

    monkeypatch.setattr(database, "write", late)
    cache = cache_in(tmp_path)
    cache.write({"own": word(2)})
    assert cache.take_notes() == ()
    check(cache_in(tmp_path).read(["own", "other"]), {"own": word(2), "other": word(1)})
    assert [path.name for path in files(tmp_path)] == ["key.1.sqlite"]


class WithoutWal(sqlite3.Connection):
    """A file system on which write-ahead logging fails with an error, as on some networks."""

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql == "PRAGMA journal_mode = WAL":
            raise sqlite3.OperationalError("locking protocol")
        return super().execute(sql, *parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["refused", "no shared memory"])
def test_a_rollback_journal_where_logs_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    def connect(path: Path, mode: str) -> sqlite3.Connection:
        address = f"{path.as_uri()}?{mode}"
        if how == "refused":
            return sqlite3.connect(address, isolation_level=None, uri=True, factory=WithoutWal)
        return sqlite3.connect(f"{address}&vfs=unix-dotfile", isolation_level=None, uri=True)

    with monkeypatch.context() as patch:
        patch.setattr(database, "connect", connect)
        cache = cache_in(tmp_path)
        cache.write(words_of(3))
        cache.write(words_of(3, 2))
        check(cache.read(["w0", "w4"]), {"w0": word(0), "w4": word(4)})
        assert cache.take_notes() == ()
    connection = sqlite3.connect(tmp_path / "key.0.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_logs_ahead_where_the_folder_allows_them(tmp_path: Path) -> None:
    cache_in(tmp_path).write(words_of(1))
    connection = sqlite3.connect(tmp_path / "key.0.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="clsclip-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt", reason="permissions of folders are another matter there")
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_folder_that_may_only_be_read_is_read(public_folder: Path, mode: str) -> None:
    folder = public_folder / "words"
    cache_in(folder).write(words_of(3))
    if mode == "delete":
        connection = sqlite3.connect(files(folder)[0])
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
    for path in (folder, *files(folder)):
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = (
        "import os, sys, clsclip_runtime.text.database\n"
        "from pathlib import Path\n"
        "from tests.runtime.text.words_on_disk import cache_in, check, words_of\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "cache = cache_in(Path(sys.argv[1]))\n"
        "check(cache.read(['w0', 'w2', 'w7']), {k: v for k, v in words_of(3).items() if k != 'w1'})\n"
        "assert cache.take_notes() == ()\n"
        "cache.write(words_of(1, 7))\n"
        "(note,) = cache.take_notes()\n"
        "assert 'cannot be kept' in note, note\n"
        "check(cache.read(['w0', 'w7']), words_of(1))\n"
        "cache.write(words_of(1, 8))\n"
        "assert cache.take_notes() == ()\n"
    )
    before = {path: path.read_bytes() for path in files(folder)}
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in files(folder)} == before
    folder.chmod(0o755)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No page more than the file has: SQLite says what it says on a full disk."""
    cache = cache_in(tmp_path)
    cache.write(words_of(3))

    def connect(path: Path, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{path.as_uri()}?{mode}", isolation_level=None, uri=True)
        connection.execute("PRAGMA max_page_count = 4")
        return connection

    monkeypatch.setattr(database, "connect", connect)
    cache.write(words_of(1000, 3))
    (note,) = cache.take_notes()
    assert "disk is full" in note
    check(cache.read(["w0", "w1", "w2", "w3"]), words_of(3))


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.runtime.text.words_on_disk import cache_in, check, words_of\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "cache = cache_in(Path(sys.argv[1]))\n"
        "cache.write(words_of(20))\n"
        "assert cache.take_notes() == ()\n"
        "cache.write(words_of(5000, 20))\n"
        "(note,) = cache.take_notes()\n"
        "assert 'cannot be kept' in note, note\n"
        "check(cache.read(['w0', 'w19', 'w20']), {k: v for k, v in words_of(20).items() if k in ('w0', 'w19')})\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cache_in(tmp_path).write(words_of(30))
    check(cache_in(tmp_path).read([f"w{at}" for at in range(31)]), words_of(30))


def test_a_file_that_another_process_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.05)
    cache = cache_in(tmp_path)
    cache.write(words_of(2))
    holder = sqlite3.connect(tmp_path / "key.0.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    check(cache.read(["w0"]), words_of(1))
    cache.write(words_of(1, 5))
    (note,) = cache.take_notes()
    assert "locked" in note
    check(cache.read(["w1", "w5"]), words_of(1, 1))
    holder.close()
