"""Nodes and tensor shapes of an ONNX file, read without an ONNX library.

Shapes are those that the exporter wrote into the file. Tensors that a later tool put in (casts, quantisation) have
none; where such a node does not change a shape, its output has its input's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from clsclip_runtime.bundle.graph_rules import BUNDLES
from clsclip_runtime.bundle.onnx_graph import INT
from clsclip_runtime.bundle.onnx_walk import walk

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
    """

    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)


def read_shapes(path: Path) -> OnnxShapes:
    """Nodes and shapes of the ONNX file at ``path``; weights are skipped.

    Raises:
        NotOnnxError: the file is not ONNX.
        OSError: it cannot be read.
    """
    graph = walk(path.read_bytes(), BUNDLES.bounds).graph
    found = OnnxShapes(inputs=[one.name for one in graph.inputs])
    for one in graph.nodes:
        numbers = {name: value if kind == INT else 0 for name, (kind, value) in one.attributes.items()}
        found.nodes.append(Node(one.operator, one.inputs, one.outputs, numbers))
    found.shapes = {one.name: one.shape for one in graph.tensors}
    for value in (*graph.inputs, *graph.outputs, *graph.values):
        if value.shape is not None and "" not in value.shape:
            found.shapes[value.name] = value.shape
    for node in found.nodes:
        if node.operator in SAME_SHAPE and node.inputs and node.inputs[0] in found.shapes:
            for name in node.outputs:
                found.shapes.setdefault(name, found.shapes[node.inputs[0]])
    return found
