"""Half precision in the graph itself: an FP32 ONNX graph becomes an FP16 or BF16 one with FP32 islands.

TensorRT is strongly typed: it computes in the precision that the graph states, so the graph has to state it. What
rounds badly stays FP32: normalisation, softmax, sums, exponentials, and the last product before the mask logits.
Inputs and outputs stay FP32 too, so that callers need not know.

The same plan is written in two ways. ``to_half`` makes the graph that ships. ``rounded`` makes its double for
verification: an FP32 graph that rounds every tensor which is half in the other. It has to exist because ONNX Runtime
has no half kernels on CPUs: it computes a half graph in FP32 and leaves out the roundings between two nodes (checked
with 1.32), so a value beyond half's range, which is infinite on a GPU, would pass unseen; BF16 it does not run at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from clsclip_export.errors import PrecisionError

PRECISIONS = ("fp32", "fp16", "bf16")

HALF_TYPES: dict[str, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
HALF_DTYPES: dict[str, Any] = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}

# fmt: off
WIDE_OPS = frozenset({
    "Cast", "Clip", "CumSum", "Exp", "LayerNormalization", "Log", "LogSoftmax", "Pow", "ReduceL2", "ReduceLogSumExp",
    "ReduceMean", "ReduceSum", "Sigmoid", "Softmax", "Sqrt",
})
"""Operators that compute in FP32: their rounding errors add up, or their inputs leave half's range."""

WIDE_OPS_OF: dict[str, frozenset[str]] = {"fp16": frozenset(), "bf16": frozenset({"Conv"})}
"""What else is FP32 in one precision: the operator set knows no BF16 convolution (only the patch embedding is one)."""

WIDE_RESIDUALS = frozenset({"bf16"})
"""Precisions in which sums of two computed tensors are FP32: BF16 has 8 bits of mantissa, too few for 24 sums."""

MOVEMENT_OPS = frozenset({
    "Concat", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze", "Where",
})
# fmt: on
"""Operators that only move values: FP32 where any of what they move is."""

_AFTER_LAST = frozenset({"Add", "Exp", "GreaterOrEqual", "Log", "Min", "Mul", "ReduceMax", "Relu", "Sub", "Where"})
"""What may stand between the last product and the mask logits, besides what moves values."""

WIDE_OUTPUTS = ("mask_logits",)
"""Outputs whose last product is computed in FP32 too: their sign decides a pixel."""


@dataclass(frozen=True)
class Plan:
    """Which precision every float tensor of a graph has.

    Attributes:
        floats: names of all float tensors.
        half_nodes: positions of the nodes that compute in half.
        half: names of the tensors that are half; the other floats are FP32. Weights are in neither: they follow
            their readers.
    """

    floats: frozenset[str]
    half_nodes: frozenset[int]
    half: frozenset[str]


def make_plan(model: onnx.ModelProto, precision: str) -> Plan:
    """Decide what is half in an FP32 graph.

    Raises:
        PrecisionError: the type of a tensor cannot be told.
    """
    graph = model.graph
    floats = float_tensors(model)
    weights = {tensor.name for tensor in graph.initializer}
    half = {value.name for value in graph.input if value.name in floats}
    half_nodes = set()
    wide = WIDE_OPS | WIDE_OPS_OF[precision]
    last = last_products(graph)
    for position, node in enumerate(graph.node):
        results = [name for name in node.output if name in floats]
        moved = [name for name in node.input if name in floats and name not in weights]
        if not results:
            continue
        if node.op_type in MOVEMENT_OPS:
            is_half = all(name in half for name in moved)
        else:
            # A division by a tensor normalises: the divisor came out of a wide sum, and its inverse may be large.
            divides = node.op_type == "Div" and node.input[1] in floats and node.input[1] not in weights
            # The sum of a branch and what it branched from: over all layers, its rounding errors add up.
            residual = node.op_type == "Add" and len(moved) == 2 and precision in WIDE_RESIDUALS
            is_half = node.op_type not in wide and not divides and not residual and position not in last
        if is_half:
            half_nodes.add(position)
            half.update(results)
    return Plan(frozenset(floats), frozenset(half_nodes), frozenset(half))


def float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of all FP32 tensors: weights, inputs and what nodes give."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    missing = [name for node in graph.node for name in node.output if name and not types.get(name)]
    if missing:
        inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
        types |= {value.name: value.type.tensor_type.elem_type for value in inferred}
        missing = [name for name in missing if not types.get(name)]
    if missing:
        raise PrecisionError(
            f"The type of tensor {missing[0]} cannot be told, so the graph cannot be made half. "
            "Export in --fp32, and report the model."
        )
    return {name for name, kind in types.items() if kind == TensorProto.FLOAT}


def last_products(graph: onnx.GraphProto) -> set[int]:
    """Positions of the products, and their biases, that give the wide outputs, and of what moves these after."""
    makers = {name: position for position, node in enumerate(graph.node) for name in node.output}
    pending = [value.name for value in graph.output if value.name in WIDE_OUTPUTS]
    found: set[int] = set()
    while pending:
        position = makers.get(pending.pop())
        if position is None or position in found:
            continue
        node = graph.node[position]
        if node.op_type in MOVEMENT_OPS or node.op_type in _AFTER_LAST:
            found.add(position)
            pending.extend(node.input)
        elif node.op_type in ("MatMul", "Gemm"):
            found.add(position)
    return found


Naming = Callable[[onnx.TensorProto], str | None]
"""The name of a weight for people; the exporter's own may say nothing."""


def to_half(model: onnx.ModelProto, precision: str, naming: Naming = lambda weight: weight.name) -> onnx.ModelProto:
    """The graph in ``precision``, with casts where half and FP32 meet.

    Args:
        model: an FP32 graph with its weights inside; not changed.
        precision: ``fp16`` or ``bf16``.
        naming: names a weight in an error.

    Raises:
        PrecisionError: a weight leaves the range of half, or a tensor's type cannot be told.
    """
    return _Writer(model, precision, emulate=False, naming=naming).write()


def rounded(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """The FP32 graph that rounds wherever ``to_half`` would: what a GPU computes, on an engine without half kernels.

    Args and Raises as of :func:`to_half`.
    """
    return _Writer(model, precision, emulate=True, naming=lambda weight: weight.name).write()


class _Writer:
    """Writes one graph along its plan."""

    def __init__(self, model: onnx.ModelProto, precision: str, *, emulate: bool, naming: Naming) -> None:
        self._source = model
        self._naming = naming
        self._plan = make_plan(model, precision)
        self._precision = precision
        self._half_type = HALF_TYPES[precision]
        self._emulate = emulate
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._outputs = {value.name for value in model.graph.output}
        self._nodes: list[onnx.NodeProto] = []
        self._kept: dict[str, onnx.TensorProto] = {}
        self._made: dict[tuple[str, bool], str] = {}

    def write(self) -> onnx.ModelProto:
        """The new graph; value types of the old one are left out, since they would lie."""
        for position, node in enumerate(self._source.graph.node):
            half = position in self._plan.half_nodes
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for at, name in enumerate(node.input):
                copy.input[at] = self._read(name, half)
            results = [at for at, name in enumerate(node.output) if half and name in self._plan.floats]
            for at in results:
                copy.output[at] = self._written(node.output[at])
            self._nodes.append(copy)
            for at in results:
                self._finish(node.output[at])
        result = onnx.ModelProto()
        result.CopyFrom(self._source)
        graph = result.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(self._kept.values())
        return result

    def _read(self, name: str, half: bool) -> str:
        """The name under which a node of this precision reads a tensor; makes weights and casts on first need."""
        if name in self._weights:
            return self._weight(name, half and name in self._plan.floats)
        if not name or name not in self._plan.floats:
            return name
        is_input = any(value.name == name for value in self._source.graph.input)
        if self._emulate:
            rounds = half and (is_input or name not in self._plan.half)
            return self._round(name) if rounds else name
        stored_half = name in self._plan.half and not is_input
        if half == stored_half:
            return self._written(name) if half else name
        if not half and name in self._outputs:
            return name  # the cast to the output is there already
        source = self._written(name) if stored_half else name
        return self._cast(source, half, f"{name}_{'half' if half else 'wide'}")

    def _weight(self, name: str, half: bool) -> str:
        if not half:
            self._kept[name] = self._weights[name]
            return name
        new = f"{name}_{self._precision}"
        if new not in self._kept:
            values = self._half_values(self._weights[name])
            stored = values.astype(np.float32) if self._emulate else values
            self._kept[new] = numpy_helper.from_array(stored, new)
        return new

    def _half_values(self, weight: onnx.TensorProto) -> npt.NDArray[Any]:
        try:
            return half_values(numpy_helper.to_array(weight), self._precision)
        except PrecisionError as error:
            raise PrecisionError(f"The weight {self._naming(weight)} {error}") from error

    def _written(self, name: str) -> str:
        """Where a half node writes: outputs of the graph are FP32, so their half value needs another name."""
        if self._emulate:
            return f"{name}_exact"
        return f"{name}_half" if name in self._outputs else name

    def _finish(self, name: str) -> None:
        if self._emulate:
            self._add_cast(f"{name}_exact", f"{name}_rounded", self._half_type)
            self._add_cast(f"{name}_rounded", name, TensorProto.FLOAT)
        elif name in self._outputs:
            self._add_cast(f"{name}_half", name, TensorProto.FLOAT)

    def _round(self, name: str) -> str:
        key = (name, True)
        if key not in self._made:
            self._add_cast(name, f"{name}_in_half", self._half_type)
            self._add_cast(f"{name}_in_half", f"{name}_in_rounded", TensorProto.FLOAT)
            self._made[key] = f"{name}_in_rounded"
        return self._made[key]

    def _cast(self, name: str, half: bool, new: str) -> str:
        key = (name, half)
        if key not in self._made:
            self._add_cast(name, new, self._half_type if half else TensorProto.FLOAT)
            self._made[key] = new
        return self._made[key]

    def _add_cast(self, name: str, new: str, kind: int) -> None:
        self._nodes.append(helper.make_node("Cast", [name], [new], name=f"cast_{new}", to=kind))


def half_values(values: npt.NDArray[Any], precision: str) -> npt.NDArray[Any]:
    """Values rounded to half.

    Raises:
        PrecisionError: a finite value becomes infinite.
    """
    with np.errstate(over="ignore"):
        half: npt.NDArray[Any] = values.astype(HALF_DTYPES[precision])
    if not np.array_equal(np.isfinite(half.astype(np.float32)), np.isfinite(values)):
        most = float(np.abs(values[np.isfinite(values)]).max())
        raise PrecisionError(
            f"reaches {most:.3g}, and {precision} holds at most "
            f"{float(ml_dtypes.finfo(HALF_DTYPES[precision]).max):.3g}. Export in --bf16 or --fp32."
        )
    return half


def precision_of(model: onnx.ModelProto) -> str:
    """The narrowest float type in which a graph computes a product: ``fp32``, ``fp16`` or ``bf16``."""
    kinds = set(_product_weights(model))
    for name, kind in HALF_TYPES.items():
        if kind in kinds:
            return name
    return "fp32"


def _product_weights(model: onnx.ModelProto) -> Iterator[int]:
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Conv"):
            yield from (types[name] for name in node.input if name in types)
