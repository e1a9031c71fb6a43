"""The one way in which safetensors files are read: the header is checked in full before a tensor is made.

The format is eight bytes with the header's length, the header as JSON, and the tensors one after the other. What is
read is read by position and copied: nothing is mapped, so a file that is cut meanwhile is an error and no signal. What
was verified before is given as bytes, so that nobody can change it any more.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.documents import Bounds, DocumentError, parse_json
from clsclip_runtime.system import open_regular

ITEM_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2},
    **{"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8},
}
"""Bytes of one value by the format's name of its type."""

HEADER = Bounds(bytes=1 << 25, values=1 << 20, depth=8)
"""Of a header. Its metadata may hold documents of their own as texts."""

_METADATA = "__metadata__"
_MAX_RANK = 16
_LENGTH_BYTES = 8


class TensorFileError(ValueError):
    """A file is no safetensors file; the message says why, without the file's name."""


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of one tensor.

    Attributes:
        dtype: such as ``F32``, a key of :data:`ITEM_BYTES`.
        shape: sizes of its axes.
        start, end: where its bytes lie after the header.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class TensorFile:
    """An open safetensors file; a context manager.

    Attributes:
        metadata: texts by name.
        tensors: every tensor by name.
    """

    def __init__(self, file: Path | bytes) -> None:
        """Open the file, or one that has been read, and check its header.

        Raises:
            TensorFileError: it is no safetensors file.
            OSError: it cannot be read.
        """
        self._file: IO[bytes] = io.BytesIO(file) if isinstance(file, bytes) else open_regular(file)
        try:
            size = self._file.seek(0, os.SEEK_END)
            self._file.seek(0)
            self._begin, header = _read_header(self._file.read(_LENGTH_BYTES), self._file.read, size)
            self.metadata = _metadata(header.pop(_METADATA, {}))
            self.tensors = {name: _info(name, entry) for name, entry in header.items()}
            _check_places(self.tensors, size - self._begin)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by name."""
        return {name: one.shape for name, one in self.tensors.items()}

    def read(self, name: str) -> bytearray:
        """The bytes of a tensor, little endian. TensorFileError if the file has been cut, OSError if it is gone."""
        info = self.tensors[name]
        content = bytearray(info.end - info.start)
        self._file.seek(self._begin + info.start)
        if self._file.readinto(content) != len(content):  # type: ignore[attr-defined]  # files have it
            raise TensorFileError(f"it ends within {name}")
        return content

    def read_float32(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor of type ``F32``. TensorFileError if it is of another type, or the file has been cut."""
        info = self.tensors[name]
        if info.dtype != "F32":
            raise TensorFileError(f"{name} is {info.dtype}, and F32 was expected")
        return np.frombuffer(self.read(name), "<f4").astype(np.float32, copy=False).reshape(info.shape)


def _read_header(length: bytes, read: Any, size: int) -> tuple[int, dict[str, Any]]:
    """Where tensors begin, and the header."""
    count = struct.unpack("<Q", length)[0] if len(length) == _LENGTH_BYTES else size
    if count > size - _LENGTH_BYTES or count > HEADER.bytes:
        raise TensorFileError("its first bytes are not those of a safetensors file")
    try:
        header = parse_json(read(count), HEADER)
    except DocumentError as error:
        raise TensorFileError(f"its header is not valid: {error}") from error
    if not isinstance(header, dict):
        raise TensorFileError("its header is no object")
    return _LENGTH_BYTES + count, header


def _metadata(found: object) -> Mapping[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise TensorFileError("its metadata are not texts")
    return found


def _info(name: str, entry: object) -> TensorInfo:
    """An entry of the header, checked."""
    found: dict[str, Any] = entry if isinstance(entry, dict) else {}
    dtype: Any = found.get("dtype")
    shape: Any = found.get("shape")
    places: Any = found.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise TensorFileError(f"the type of {name[:80]!a} is unknown")
    if not _sizes(shape, _MAX_RANK) or not _sizes(places, 2) or len(places) != 2:
        raise TensorFileError(f"the shape or the place of {name[:80]!a} is not valid")
    count = ITEM_BYTES[dtype]
    for size in shape:
        count *= size
    if places[1] - places[0] != count:
        raise TensorFileError(f"{name[:80]!a} has another number of bytes than its shape")
    return TensorInfo(dtype, tuple(shape), places[0], places[1])


def _sizes(value: Any, most: int) -> bool:
    whole = isinstance(value, list) and len(value) <= most
    return whole and all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**63 for one in value)


def _check_places(tensors: Mapping[str, TensorInfo], size: int) -> None:
    """Tensors lie one after the other and fill the file."""
    at = 0
    for one in sorted(tensors.values(), key=lambda info: (info.start, info.end)):
        if one.start != at:
            raise TensorFileError("its tensors overlap or leave gaps")
        at = one.end
    if at != size:
        raise TensorFileError(f"it has {size:,} bytes of tensors, and its header says {at:,}")
