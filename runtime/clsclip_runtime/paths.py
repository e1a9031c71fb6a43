"""Paths for people, digests of files, and the one way in which files are written."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

from clsclip_runtime.errors import OutputError

Writer: TypeAlias = Callable[[IO[bytes]], object]

_BLOCK = 1 << 20


def readable(path: str | os.PathLike[str]) -> str:
    """A path as valid Unicode, for JSON: file names may hold any bytes."""
    return os.fspath(path).encode("utf-8", "replace").decode("utf-8")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as the manifest states it: 64 hexadecimal digits. OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_file(path: Path, writer: Writer) -> None:
    """Write under a temporary name, then rename. OutputError if that is not possible."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            writer(file)
        part.replace(path)
    except (OSError, UnicodeError) as error:  # the latter: a word that the file system's encoding lacks
        part.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def cannot_write(path: Path, error: Exception) -> OutputError:
    """The error for a path that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"cannot write {path}: {reason}. Give a folder that you may write to")
