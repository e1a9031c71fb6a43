"""The export of a model's graphs to ONNX, with named dynamic axes."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator

from clsclip.base import WordSegmenter
from clsclip_export.architectures import Graph, architecture_of

OPSET = 18


_log = logging.getLogger(__name__)


def graphs(model: WordSegmenter) -> list[Graph]:
    """The graphs of a bundle (README, "The bundle")."""
    return architecture_of(model).graphs()


@dataclass(frozen=True, eq=False)
class ExportedGraph:
    """A graph in FP32 ONNX, with what it came from.

    Attributes:
        graph: its module and example inputs.
        proto: the ONNX graph, weights inside.
        program: PyTorch's own trace; its values bear the names that the ONNX tensors bear.
    """

    graph: Graph
    proto: onnx.ModelProto
    program: torch.export.ExportedProgram


@dataclass(frozen=True, eq=False)
class Exported:
    """A model with all its graphs in FP32 ONNX.

    Attributes:
        model: in evaluation mode.
        graphs: by their file in the bundle.
    """

    model: WordSegmenter
    graphs: Mapping[str, ExportedGraph]


def export_graphs(model: WordSegmenter) -> Exported:
    """Export every graph of a bundle; ``model`` is in evaluation mode."""
    exported = {}
    for graph in graphs(model):
        _log.info("exporting %s", graph.file)
        exported[graph.file] = export_graph(graph)
    return Exported(model, exported)


def export_graph(graph: Graph) -> ExportedGraph:
    """Export one graph with ``torch.onnx.export(dynamo=True)``; batch axes stay dynamic."""
    dynamic: list[dict[int, Any]] = [
        {axis: torch.export.Dim(name) for axis, name in graph.axes[key].items()} for key in graph.inputs
    ]
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=[tuple(dynamic)] if takes_any(graph.module) else dynamic,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # noqa: S101 (only None when exporting to a file the old way)
    proto: onnx.ModelProto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces of the exporting machine
        node.doc_string = ""
    del proto.metadata_props[:]
    fold_weights(proto.graph)
    drop_unread_inputs(proto.graph)
    assert program.exported_program is not None  # noqa: S101 (the same)
    return ExportedGraph(graph, proto, program.exported_program)


def takes_any(module: torch.nn.Module) -> bool:
    """Whether a module takes any number of inputs, which are then one argument."""
    parameters = inspect.signature(module.forward).parameters.values()
    return any(one.kind is one.VAR_POSITIONAL for one in parameters)


def drop_unread_inputs(graph: onnx.GraphProto) -> None:
    """Not every variant reads all that its module takes; what nobody reads would have to be made for nothing."""
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for value in [value for value in graph.input if value.name not in read]:
        graph.input.remove(value)


def fold_weights(graph: onnx.GraphProto) -> None:
    """Store weights as products read them: what only cuts or transposes a weight is done here, once and for all.

    The exporter does so for small weights that are used once. Done everywhere, graphs share their weights, and what
    makes them half or INT8 finds them beside their products.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type in ("Split", "Transpose") and all(name in weights for name in node.input):
            feeds = {name: onnx.numpy_helper.to_array(weights[name]) for name in node.input}
            results = ReferenceEvaluator(node).run(None, feeds)
            for name, value in zip(node.output, results, strict=True):
                weights[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    del graph.initializer[:]
    graph.initializer.extend(tensor for name, tensor in weights.items() if name in used)
