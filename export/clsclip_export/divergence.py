"""Which tensor goes wrong first: an exported graph beside PyTorch, and a rounded graph beside the FP32 one.

Slow and large, since every tensor is kept, so it is done only when a check has failed, and for the worst row alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from clsclip_export.architectures import Graph
from clsclip_export.graphs import ExportedGraph
from clsclip_export.parity import MIN_COSINE, row_cosines
from clsclip_export.precision import rounded

Arrays = dict[str, npt.NDArray[Any]]

PACKED = ("in_proj_weight", "in_proj_bias")
"""Parameters that hold those of queries, keys and values, one behind the other: three weights of the graph."""

RELATIVE = 1e-3
"""An FP32 tensor diverges from PyTorch's when it differs by more than this share of PyTorch's largest value."""


@dataclass(frozen=True)
class Divergence:
    """The first tensor that goes wrong: its name, the operator and weights that made it, and how it differs."""

    tensor: str
    made_by: str
    how: str

    def sentence(self, beside: str) -> str:
        """For people; ``beside`` says what it was compared with."""
        return f"First tensor that diverges from {beside}: {self.tensor} ({self.made_by}): {self.how}."


def explain_failure(exported: ExportedGraph, precision: str, feeds: Arrays, row: int) -> str:
    """A sentence that names the first tensor that diverges.

    Args:
        exported: the graph that failed.
        precision: it failed in.
        feeds: its inputs.
        row: of its output that is worst.
    """
    one = one_row(feeds, row)
    wrong = from_pytorch(exported, one)
    if wrong is not None:
        return wrong.sentence("PyTorch")
    if precision != "fp32":
        wrong = from_fp32(exported, precision, one)
        if wrong is not None:
            return wrong.sentence("FP32")
    return "No single tensor diverges much: small differences add up."


def one_row(feeds: Arrays, row: int) -> Arrays:
    """The inputs of one row of the output alone: a pair keeps its crop and class by index."""
    rows = ("crop_index", "class_index") if "crop_index" in feeds else tuple(feeds)
    return {name: value[row : row + 1] if name in rows else value for name, value in feeds.items()}


def unread(graph: Graph, name: str, feeds: Arrays) -> Tensor:
    """Something for an input that the exported graph does not read, in the number of the others on its axis."""
    axis = graph.axes[name][0]
    count = next((len(value) for other, value in feeds.items() if graph.axes[other][0] == axis), 1)
    example = graph.inputs[name]
    return example[:1].expand(count, *example.shape[1:])


def from_pytorch(exported: ExportedGraph, feeds: Arrays) -> Divergence | None:
    """The first tensor of the FP32 graph that is not what PyTorch computes under that name."""
    reference: dict[str, Tensor] = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor) and value.is_floating_point():
                reference[n.name] = value
            return value

    module = exported.program.module()
    tensors = [
        torch.from_numpy(feeds[name]) if name in feeds else unread(exported.graph, name, feeds)
        for name in exported.graph.inputs
    ]
    with torch.no_grad():
        Recorder(module).run(*tensors)
    for name, found in all_tensors(exported.proto, feeds):
        expected = reference.get(name)
        if expected is None or tuple(expected.shape) != found.shape:
            continue
        theirs = expected.numpy()
        if np.isnan(theirs).any():
            return Divergence(name, made_by(exported, name), "it is NaN, in PyTorch too: the weights are damaged")
        scale = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=1e-6))
        with np.errstate(invalid="ignore"):
            difference = np.abs(found - theirs)
        equal = np.isnan(theirs) & np.isnan(found) | (theirs == found)
        worst = float(np.where(equal, 0, difference).max(initial=0))
        if not worst <= RELATIVE * scale:
            how = f"it differs by {worst:.3g} where PyTorch's values reach {scale:.3g}"
            return Divergence(name, made_by(exported, name), how)
    return None


def from_fp32(exported: ExportedGraph, precision: str, feeds: Arrays) -> Divergence | None:
    """The first tensor that, computed in half, is infinite or points elsewhere than in FP32."""
    names = {name for node in exported.proto.graph.node for name in node.output}
    wide = dict(all_tensors(exported.proto, feeds))
    for name, found in all_tensors(rounded(exported.proto, precision), feeds):
        expected = wide.get(name)
        if name not in names or expected is None or found.ndim == 0 or found.size == 0:
            continue
        if not np.array_equal(np.isfinite(found), np.isfinite(expected)):
            most = float(np.abs(expected[np.isfinite(expected)]).max(initial=0))
            how = f"it reaches {most:.3g} in FP32 and is not finite in {precision}"
            return Divergence(name, made_by(exported, name), how)
        finite = np.isfinite(expected)
        rows = row_cosines(np.where(finite, found, 0), np.where(finite, expected, 0))
        if not rows.min() >= MIN_COSINE:
            return Divergence(name, made_by(exported, name), f"cosine {rows.min():.5f} to FP32 in {precision}")
    return None


def all_tensors(model: onnx.ModelProto, feeds: Arrays) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Every float32 tensor that nodes give, in the graph's order."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in watched.graph.output}
    made = [name for node in watched.graph.node for name in node.output if name]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Fused nodes give no inner tensors, and fusing is not what is looked for.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {entry.name for entry in session.get_inputs()}
    floats = {entry.name for entry in session.get_outputs() if entry.type == "tensor(float)"}
    kept = [name for name in made if name in floats]
    values = session.run(kept, {name: value for name, value in feeds.items() if name in wanted})
    yield from zip(kept, values, strict=True)


def made_by(exported: ExportedGraph, tensor: str) -> str:
    """Operator and weights behind a tensor, through the product that its bias was added to."""
    makers = {name: node for node in exported.proto.graph.node for name in node.output}
    weights = {one.name: one for one in exported.proto.graph.initializer}
    node = makers[tensor]
    operators, used = [node.op_type], list(node.input)
    if node.op_type == "Add" and node.input[0] in makers and makers[node.input[0]].op_type == "MatMul":
        operators = ["MatMul", "Add"]
        used = [*makers[node.input[0]].input, *used]
    named = [weight_name(exported.graph.module, weights[name]) for name in used if name in weights]
    found = [name for name in named if name]
    return " and ".join(operators) + (f" with {', '.join(found)}" if found else "")


def weight_name(module: nn.Module, weight: onnx.TensorProto) -> str | None:
    """The name in PyTorch of a weight, which the exporter may have cut, transposed and renamed; None for constants."""
    values = numpy_helper.to_array(weight)
    if values.ndim == 0 or values.size == 1:
        return None
    for name, parameter in module.named_parameters():
        theirs = parameter.detach().numpy()
        parts = np.split(theirs, 3) if name.endswith(PACKED) else [theirs]
        if any(same(part, values) or (part.ndim == 2 and same(part.T, values)) for part in parts):
            return name.removeprefix("model.")
    return weight.name


def same(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    """Equal in shape and in every value, NaN included."""
    return first.shape == second.shape and bool(np.array_equal(first, second, equal_nan=True))
