"""Paths for people, digests of files, and the one way in which files are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from clsclip_runtime import system
from clsclip_runtime.errors import OptionError, OutputError
from clsclip_runtime.scratch import PartFile

Writer: TypeAlias = Callable[[IO[bytes]], object]

CACHE_VARIABLE = "CLSCLIP_CACHE"
"""Environment variable: a folder in place of the user's cache folder, or ``off``."""

_BLOCK = 1 << 20


def readable(path: str | os.PathLike[str]) -> str:
    """A path as valid Unicode, for JSON: file names may hold any bytes."""
    return os.fspath(path).encode("utf-8", "replace").decode("utf-8")


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is something at a path, as far as the system lets it be seen.

    ``Path.exists``, ``is_file`` and ``is_dir`` raise for names that are too long and in folders that may not be
    entered; these functions say no. :func:`absence` says why.
    """
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a file, or a link to one; see :func:`exists`."""
    return os.path.isfile(path)  # noqa: PTH113


def is_dir(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder, or a link to one; see :func:`exists`."""
    return os.path.isdir(path)  # noqa: PTH112


def absence(path: str | os.PathLike[str], wanted: str = "file") -> str:
    """What to say of a path that is not what was wanted: ``no such file: x``, ``cannot open x: Permission denied``.

    Args:
        path: it.
        wanted: a noun for what was looked for.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return f"{path} is no regular file"
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # the latter: a name with a zero byte or half a surrogate pair
        return f"cannot open {path}: {getattr(error, 'strerror', None) or error}"
    return f"no such {wanted}: {path}"


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ``~`` made a home folder; as it is where that user has none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def as_path(option: str, path: object) -> Path:
    """A path that was given; OptionError for what cannot be one: another type, a zero byte, half a surrogate pair."""
    if isinstance(path, (str, os.PathLike)):
        with suppress(TypeError, ValueError):
            if b"\0" not in os.fsencode(path):
                return Path(path)
    raise OptionError(f"{option} must be a path, and it is {path!r}")


def is_address(text: str) -> bool:
    """Whether a text is an address, of whatever scheme, and not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(//|.*;base64,)", text[:200]) is not None


def public_address(address: str) -> str:
    """An address without its password, for messages and results."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        user = parts.username
    except ValueError:
        return readable(address)
    if user is None:
        return readable(address)
    return readable(urlunsplit(parts._replace(netloc=f"{user}{':***' if parts.password else ''}@{host}")))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as the manifest states it: 64 hexadecimal digits. OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_file(path: Path, writer: Writer, *, sync: bool = False) -> None:
    """Write under a temporary name, then rename: a kill at any moment leaves the old file or the new one.

    Args:
        path: the file.
        writer: writes the content.
        sync: wait until the content is on the disk, so that a power cut leaves the old file or the new one too.

    Raises:
        OutputError: the file cannot be written.
    """
    part = None
    try:
        part = PartFile(path)
        writer(part.file)
        part.keep(sync=sync)
    except (OSError, UnicodeError) as error:  # the latter: a word that the file system's encoding lacks
        raise cannot_write(path, error) from error
    finally:
        if part is not None:
            part.discard()


def link_or_copy(source: Path, path: Path) -> None:
    """Make ``path`` another name of the file ``source``, or a copy of it where that is not possible.

    Raises:
        OutputError: ``source`` cannot be read, or ``path`` cannot be written.
    """
    try:
        os.link(os.path.realpath(source), path)
        return
    except OSError:  # another disk, a disk without links, or there is something at ``path``, which takes its place
        pass
    try:
        with source.open("rb") as file:
            write_file(path, lambda target: shutil.copyfileobj(file, target), sync=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot read {source}: {reason}. Give a folder that you may read") from error


def write_bytes(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Write bytes, see :func:`write_file`."""
    write_file(path, lambda file: file.write(content), sync=sync)


def write_text(path: Path, text: str, *, sync: bool = False) -> None:
    """Write a text as UTF-8, see :func:`write_file`."""
    write_bytes(path, text.encode("utf-8"), sync=sync)


def write_json(path: Path, document: Any, *, sync: bool = False) -> None:
    """Write a document as JSON, see :func:`write_file`; NaN becomes null, and keys become text."""
    text = json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", sync=sync)


def append_line(path: Path, line: str) -> None:
    """Append one line to a text file, which is made if need be. OutputError if that is not possible.

    It is written at once, so the lines of several processes never mix; a kill may cut the last one.
    """
    try:
        number = system.append(path)
        try:
            content = f"{line}\n".encode()
            if os.write(number, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(number)
    except OSError as error:
        raise cannot_write(path, error) from error


def plain(value: Any) -> Any:
    """Turn a value into what JSON knows: keys become text, tuples lists, and NaN None."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and value != value else value


def cannot_write(path: Path, error: Exception) -> OutputError:
    """The error for a path that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return OutputError(
        f"cannot write {path}: {reason}. {'Make room on the disk' if full else 'Give a folder that you may write to'}"
    )


def make_folder(path: Path) -> None:
    """Make a folder, and those above it. OutputError if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        kind = "a link to nothing" if path.is_symlink() and not exists(path) else "no folder"
        raise OutputError(f"cannot write {path}: it is {kind}. Give a folder that you may write to") from error
    except OSError as error:
        raise cannot_write(path, error) from error


def users_cache() -> Path | None:
    """The folder in the user's cache folder for everything that this project keeps; None where there is none."""
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / "clsclip"
    try:
        return Path.home() / ".cache" / "clsclip"
    except RuntimeError:  # a user without a home
        return None
