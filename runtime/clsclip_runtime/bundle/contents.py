"""Files opened once: what is hashed is what is used, whatever others do to the file meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from clsclip_runtime import system
from clsclip_runtime.bundle.specs import FileEntry
from clsclip_runtime.errors import BundleError
from clsclip_runtime.paths import write_file
from clsclip_runtime.system import NotRegularError, open_regular

AGAIN = "Get the bundle again, or export it again with clsclip-export"

_BLOCK = 1 << 20
_PIECE = 16 << 20
_OWN_PAGES = 1 << 16
_LOOKED_INTO = 1 << 25
"""Bytes below which a damaged file is looked into, for what git did to it."""


def new_memory(size: int) -> npt.NDArray[np.uint8]:
    """Memory for a file; that of a large one is of its own, so that it goes back to the system when it is freed."""
    if size < _OWN_PAGES:
        return np.empty(size, np.uint8)
    pages = system.private_pages(size)
    return np.frombuffer(pages, np.uint8)


def read_whole(path: Path, most: int | None = None) -> npt.NDArray[np.uint8]:
    """The bytes of a file as they are now.

    Args:
        path: the file.
        most: bytes at which reading it is refused with a ValueError.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path, 0) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise ValueError(f"{size} bytes, and at most {most} are read")
        memory = new_memory(size)
        got = _fill(file, memory, None)
        return memory[:got]


def read_verified(folder: Path, name: str, entry: FileEntry, *, keep: bool) -> npt.NDArray[np.uint8] | None:
    """Read a file of a bundle once and compare it with what the manifest states.

    Args:
        folder: of the bundle.
        name: of the file; a link to a regular file is followed, since it is the content that is verified.
        entry: what the manifest states.
        keep: give the bytes that were verified; else None.

    Raises:
        BundleError: the file is missing, is not a regular one, or has another size or digest.
    """
    path = folder / name
    try:
        with open_regular(path, 0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry.bytes:
                raise _damaged(folder, name, entry, f"it has {size} bytes, and the manifest says {entry.bytes}")
            digest = hashlib.sha256()
            memory = None
            if keep:
                memory = new_memory(size)
                got = _fill(file, memory, digest)
            else:
                got = 0
                while block := file.read(_BLOCK):
                    digest.update(block)
                    got += len(block)
            if got != entry.bytes or file.read(1):
                raise _damaged(folder, name, entry, f"it has {got} bytes, and the manifest says {entry.bytes}")
    except (FileNotFoundError, NotRegularError) as error:
        kind = "is a link to nothing, or to what is no regular file" if path.is_symlink() else "is missing"
        raise BundleError(f"{folder} is incomplete: {name} {kind}. {AGAIN}") from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    if digest.hexdigest() != entry.sha256:
        raise _damaged(folder, name, entry, "its SHA-256 is not the one in the manifest")
    return memory


def copy_verified(folder: Path, name: str, entry: FileEntry, target: Path) -> None:
    """Write what was verified of a file of a bundle to ``target``; its folder is made.

    Raises:
        BundleError: as :func:`read_verified`.
        OutputError: it cannot be written.
    """
    content = read_verified(folder, name, entry, keep=True)
    assert content is not None  # noqa: S101 (it is kept)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, lambda file: file.write(content.data))


def _fill(file: IO[bytes], memory: npt.NDArray[np.uint8], digest: hashlib._Hash | None) -> int:
    """Read into memory; how many bytes there were.

    Of a large file another thread hashes what has just come: new memory takes as long as hashing. A small file comes in
    one piece and is hashed here, since a thread waits for every turn of its, for 5 ms where others run Python.
    """
    view: memoryview = memory.data
    if digest is None:
        return _fill_pieces(file, view, lambda _: None)
    if len(view) <= _PIECE:
        return _fill_pieces(file, view, digest.update)
    with ThreadPoolExecutor(1) as one_after_another:
        return _fill_pieces(file, view, lambda piece: one_after_another.submit(digest.update, piece))


def _fill_pieces(file: IO[bytes], view: memoryview, take: Callable[[memoryview], object]) -> int:
    """Read into ``view`` and give every piece to ``take``; how many bytes there were."""
    at = 0
    while at < len(view):
        got = file.readinto(view[at : at + _PIECE])  # type: ignore[attr-defined]  # an unbuffered file
        if not got:
            break
        take(view[at : at + got])
        at += got
    return at


def _damaged(folder: Path, name: str, entry: FileEntry, why: str) -> BundleError:
    advice = AGAIN
    with suppress(OSError, ValueError):
        content = bytes(read_whole(folder / name, _LOOKED_INTO))
        if content.startswith(b"version https://git-lfs"):
            advice = "It is Git LFS's pointer in place of the file. Run: git lfs pull"
        elif hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest() == entry.sha256:
            advice = (
                "Git has changed its line ends (core.autocrlf). Write '* -text' into .gitattributes, and check it out "
                "again"
            )
    return BundleError(f"{name} in {folder} is damaged: {why}. {advice}")
