"""What an ONNX file says, as :mod:`clsclip_runtime.bundle.onnx_walk` finds it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from clsclip_runtime.bundle.protobuf import NotProtobufError

NotOnnxError = NotProtobufError
"""The bytes are not an ONNX graph as exporters write them."""

SMALL = 1024
"""Bytes from which on a tensor is handed to engines beside the graph, and not in it."""

BYTES_OF = {
    1: 4,
    2: 1,
    3: 1,
    4: 2,
    5: 2,
    6: 4,
    7: 8,
    9: 1,
    10: 2,
    11: 8,
    12: 4,
    13: 8,
    16: 2,
    17: 1,
    18: 1,
    19: 1,
    20: 1,
}
"""Of one value, by ONNX's number of its type. Types that share a byte between values are not among them."""

FLOAT, INT64 = 1, 7
"""ONNX's numbers of two types of values."""

INT, TENSOR, INTS = 2, 4, 7
"""ONNX's numbers of two types of attributes."""


class Tensor(NamedTuple):
    """An initializer, or the value of an attribute.

    Attributes:
        name: of it.
        dtype: ONNX's number of its type.
        shape: of it.
        start, end: where its bytes lie in the file, as they are in memory; both 0 where they do not.
        place: file, offset and length of its bytes in another file.
        values: of few whole numbers, which shapes are made of.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]
    start: int
    end: int
    place: tuple[str, int, int] | None
    values: tuple[int, ...] | None

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return math.prod(self.shape) * BYTES_OF[self.dtype]


class Node(NamedTuple):
    """One operation."""

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, tuple[int, Any]]
    """Type and value by name; of floats and texts the value is None."""
    name: str = ""


class Value(NamedTuple):
    """An input, an output, or what a graph states about a value in it.

    Attributes:
        name: of it.
        dtype: ONNX's number of its type.
        shape: sizes of its axes, or the name of one that is open (an empty one if it has none); None if it states none.
    """

    name: str
    dtype: int
    shape: tuple[int | str, ...] | None


@dataclass
class Graph:
    """Nodes, and what they read and give."""

    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Of the file: all of the graph but the tensors that are handed over beside it."""
    places: list[int] = field(default_factory=list)
    """Which of the spans is a node's."""
    open_clips: list[tuple[int, int]] = field(default_factory=list)
    """Nodes of Clip that leave a bound out, by number, with the type of what they read; known once it is checked."""


@dataclass
class Model:
    """What an ONNX file says.

    Attributes:
        ir_version: of the format.
        opsets: version by domain.
        metadata: entries by name.
        graph: of it.
        around: spans of the file that belong to the model and not to its graph.
    """

    ir_version: int
    opsets: dict[str, int]
    metadata: dict[str, str]
    graph: Graph
    around: list[tuple[int, int]]


@dataclass(frozen=True)
class Bounds:
    """How large a graph may be.

    Attributes:
        nodes: of all graphs together.
        tensors: initializers of one graph.
        bytes: of the file beside its tensors.
        metadata: bytes of all entries together.
    """

    nodes: int
    tensors: int
    bytes: int
    metadata: int = 1 << 20
