"""Writing a bundle: a folder beside the target that takes its place when it is complete."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import cannot_write, file_sha256, is_dir, is_file
from clsclip_runtime.scratch import part_folder, sweep
from clsclip_runtime.system import exchange


@contextmanager
def staged_folder(out: Path, *, force: bool = False) -> Iterator[Path]:
    """Give an empty folder that becomes ``out`` at the end of the block, and is removed if the block fails.

    A kill at any moment leaves the old folder or the new one under its name; what it leaves beside them is swept by the
    next that writes there.

    Args:
        out: where the folder is to stand.
        force: replace what stands there.

    Raises:
        OutputError: ``out`` exists and ``force`` is not set, or it cannot be written.
    """
    check_target(out, force=force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sweep(out.parent)
        with part_folder(out) as staged:
            staged.chmod(0o777 & ~_umask())
            yield staged
            replace_folder(staged, out)
    except OSError as error:
        raise cannot_write(out, error) from error


def check_target(out: Path, *, force: bool) -> None:
    """Refuse a target that exists, unless it is to be replaced. OutputError."""
    _put_back(out)
    if os.path.lexists(out) and not force:
        raise OutputError(f"{out} exists. Give --force to replace it, or another folder")


def replace_folder(staged: Path, out: Path) -> None:
    """Put ``staged`` in the place of ``out``; what stood there stands at ``staged`` then, to be removed.

    Where names can be swapped there always is a folder at ``out``. Elsewhere a kill between two renames leaves the old
    one beside it, from where the next that writes there puts it back. OSError.
    """
    if not os.path.lexists(out):
        staged.replace(out)
        return
    if exchange(staged, out):
        return
    old = out.with_name(f".{out.name}.{secrets.token_hex(8)}.old")
    out.replace(old)
    try:
        staged.replace(out)
    except OSError:
        old.replace(out)
        raise
    with suppress(FileNotFoundError):  # another process has removed it
        old.replace(staged)


def _put_back(out: Path) -> None:
    """Give a folder its name again, if a kill has left it beside it; remove it where a new one stands."""
    pattern = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{16}}\.old")
    with suppress(OSError):
        for one in sorted(out.parent.iterdir()):
            if pattern.fullmatch(one.name) is None:
                continue
            if not os.path.lexists(out):
                one.rename(out)
            elif is_dir(one) and not one.is_symlink():
                shutil.rmtree(one, ignore_errors=True)
            else:
                one.unlink()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def file_entry(path: Path) -> dict[str, Any]:
    """A file's entry in the manifest: its SHA-256 and its size in bytes."""
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def file_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """Entries of all files of a folder but the manifest, by their path in it."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if is_file(path)}
    return {name: file_entry(path) for name, path in found.items() if name != "manifest.json"}
