"""What only some systems can do, each with a plain fallback. Callers ask for the deed, never for the system."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import stat
import sys
from pathlib import Path
from typing import IO

_EXCHANGE, _HERE = 2, -100
"""RENAME_EXCHANGE and AT_FDCWD of ``renameat2``."""

_NO_NEW_PRIVILEGES = 38
"""PR_SET_NO_NEW_PRIVS of ``prctl``."""


class NotRegularError(OSError):
    """A path leads to a folder, a device or a pipe."""


def open_regular(path: str | os.PathLike[str], buffering: int = -1) -> IO[bytes]:
    """Open a file for reading, following links; ``buffering`` as of ``open``.

    A pipe is not waited for, and what is no file (a device, a folder) is not read.

    Raises:
        NotRegularError: there is something else.
        OSError: it cannot be opened.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | _flag("O_NONBLOCK") | _flag("O_BINARY")), "rb", buffering)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotRegularError(errno.EINVAL, "it is no regular file", os.fspath(path))
    return file


def create(path: str | os.PathLike[str]) -> int:
    """Create a file for reading and writing, and return its descriptor; a link that lies there is not followed.

    Raises:
        FileExistsError: something of that name is there, a link to nothing included.
        OSError: it cannot be created.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _flag("O_NOFOLLOW") | _flag("O_CLOEXEC") | _flag("O_BINARY")
    return os.open(path, flags, 0o666)


def append(path: str | os.PathLike[str]) -> int:
    """Open a file for appending, and return its descriptor; it is made if need be.

    Raises:
        OSError: it is a link or no regular file, or it cannot be written.
    """
    # Without O_NONBLOCK, a named pipe that nobody reads would keep its writer waiting.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK") | _flag("O_BINARY")
    if not _flag("O_NOFOLLOW") and os.path.islink(path):  # noqa: PTH114
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    number = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return number


def private_pages(size: int) -> mmap.mmap:
    """New memory of this process alone, which is filled faster than what Python shares by default."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def lock(number: int) -> bool | None:
    """Lock an open file or folder until every copy of its descriptor is closed, which the end of its process does.

    Returns:
        True if it is locked now, False if another process or descriptor has the lock, None if there are no locks here.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def exchange(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Let two files or folders swap their names in one step, so that neither name is ever absent.

    Returns:
        False where the system or the file system cannot do that; nothing has changed then.

    Raises:
        OSError: one is absent, or may not be renamed.
    """
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), os.fspath(first), None, os.fspath(second))


def limit_process(*, memory_bytes: int | None = None, seconds: int | None = None) -> bool:
    """Limit this process for good: its address space, and its seconds on a processor, after which it is killed.

    Returns:
        False where the system has no such limits.
    """
    if sys.platform == "win32":
        return False
    import resource

    for kind, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, seconds)):
        if most is not None:
            _, hard = resource.getrlimit(kind)
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (least, least))
    return True


def can_confine() -> bool:
    """Whether :func:`confine` has limits here."""
    return sys.platform != "win32"


def confine(memory_bytes: int) -> bool:
    """Limit this process for good: its address space, no file that it could write, no core dump, no new privileges.

    Returns:
        False where the system has no such limits.
    """
    if sys.platform == "win32" or not limit_process(memory_bytes=memory_bytes):
        return False
    import resource

    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return True


def allow_seconds(seconds: int) -> None:
    """Let this process compute for ``seconds`` on every processor from now on; then it is ended. Not on Windows."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = int(used.ru_utime + used.ru_stime) + 1 + seconds * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def peak_memory() -> int | None:
    """The most memory that this process ever held, bytes; None where the system does not tell.

    On Linux not by ``getrusage``: a process begins there with the peak of the one that started it.
    """
    if sys.platform == "win32":
        return None
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def give_back_memory() -> None:
    """Give freed memory back to the system, where the C library keeps it: glibc does, for each thread that ever was."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # no other C library of Linux has it, nor needs it
        if trim is not None:
            trim(0)


def _flag(name: str) -> int:
    """A flag of ``os.open``; none where the system does not have it."""
    return int(getattr(os, name, 0))
