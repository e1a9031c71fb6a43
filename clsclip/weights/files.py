"""Files of weights, told apart by what is in them and not by their names; no code of theirs is ever run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clsclip.errors import TowersError
from clsclip.tensors import read_tensors
from clsclip.weights.archives import ArchiveError, read_archive
from clsclip.weights.other_files import HEAD, other_file
from clsclip.weights.shards import check_content, check_present, check_whole, is_index, read_index
from clsclip_runtime.paths import is_dir
from clsclip_runtime.tensor_files import TensorFile, TensorFileError

_MOST_DEPTH = 16
_SAVE_AGAIN = (
    'Load it where it was trained, and save its weights alone: safetensors.torch.save_file(model.state_dict(), "weights'
    '.safetensors")'
)


@dataclass(frozen=True)
class WeightsFile:
    """The content of a file.

    Attributes:
        tensors: by name; nested names are joined by dots.
        kind: such as ``safetensors``, for people.
        activation: ``gelu`` or ``quick_gelu`` where the file's own code tells.
    """

    tensors: dict[str, Tensor]
    kind: str
    activation: str | None = None


def read_file(path: Path) -> WeightsFile:
    """Read all tensors of a file: safetensors, PyTorch's archives old and new, TorchScript's, an index of several.

    Raises:
        TowersError: it is absent, damaged or something else; the message says what.
    """
    head, size = read_head(path)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and path.suffix == ".json" and is_index(path):
        return read_shards(path)
    check_whole(path)
    return read_one(path, head, size)


def read_shards(path: Path) -> WeightsFile:
    """Read the files that an index lists, each of which must hold what the index says. TowersError if not."""
    shards = read_index(path)
    check_present(path, shards)
    tensors: dict[str, Tensor] = {}
    kind = ""
    for name, listed in shards.items():
        shard = path.parent / name
        found = read_one(shard, *read_head(shard))
        check_content(path, name, listed, found.tensors)
        tensors |= found.tensors
        kind = found.kind
    return WeightsFile(tensors, f"{len(shards)} files of one index, each {kind}")


def read_head(path: Path) -> tuple[bytes, int]:
    """A file's first bytes and its size. TowersError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise TowersError(f"No weights file {path}. Fetch it into its folder, or give another.") from error
    except OSError as error:
        if is_dir(path):
            raise TowersError(f"{path} is a folder. Give the weights file in it.") from error
        raise TowersError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_one(path: Path, head: bytes, size: int) -> WeightsFile:
    """Read one file that begins with ``head``; see :func:`read_file`."""
    what = other_file(head, size)
    if what is not None:
        raise TowersError(f"{path} is {what}.")
    try:
        if head.startswith(b"PK\x03\x04"):
            found = read_archive(path)
            return WeightsFile(
                found.tensors, "a TorchScript archive" if found.script else "a torch file", found.activation
            )
        if head[8:9] == b"{" or path.suffix == ".safetensors":
            with TensorFile(path) as opened:
                return WeightsFile(read_tensors(opened), "a safetensors file")
    except (ArchiveError, TensorFileError, OSError) as error:
        end = "" if getattr(error, "remedy", False) else " If it was not fetched whole, fetch it again."
        raise TowersError(f"{path} cannot be read as weights: {error}.{end}") from error
    return WeightsFile(read_old(path), "a torch file of before 1.6")


def read_old(path: Path) -> dict[str, Tensor]:
    """Read what PyTorch wrote before it wrote zip archives, with ``weights_only=True``.

    Raises:
        TowersError: it is something else, or holds more than tensors.
    """
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        first = str(error).split(". ")[0].split("\n")[0][:200]
        raise TowersError(
            f"{path} cannot be read as weights: it is neither safetensors nor an archive of PyTorch, or it is a pickle "
            f"that holds more than tensors ({first}), and pickles can run code. {_SAVE_AGAIN}"
        ) from error
    return dict(nested(loaded))


def nested(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Tensors of nested dictionaries, their names joined by dots."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping) and depth < _MOST_DEPTH:
        for key, child in value.items():
            yield from nested(child, f"{name}.{key}" if name else str(key), depth + 1)
