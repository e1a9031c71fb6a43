"""Writing a bundle: a folder beside the target that takes its place when it is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import cannot_write, file_sha256, is_dir, is_file


@contextmanager
def staged_folder(out: Path, *, force: bool = False) -> Iterator[Path]:
    """Give an empty folder that becomes ``out`` at the end of the block, and is removed if the block fails.

    Args:
        out: where the folder is to stand.
        force: replace what stands there.

    Raises:
        OutputError: ``out`` exists and ``force`` is not set, or it cannot be written.
    """
    check_target(out, force=force)
    staged = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        staged.chmod(0o755)
        yield staged
        replace_folder(staged, out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)


def check_target(out: Path, *, force: bool) -> None:
    """Refuse a target that exists, unless it is to be replaced. OutputError."""
    if os.path.lexists(out) and not force:
        raise OutputError(f"{out} exists. Give --force to replace it, or another folder")


def replace_folder(staged: Path, out: Path) -> None:
    """Put ``staged`` in the place of ``out``; what stood there goes only when the new folder stands."""
    if not os.path.lexists(out):
        staged.replace(out)
        return
    old = staged.with_name(staged.name + ".old")
    out.replace(old)
    try:
        staged.replace(out)
    except OSError:
        old.replace(out)
        raise
    if is_dir(old) and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink()


def file_entry(path: Path) -> dict[str, Any]:
    """A file's entry in the manifest: its SHA-256 and its size in bytes."""
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def file_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """Entries of all files of a folder but the manifest, by their path in it."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if is_file(path)}
    return {name: file_entry(path) for name, path in found.items() if name != "manifest.json"}
