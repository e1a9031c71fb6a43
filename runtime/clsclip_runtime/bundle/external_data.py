"""Which files an ONNX graph reads its weights from, found without an ONNX library.

ONNX Runtime opens the places that a graph names as external data, and not every version keeps them inside the
graph's folder. So the runtime looks before it: the protobuf messages that lead to tensors are walked, all else
is skipped by length.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from clsclip_runtime.bundle.protobuf import LENGTH, NotProtobufError, fields

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

NotOnnxError = NotProtobufError
"""The bytes are not an ONNX graph: they are no protobuf message."""


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
        inside = [one for one in fields(data, start, end) if one.wire == LENGTH]
        if message == "StringStringEntryProto":
            entry = {one.number: data[one.start : one.end] for one in inside}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "replace")
            continue
        inner = MESSAGES[message]
        pending += [(inner[one.number], one.start, one.end) for one in inside if one.number in inner]
