"""Bundles on the Hugging Face hub, as ``hf:USER/NAME@REVISION``.

The hub's own client fetches the manifest, then the files that it lists and no others, into the hub's cache on this
machine. They are data; nothing of a repository is run. What comes is verified like any bundle.
"""

from __future__ import annotations

import glob
import logging
import os
import re
from pathlib import Path
from typing import Any

from clsclip_runtime.bundle.contents import read_whole
from clsclip_runtime.bundle.manifest import parse_manifest
from clsclip_runtime.errors import BundleError
from clsclip_runtime.extras import install_command
from clsclip_runtime.paths import is_file

PREFIX = "hf:"

_NAME = re.compile(r"(?P<name>[\w.-]{1,96}/[\w.-]{1,96})(?:@(?P<revision>[\w./-]{1,200}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 1 << 24
_SHOWN_CHARACTERS = 300
_SECONDS = 15.0
"""How long the hub may take to say which commit a name is."""

_log = logging.getLogger(__name__)


def on_hub(path: str | os.PathLike[str] | None) -> bool:
    """Whether a path names a bundle on the hub."""
    return path is not None and os.fspath(path).startswith(PREFIX)


def hub_folder(path: str | os.PathLike[str]) -> Path:
    """The folder in the hub's cache that holds a bundle, fetched where it is not there yet.

    A commit that lies in the cache whole is used without asking the hub. Where the hub does not answer, what the cache
    has is used, with a warning.

    Args:
        path: ``hf:USER/NAME`` or ``hf:USER/NAME@REVISION``, a branch, a tag or a commit.

    Raises:
        BundleError: it is no such name, huggingface_hub is not installed, the hub has no such bundle, or it does not
            answer and the cache has none.
    """
    shown = os.fspath(path).replace("\\", "/")  # a Path on Windows
    match = _NAME.fullmatch(shown.removeprefix(PREFIX))
    if match is None:
        raise BundleError(f"'{shown}' is no name on the hub. Write it as hf:USER/NAME or hf:USER/NAME@REVISION")
    name, revision = match["name"], match["revision"]
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise BundleError(f"bundles on the hub need huggingface_hub. Run: {install_command('hub')}") from error
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    cached = _cached(snapshot_download, name, revision)
    if cached is not None and revision is not None and _COMMIT.fullmatch(revision) and _complete(cached):
        return cached
    try:
        commit = HfApi().model_info(name, revision=revision, timeout=_SECONDS).sha
        found = Path(snapshot_download(name, revision=commit, allow_patterns=[_MANIFEST]))
        wanted = [glob.escape(one) for one in _files(found, shown)]
        return Path(snapshot_download(name, revision=commit, allow_patterns=[_MANIFEST, *wanted]))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise BundleError(
            f"the hub has no {shown} that this user may read ({_reason(error)}). Look at the name and the revision; a "
            "private one needs: hf auth login"
        ) from error
    except BundleError:
        raise
    except Exception as error:  # its client and what it stands on raise many kinds
        if cached is None:
            reason = "not cached" if isinstance(error, LocalEntryNotFoundError) else _reason(error)
            raise BundleError(
                f"{shown} could not be fetched, and the hub's cache has none ({reason}). Connect this machine, or give "
                "the folder of a bundle"
            ) from error
        _log.warning("the hub does not answer: %s is used as it lies in the cache, commit %s", shown, cached.name[:12])
        return cached


def _cached(download: Any, name: str, revision: str | None) -> Path | None:
    """The snapshot in the cache, whole or not; None where there is none."""
    try:
        return Path(download(name, revision=revision, local_files_only=True))
    except Exception:  # not cached, or the cache cannot be read: the hub is asked
        return None


def _files(folder: Path, shown: str) -> list[str]:
    """The files that the manifest of a snapshot lists, its names checked."""
    try:
        document = bytes(read_whole(folder / _MANIFEST, _MAX_MANIFEST_BYTES))
    except (OSError, ValueError) as error:
        raise BundleError(f"{shown} is not a bundle: it has no {_MANIFEST} that can be read") from error
    return sorted(parse_manifest(document, folder).files)


def _complete(folder: Path) -> bool:
    """Whether all files of the manifest lie in a snapshot."""
    try:
        return all(is_file(folder / one) for one in _files(folder, str(folder)))
    except BundleError:
        return False


def _reason(error: Exception) -> str:
    """An error's first line, short."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:_SHOWN_CHARACTERS]
