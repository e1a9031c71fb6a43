"""The user's cache folder: what this program keeps between runs, and whether nobody else can write there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clsclip_runtime.paths import CACHE_VARIABLE, cannot_write, expanded, users_cache

OFF = "off"
"""Value of :data:`CACHE_VARIABLE` for no cache at all."""


def users_folder() -> Path | None:
    """The folder that ``CLSCLIP_CACHE`` names, else the user's cache folder; None for ``off`` and without a home."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return None if given == OFF else expanded(given)
    return users_cache()


def not_private(folder: Path) -> str | None:
    """Why others might have written into a folder; None where only this user can. OSError if it is not there.

    Systems without owners and modes (Windows) keep the user's cache folder to the user by themselves.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder} is no folder"
    if not hasattr(os, "geteuid"):
        return None
    if found.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if found.st_mode & 0o077:
        return f"{folder} is open to other users (mode {stat.S_IMODE(found.st_mode):o})"
    return None


def bytes_of(files: Iterable[Path]) -> int:
    """How large files are together; those that are gone count nothing."""
    total = 0
    for path in files:
        with suppress(OSError):
            total += path.lstat().st_size
    return total


def remove(files: Iterable[Path]) -> None:
    """Remove files, and the folders that are empty then; OutputError names the first that cannot be removed."""
    folders = set()
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        folders.add(path.parent)
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
