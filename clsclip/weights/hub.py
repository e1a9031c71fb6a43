"""Folders of weights on a hub, by name: fetched, or from the hub's cache where there is no connection."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clsclip.errors import TowersError
from clsclip.weights.shards import shard_paths
from clsclip_runtime.paths import is_file

PREFIXES = ("hf-hub:", "hf:")
"""How a name on a hub may be marked, as open_clip and bundles do."""

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class HubFolder:
    """A snapshot in the hub's cache.

    Attributes:
        path: the folder.
        name: ``user/name``.
        revision: the hub's commit.
    """

    path: Path
    name: str
    revision: str


def is_hub_name(source: str) -> bool:
    """Whether a text is ``user/name[@revision]``, with or without a prefix."""
    return _NAME.fullmatch(plain_name(source).partition("@")[0]) is not None


def plain_name(source: str) -> str:
    """Leave the prefix out."""
    for prefix in PREFIXES:
        source = source.removeprefix(prefix)
    return source


def hub_folder(source: str, files: Sequence[str], weights: Sequence[str], instead: str) -> HubFolder:
    """Find a folder on a hub.

    Args:
        source: ``user/name[@revision]``.
        files: small files that are wanted; those that are absent are left out.
        weights: names of the weights file, the best one first; the first that is there is fetched, and where it is an
            index, all files that it lists.
        instead: what to give where the hub cannot be asked.

    Raises:
        TowersError: the hub cannot be asked, and its cache has no such weights.
    """
    name, _, revision = plain_name(source).partition("@")
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise TowersError("Weights on a hub need huggingface_hub. Run: pip install 'clsclip[hub]'") from error
    wanted = revision or None
    try:
        try:
            folder = Path(snapshot_download(name, revision=wanted, allow_patterns=list(files)))
        except Exception as first:  # hub clients raise many kinds
            try:
                folder = Path(snapshot_download(name, revision=wanted, local_files_only=True))
            except Exception:  # the first error says more
                raise first from None
        for one in weights:
            if not is_file(folder / one):
                try:
                    hf_hub_download(name, one, revision=folder.name)
                except EntryNotFoundError:
                    continue
            for shard in shard_paths(folder / one):
                if not is_file(shard):
                    hf_hub_download(name, shard.name, revision=folder.name)
            break
    except TowersError:
        raise
    except Exception as error:
        raise TowersError(
            f"The weights {source} could not be fetched: {' '.join(str(error).split())[:300]}\n{instead}"
        ) from error
    return HubFolder(folder, name, folder.name)
