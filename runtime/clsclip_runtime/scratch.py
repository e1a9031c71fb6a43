"""Files and folders under a temporary name beside what they become: random, new, and locked while they are in use.

A process that is killed leaves them behind. The next one that writes to the same folder sweeps them: what nobody locks
any more has no owner.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from clsclip_runtime import system

_NAME = re.compile(r"\.clsclip-[0-9a-f]{16}\.part(\.[0-9A-Za-z]{1,8})?")
_OLD_S = 24 * 3600.0
"""Where there are no locks, what was not changed for so long has no owner."""

_TRIES = 100

_Number = TypeVar("_Number", int, "int | None")


def is_scratch(name: str) -> bool:
    """Whether a file or folder of this name is of this module."""
    return _NAME.fullmatch(name) is not None


class PartFile:
    """A new file that takes the name ``path`` when it is complete.

    Attributes:
        file: to write to, and to read back.
        part: where it is until then.
    """

    def __init__(self, path: Path) -> None:
        """Make the file beside ``path``. OSError if that is not possible."""
        self._path = path
        self.part, number = _locked(path, path.suffix, system.create)
        self.file: IO[bytes] = os.fdopen(number, "wb+")
        # Closing tells the last errors, and must come before the file is renamed; the lock must stay until after that.
        self._lock: int | None = os.dup(number)

    def keep(self, *, sync: bool = False) -> None:
        """Close the file and give it its name; ``sync`` waits until the content is on the disk. OSError."""
        try:
            self.file.flush()
            if sync:
                os.fsync(self.file.fileno())
            self.file.close()
            self.part.replace(self._path)
        finally:
            self._unlock()

    def discard(self) -> None:
        """Remove the file unless it was kept; harmless when repeated."""
        try:
            # What waits in its buffer is told by OSError, and is of no use any more.
            with contextlib.suppress(OSError):
                self.file.close()
            self.part.unlink(missing_ok=True)
        finally:
            self._unlock()

    def _unlock(self) -> None:
        number, self._lock = self._lock, None
        if number is not None:
            os.close(number)


@contextmanager
def part_folder(path: Path) -> Iterator[Path]:
    """Give a new folder beside ``path``; what has its name at the end is removed, be it this folder or another.

    So it may be renamed to ``path``, or swapped with it (``system.exchange``), at any moment. OSError if it cannot be
    made.
    """

    def make(part: Path) -> int | None:
        part.mkdir()
        try:
            return os.open(part, os.O_RDONLY)
        except PermissionError:
            return None  # Windows opens no folders

    part, number = _locked(path, "", make)
    try:
        yield part
    finally:
        try:
            _remove(part)
        finally:
            if number is not None:
                os.close(number)


def sweep(folder: Path) -> int:
    """Remove what killed processes left in ``folder``, and return how many that were.

    What is in use, of another user, or cannot be removed stays. A folder that is not there has nothing to sweep.
    """
    count = 0
    try:
        names = [one.name for one in os.scandir(folder) if is_scratch(one.name)]
    except OSError:
        return 0
    for name in names:
        with contextlib.suppress(OSError):
            count += _sweep(folder / name)
    return count


def _sweep(path: Path) -> bool:
    found = path.lstat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return False  # a link or a pipe is not of this module
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return False
    flags = os.O_RDONLY if stat.S_ISDIR(found.st_mode) else os.O_RDWR
    try:
        number: int | None = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except PermissionError:
        if os.name == "posix":
            raise
        number = None  # Windows opens no folders
    try:
        locked = None if number is None else system.lock(number)
        if locked is False or (locked is None and time.time() - found.st_mtime < _OLD_S):
            return False
        _remove(path)
    finally:
        if number is not None:
            os.close(number)
    return not os.path.lexists(path)


def _remove(path: Path) -> None:
    if os.path.isdir(path) and not path.is_symlink():  # noqa: PTH112
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _locked(path: Path, suffix: str, make: Callable[[Path], _Number]) -> tuple[Path, _Number]:
    """Make something of a new name beside ``path``, and lock it by the descriptor that ``make`` returns."""
    for _ in range(_TRIES):
        part = path.with_name(_name(suffix))
        number = make(part)
        # A sweeper may come between the making and the locking: then there is another name to try.
        if number is None or (system.lock(number) is not False and os.path.lexists(part)):
            return part, number
        os.close(number)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), os.fspath(path))


def _name(suffix: str = "") -> str:
    name = f".clsclip-{secrets.token_hex(8)}.part{suffix}"
    return name if is_scratch(name) else f".clsclip-{secrets.token_hex(8)}.part"
