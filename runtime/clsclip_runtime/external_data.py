"""Which files an ONNX graph reads its weights from, found without an ONNX library.

ONNX Runtime opens the places that a graph names as external data, and not every version keeps them inside the
graph's folder. So the runtime looks before it: the protobuf messages that lead to tensors are walked, all else
is skipped by length.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

# Message by field number, for every path of onnx.proto from a model to a tensor's external data.
MESSAGES: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        **{5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto"},
        **{22: "SparseTensorProto", 23: "SparseTensorProto"},
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "TensorProto": {13: "StringStringEntryProto"},
}

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class NotOnnxError(ValueError):
    """The bytes are not a protobuf message."""


def external_locations(path: Path) -> set[str]:
    """Every ``location`` of external data in the ONNX file at ``path``, as the graph writes it.

    Raises:
        NotOnnxError: the file is not a protobuf message.
        OSError: it cannot be read.
    """
    if path.stat().st_size == 0:
        raise NotOnnxError("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return set(_locations(data))


def _locations(data: mmap.mmap) -> Iterator[str]:
    pending = [("ModelProto", 0, len(data))]
    while pending:
        message, start, end = pending.pop()
        if message == "StringStringEntryProto":
            entry = {field: data[low:high] for field, low, high in _fields(data, start, end)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "replace")
            continue
        inner = MESSAGES[message]
        pending += [(inner[field], low, high) for field, low, high in _fields(data, start, end) if field in inner]


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Field number, start and end of every length-delimited field of the message in ``data[at:end]``."""
    while at < end:
        tag, at = _varint(data, at, end)
        wire = tag & 7
        if wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _EIGHT_BYTES:
            at += 8
        elif wire == _FOUR_BYTES:
            at += 4
        elif wire == _LENGTH:
            length, at = _varint(data, at, end)
            if length > end - at:
                break
            yield tag >> 3, at, at + length
            at += length
        else:
            raise NotOnnxError(f"wire type {wire} at byte {at}")
    if at != end:
        raise NotOnnxError(f"a field ends beyond its message at byte {end}")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NotOnnxError(f"a number does not end at byte {at}")
