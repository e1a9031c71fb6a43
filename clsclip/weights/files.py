"""Files of weights, told apart by what is in them and not by their names; no code of theirs is ever run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clsclip.errors import TowersError
from clsclip.tensors import read_tensors
from clsclip.weights.archives import ArchiveError, read_archive
from clsclip_runtime.paths import is_dir
from clsclip_runtime.tensor_files import TensorFile, TensorFileError

_HEAD = 512
_MOST_DEPTH = 16
_SAVE_AGAIN = (
    'Load it where it was trained, and save its weights alone: safetensors.torch.save_file(model.state_dict(), "weights'
    '.safetensors")'
)

OTHER_FILES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, and the weights themselves are not here. Run: git lfs pull"),
    (b"<!doctype", "a web page, and no weights: the download went wrong. Fetch the file again"),
    (b"<html", "a web page, and no weights: the download went wrong. Fetch the file again"),
    (b"<?xml", "an XML document, and no weights: the download went wrong. Fetch the file again"),
    (b"{", "a JSON document, and no weights. Give the file that holds them, such as model.safetensors"),
    (b"\x89hdf", "a file of Keras or TensorFlow, and weights of PyTorch are needed"),
    (b"gguf", "a GGUF file, and weights of PyTorch are needed"),
    (b"\x1f\x8b", "a gzip file. Unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive. Unpack it first"),
)
"""How files begin that people give for weights, in lower case."""


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
    """Read all tensors of a file: safetensors, PyTorch's archives old and new, TorchScript's.

    Raises:
        TowersError: it is absent, damaged or something else; the message says what.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise TowersError(f"No weights file {path}.") from error
    except OSError as error:
        if is_dir(path):
            raise TowersError(f"{path} is a folder. Give the weights file in it.") from error
        raise TowersError(f"{path} cannot be read: {error.strerror or error}.") from error
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, what in OTHER_FILES:
        if begin.startswith(start):
            raise TowersError(f"{path} is {what}.")
    if not head:
        raise TowersError(f"{path} is empty. Fetch the file again.")
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
        raise TowersError(f"{path} cannot be read as weights: {error}.") from error
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
