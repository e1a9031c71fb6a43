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

from clsclip_bench.onnx_shapes import Dimension, Node, OnnxShapes, Shape, read_shapes
from clsclip_runtime.bundle.onnx_graph import NotOnnxError
from clsclip_runtime.bundle.opening import TEXT_ENCODER, Bundle
from clsclip_runtime.errors import BundleError

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
    except NotOnnxError as error:
        raise CountError(f"{path.name} is not an ONNX graph: {error}") from error
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


class BundleOperations:
    """Operations of a bundle's graphs, counted when they are first asked for."""

    def __init__(self, bundle: Bundle) -> None:
        """Count nothing yet."""
        self._bundle = bundle
        self._known: dict[str, Operations] = {}

    def of(self, file: str) -> Operations:
        """Operations of one of the bundle's graphs. CountError where they cannot be counted."""
        if file not in self._known:
            try:
                self._known[file] = count_operations(self._bundle.path(file))
            except BundleError as error:
                raise CountError(str(error)) from error
            except OSError as error:
                raise CountError(f"{file} cannot be read: {error.strerror or error}") from error
        return self._known[file]

    def by_graph(self, files: Iterable[str], crops: int, classes: int, pairs: int) -> dict[str, float]:
        """Operations of one call, by graph.

        Args:
            files: the graphs that the call ran.
            crops, classes, pairs: of the call; however many runs of a graph they were, the sum is the same.

        Raises:
            CountError: one cannot be counted.
        """
        sizes = {"C": crops, "K": classes, "P": pairs}
        return {file: self.of(file).at(**sizes) for file in files}

    def of_words(self, classes: int) -> float:
        """Operations of encoding so many new words, in one template. CountError where they cannot be counted."""
        return self.of(TEXT_ENCODER).at(K=classes)
