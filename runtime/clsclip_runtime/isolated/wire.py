"""Messages between this process and the isolated one: a JSON object, and arrays after it. Nothing is pickled.

A message is eight bytes with the object's length, the object, and the bytes of its arrays, one after the other. What
comes from the isolated process is bounded and checked like a file.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.documents import Bounds, DocumentError, parse_json

HEADER = Bounds(bytes=1 << 20, values=1 << 14, depth=8)
"""Of a message's object."""

DTYPES = frozenset({"<f2", "<f4", "<f8", "<i4", "<i8", "|u1", "|i1", "|b1"})
"""Of arrays, in numpy's words."""

_ARRAYS = "arrays"
_MAX_RANK = 8


class WireError(Exception):
    """The other process has ended, or what it sent is no message."""


def send(file: IO[bytes], message: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> None:
    """Send a message. WireError if the other process has ended."""
    held = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    # ascontiguousarray makes numbers vectors of one: the shape is the given one's.
    shapes = [[name, held[name].dtype.str, list(np.shape(array))] for name, array in (arrays or {}).items()]
    header = json.dumps({**message, _ARRAYS: shapes}).encode()
    try:
        file.write(struct.pack("<Q", len(header)) + header)
        for array in held.values():
            file.write(array.data.cast("B") if array.size else b"")
        file.flush()
    except (OSError, ValueError) as error:
        raise WireError("the other process has ended") from error


def receive(file: IO[bytes], most_bytes: int) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Receive a message.

    Args:
        file: where it comes from.
        most_bytes: of all its arrays.

    Raises:
        WireError: the other process has ended, or what it sent is no message.
    """
    (length,) = struct.unpack("<Q", _read(file, 8))
    if length > HEADER.bytes:
        raise WireError(f"a message of {length} bytes")
    try:
        message = parse_json(_read(file, length), HEADER)
    except DocumentError as error:
        raise WireError(str(error)) from error
    listed = message.pop(_ARRAYS, None) if isinstance(message, dict) else None
    if not isinstance(listed, list):
        raise WireError("a message without arrays")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for one in listed:
        name, dtype, shape = _entry(one)
        size = math.prod(shape) * dtype.itemsize
        most_bytes -= size
        if most_bytes < 0:
            raise WireError("arrays that are too large")
        array = np.empty(shape, dtype)
        if array.size:
            _fill(file, array.reshape(-1).data.cast("B"))
        arrays[name] = array
    return message, arrays


def _entry(one: Any) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    """Name, type and shape of an array of a message."""
    fits = isinstance(one, list) and len(one) == 3 and isinstance(one[0], str) and one[1] in DTYPES
    if not fits or not isinstance(one[2], list) or len(one[2]) > _MAX_RANK:
        raise WireError("an array of another kind")
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**40 for size in one[2]):
        raise WireError("an array of another shape")
    return one[0], np.dtype(one[1]), tuple(one[2])


def _read(file: IO[bytes], size: int) -> bytes:
    content = bytearray(size)
    _fill(file, memoryview(content))
    return bytes(content)


def _fill(file: IO[bytes], place: memoryview) -> None:
    while place:
        try:
            count = file.readinto(place)  # type: ignore[attr-defined]  # of every binary file
        except (OSError, ValueError) as error:
            raise WireError("the other process has ended") from error
        if not count:
            raise WireError("the other process has ended")
        place = place[count:]
