"""Mutants of a bundle: the embedded one with one thing changed, and the manifest's digests of what is there now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from clsclip_runtime.bundle.opening import EMBEDDED, MANIFEST


@lru_cache(maxsize=1)
def files() -> dict[str, bytes]:
    """The embedded bundle's files but its manifest."""
    return {path.name: path.read_bytes() for path in sorted(EMBEDDED.iterdir()) if path.name != MANIFEST}


@lru_cache(maxsize=1)
def _manifest() -> str:
    return (EMBEDDED / MANIFEST).read_text("utf-8")


def manifest() -> dict[str, Any]:
    """The embedded bundle's manifest, a copy to change."""
    found: dict[str, Any] = json.loads(_manifest())
    return found


def write_bundle(
    folder: Path,
    changes: Mapping[str, bytes | None] | None = None,
    edit: Callable[[dict[str, Any]], None] | None = None,
    *,
    raw_manifest: bytes | None = None,
    sign: bool = True,
) -> Path:
    """Write the embedded bundle into ``folder``, an empty one; files that do not change are linked.

    Args:
        folder: where.
        changes: content by name; None leaves the file out.
        edit: changes the manifest last.
        raw_manifest: in place of the manifest.
        sign: the manifest states what the files are now; else what they were.
    """
    document, changes = manifest(), dict(changes or {})
    for name in files():
        if name not in changes:
            (folder / name).symlink_to(EMBEDDED / name)
    for name, content in changes.items():
        if content is None:
            if sign:
                document["files"].pop(name, None)
            continue
        (folder / name).write_bytes(content)
        if sign:
            document["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    if edit is not None:
        edit(document)
    written = raw_manifest if raw_manifest is not None else json.dumps(document).encode()
    (folder / MANIFEST).write_bytes(written)
    return folder
