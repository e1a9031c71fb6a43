"""How many floating point operations a graph's products take, counted from its shapes.

Matrix products and convolutions are counted, a multiplication and an addition as two; everything else (normalisation,
softmax, activations) is under one percent and is not. The count is of the graph as it is: work that an engine saves or
repeats does not change it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clsclip_runtime.bench.onnx_shapes import Dimension, Node, OnnxShapes, Shape, read_shapes
from clsclip_runtime.bundle import GATE, IMAGE_ENCODER, TEXT_ENCODER, TRUNK, Bundle
from clsclip_runtime.protobuf import NotProtobufError

_OPERANDS = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3), "Gemm": (0, 1), "QGemm": (0, 3)}
"""Which inputs of a product are multiplied."""

_KERNELS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Which input of a convolution is the kernel."""

_UNKNOWN = frozenset(
    {"Attention", "ConvTranspose", "Einsum", "GRU", "If", "LSTM", "Loop", "MultiHeadAttention", "Scan"}
)
"""Operators that multiply matrices in ways that are not counted here."""


class CountError(ValueError):
    """Operations cannot be counted; the message says of what."""


@dataclass(frozen=True)
class Operations:
    """A polynomial in the sizes of the dynamic axes.

    Attributes:
        terms: operations by the axes that they are multiplied by: ``{("P",): 1.7e9, (): 5e3}``.
    """

    terms: Mapping[tuple[str, ...], float]

    def at(self, **sizes: int) -> float:
        """Operations of one call with these sizes, such as ``at(C=1, K=20, P=20)``. CountError if one is missing."""
        total = 0.0
        for axes, factor in self.terms.items():
            for axis in axes:
                if axis not in sizes:
                    raise CountError(f"the size of the axis {axis} is not known")
                factor *= sizes[axis]
            total += factor
        return total


def count_operations(path: Path) -> Operations:
    """Operations of one call of the ONNX file at ``path``.

    Raises:
        CountError: a shape is not stated, or an operator is not known here. Nothing is left out silently.
        OSError: the file cannot be read.
    """
    try:
        graph = read_shapes(path)
    except NotProtobufError as error:
        raise CountError(f"{path.name} is not an ONNX graph: {error}") from error
    if graph.has_functions:
        raise CountError(f"{path.name} has functions of its own, which are not looked into")
    terms: dict[tuple[str, ...], float] = {}
    for node in graph.nodes:
        if node.operator in _UNKNOWN:
            raise CountError(f"{path.name} has the operator {node.operator}, which is not counted")
        dimensions = _dimensions(node, graph, path.name)
        if dimensions:
            axes = tuple(sorted(one for one in dimensions if isinstance(one, str)))
            numbers = math.prod(one for one in dimensions if isinstance(one, int))
            terms[axes] = terms.get(axes, 0.0) + 2.0 * numbers
    return Operations(terms)


def _dimensions(node: Node, graph: OnnxShapes, name: str) -> tuple[Dimension, ...]:
    """The sizes whose product is the number of multiplications of a node; empty where it has none."""

    def shape(tensor: str) -> Shape:
        if tensor not in graph.shapes:
            raise CountError(f"{name} does not state the shape of {tensor}, which {node.operator} takes")
        return graph.shapes[tensor]

    if node.operator in _OPERANDS:
        first, second = (shape(node.inputs[at]) for at in _OPERANDS[node.operator])
        turned = bool(node.numbers.get("transB"))
        columns: Shape = (second[0 if turned else -1],) if len(second) > 1 else ()
        return (*_batch(first[:-2], second[:-2]), *first[-2:], *columns)
    if node.operator in _KERNELS:
        return (*shape(node.outputs[0]), *shape(node.inputs[_KERNELS[node.operator]])[1:])
    return ()


def _batch(first: Shape, second: Shape) -> Shape:
    """Batch axes of a product of two stacks of matrices: where one has 1, or no such axis, it is the other's."""
    length = max(len(first), len(second))
    wide = [(1,) * (length - len(shape)) + shape for shape in (first, second)]
    return tuple(two if one == 1 else one for one, two in zip(*wide, strict=True))


@dataclass(frozen=True)
class BundleOperations:
    """Operations of a bundle's graphs.

    Attributes:
        image: of the image encoder, by crops ``C``: the stem, and CLIP's own path behind it for the gate.
        trunk: by pairs ``P`` (and crops and classes).
        gate: by crops and classes; None without a gate.
        text: by texts ``K``.
    """

    image: Operations
    trunk: Operations
    gate: Operations | None
    text: Operations

    @classmethod
    def of(cls, bundle: Bundle) -> BundleOperations:
        """Count those of ``bundle``. CountError where that is not possible."""
        gate = count_operations(bundle.path(GATE)) if GATE in bundle.manifest.files else None
        image, trunk, text = (count_operations(bundle.path(name)) for name in (IMAGE_ENCODER, TRUNK, TEXT_ENCODER))
        return cls(image, trunk, gate, text)

    def by_graph(self, crops: int, classes: int, pairs: int) -> dict[str, float]:
        """Operations of one call by graph, once the words are encoded; ``text`` is what encoding them takes once."""
        sizes = {"C": crops, "K": classes, "P": pairs}
        counted = {"image": self.image.at(**sizes), "trunk": self.trunk.at(**sizes) if pairs else 0.0}
        counted["gate"] = 0.0 if self.gate is None else self.gate.at(**sizes)
        counted["text"] = self.text.at(**sizes)
        return counted


def of_a_call(by_graph: Mapping[str, float]) -> float:
    """Operations of a call whose words are known: all but the text encoder's."""
    return math.fsum(_without_text(by_graph))


def _without_text(by_graph: Mapping[str, float]) -> Iterable[float]:
    return (value for name, value in by_graph.items() if name != "text")
