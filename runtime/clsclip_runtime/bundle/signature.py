"""Names, types and shapes of an ONNX graph's inputs and outputs, read without an ONNX library or its weights."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsclip_runtime.bundle.protobuf import LENGTH, VARINT, Bytes, Field, NotProtobufError, fields

_TYPES = {
    **{1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool"},
    **{10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16"},
}
_GRAPH_OF_MODEL = 7
_WEIGHT, _INPUT, _OUTPUT = 5, 11, 12
_NAME_OF_WEIGHT = 8
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Value:
    """An input or output of a graph.

    Attributes:
        name: of the tensor.
        dtype: its type, such as ``float32``.
        shape: sizes of its axes; the name of an axis whose size is open, an empty one if it has none.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Signature:
    """What a graph takes and gives, in its own order."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    def to_json(self) -> dict[str, Any]:
        """The graph's entry in a manifest's ``graphs`` section."""
        return {"inputs": [one.to_json() for one in self.inputs], "outputs": [one.to_json() for one in self.outputs]}


def read_signature(path: Path) -> Signature:
    """Read the signature of the ONNX file at ``path``.

    Raises:
        NotProtobufError: the file is not an ONNX graph.
        OSError: it cannot be read.
    """
    if path.stat().st_size == 0:
        raise NotProtobufError("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        inputs: list[Value] = []
        outputs: list[Value] = []
        weights: set[str] = set()
        for graph in _parts(data, 0, len(data), _GRAPH_OF_MODEL):
            for part in fields(data, graph.start, graph.end):
                if part.number in (_INPUT, _OUTPUT) and part.wire == LENGTH:
                    (inputs if part.number == _INPUT else outputs).append(_value(data, part))
                elif part.number == _WEIGHT and part.wire == LENGTH:
                    weights.add(_text(data, part.start, part.end, _NAME_OF_WEIGHT))
    # Graphs of an old format list their weights among the inputs.
    return Signature(tuple(one for one in inputs if one.name not in weights), tuple(outputs))


def _value(data: Bytes, info: Field) -> Value:
    """A ValueInfoProto: its name (1), and its type (2) whose tensor (1) has an element type (1) and a shape (2)."""
    kind, shape = 0, []
    for type_proto in _parts(data, info.start, info.end, 2):
        for tensor in _parts(data, type_proto.start, type_proto.end, 1):
            for part in fields(data, tensor.start, tensor.end):
                if part.number == 1 and part.wire == VARINT:
                    kind = part.value
                elif part.number == 2 and part.wire == LENGTH:
                    shape = [_size(data, axis) for axis in _parts(data, part.start, part.end, 1)]
    return Value(_text(data, info.start, info.end, 1), _TYPES.get(kind, f"type {kind}"), tuple(shape))


def _size(data: Bytes, axis: Field) -> int | str:
    """A dimension: its size (1), or its name (2)."""
    for part in fields(data, axis.start, axis.end):
        if part.number == 1 and part.wire == VARINT:
            return part.value if part.value <= _LARGEST else ""  # some exporters write -1 for an open axis
    return _text(data, axis.start, axis.end, 2)


def _parts(data: Bytes, start: int, end: int, number: int) -> list[Field]:
    return [one for one in fields(data, start, end) if one.number == number and one.wire == LENGTH]


def _text(data: Bytes, start: int, end: int, number: int) -> str:
    found = _parts(data, start, end, number)
    return bytes(data[found[-1].start : found[-1].end]).decode("utf-8", "replace") if found else ""
