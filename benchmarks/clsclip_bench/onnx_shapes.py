"""Nodes and tensor shapes of an ONNX file, read without an ONNX library.

Shapes are those that the exporter wrote into the file. Tensors that a later tool put in (casts, quantisation) have
none; where such a node does not change a shape, its output has its input's.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from clsclip_runtime.bundle.protobuf import LENGTH, VARINT, Bytes, Field, fields, varint

Dimension: TypeAlias = "int | str"
"""A number, or the name of a dynamic axis."""

Shape: TypeAlias = tuple[Dimension, ...]

SAME_SHAPE = frozenset({"Cast", "Identity", "QuantizeLinear", "DequantizeLinear"})
"""Operators whose output has the shape of their first input."""


@dataclass(frozen=True)
class Node:
    """One operation: its operator, inputs and outputs by name, and its whole-number attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[str, int]


@dataclass
class OnnxShapes:
    """A graph.

    Attributes:
        nodes: in the order of the file.
        shapes: of every tensor that has one.
        inputs: names of the inputs.
        has_functions: the file holds functions of its own, whose insides are not among the nodes.
    """

    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    has_functions: bool = False


def read_shapes(path: Path) -> OnnxShapes:
    """Nodes and shapes of the ONNX file at ``path``; weights are skipped.

    Raises:
        NotProtobufError: the file is not ONNX.
        OSError: it cannot be read.
    """
    found = OnnxShapes()
    if path.stat().st_size == 0:
        return found
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for part in fields(data, 0, len(data)):
            if part.number == 7 and part.wire == LENGTH:  # ModelProto.graph
                _graph(data, part, found)
            found.has_functions |= part.number == 25  # ModelProto.functions
    for node in found.nodes:
        if node.operator in SAME_SHAPE and node.inputs and node.inputs[0] in found.shapes:
            for name in node.outputs:
                found.shapes.setdefault(name, found.shapes[node.inputs[0]])
    return found


def _graph(data: Bytes, graph: Field, found: OnnxShapes) -> None:
    for part in fields(data, graph.start, graph.end):
        if part.wire != LENGTH:
            continue
        if part.number == 1:  # GraphProto.node
            found.nodes.append(_node(data, part))
        elif part.number == 5:  # initializer
            name, shape = _tensor(data, part)
            found.shapes[name] = shape
        elif part.number in (11, 12, 13):  # input, output, value_info
            name, known = _value(data, part)
            if known is not None:
                found.shapes[name] = known
            if part.number == 11:
                found.inputs.append(name)


def _node(data: Bytes, node: Field) -> Node:
    inside = list(fields(data, node.start, node.end))
    operator = "".join(_texts(data, inside, 4)[:1])
    numbers = dict(_number(data, one) for one in inside if one.number == 5)
    return Node(operator, tuple(_texts(data, inside, 1)), tuple(_texts(data, inside, 2)), numbers)


def _number(data: Bytes, attribute: Field) -> tuple[str, int]:
    """Name and whole number of an attribute; 0 where it is of another kind."""
    inside = list(fields(data, attribute.start, attribute.end))
    values = [one.value for one in inside if one.number == 3 and one.wire == VARINT]
    return "".join(_texts(data, inside, 1)[:1]), values[-1] if values else 0


def _tensor(data: Bytes, tensor: Field) -> tuple[str, Shape]:
    inside = list(fields(data, tensor.start, tensor.end))
    sizes: list[Dimension] = []
    for one in inside:
        if one.number == 1 and one.wire == VARINT:
            sizes.append(one.value)
        elif one.number == 1:  # packed
            at = one.start
            while at < one.end:
                size, at = varint(data, at, one.end)
                sizes.append(size)
    return "".join(_texts(data, inside, 8)[:1]), tuple(sizes)


def _value(data: Bytes, value: Field) -> tuple[str, Shape | None]:
    """Name and shape of a ValueInfoProto; None where it states no shape, or not every size."""
    inside = list(fields(data, value.start, value.end))
    name = "".join(_texts(data, inside, 1)[:1])
    types = _inside(data, [one for one in inside if one.number == 2], 1)  # type, tensor_type
    shapes = _inside(data, types, 2)
    if not shapes:
        return name, None
    sizes: list[Dimension] = []
    for axis in _inside(data, shapes, 1):
        parts = list(fields(data, axis.start, axis.end))
        numbers = [one.value for one in parts if one.number == 1 and one.wire == VARINT]
        size: Dimension = numbers[0] if numbers else "".join(_texts(data, parts, 2)[:1])
        if size == "":
            return name, None
        sizes.append(size)
    return name, tuple(sizes)


def _inside(data: Bytes, messages: Iterable[Field], number: int) -> list[Field]:
    """The messages of one number inside all ``messages``."""
    found = []
    for message in messages:
        if message.wire == LENGTH:
            found += [one for one in fields(data, message.start, message.end) if one.number == number]
    return found


def _texts(data: Bytes, inside: Iterable[Field], number: int) -> list[str]:
    chosen = [one for one in inside if one.number == number and one.wire == LENGTH]
    return [data[one.start : one.end].decode("utf-8", "replace") for one in chosen]
