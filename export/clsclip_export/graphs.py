"""The modules that become ONNX graphs, and their export with named dynamic axes."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from clsclip.model import ClsClip
from clsclip_export.sharing import shared_trunk

OPSET = 18


class TextEncoder(nn.Module):
    """token_ids (K, L) int64 -> text_tokens (K, d_text), text_features (K, f)."""

    def __init__(self, model: ClsClip) -> None:
        super().__init__()
        self.towers = model.towers

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.towers.text_tokens(token_ids)
        return tokens, self.towers.text_features(tokens)


class ImageEncoder(nn.Module):
    """pixel_values (C, 3, S, S) -> stem_tokens (C, 1 + v + m, d), image_features (C, f), patch_features (C, m, f)."""

    def __init__(self, model: ClsClip) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.encode_image(pixel_values)


class Stem(nn.Module):
    """pixel_values (C, 3, S, S) -> stem_tokens (C, 1 + v + m, d): all of a crop that masks need."""

    def __init__(self, model: ClsClip) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model.stem(pixel_values)


class Trunk(nn.Module):
    """What runs once a pair: see :meth:`clsclip.model.ClsClip.trunk`.

    Args:
        model: what it is of.
        shared: compute once what pairs share, as bundles do; else the plain form, which parity compares with.
    """

    def __init__(self, model: ClsClip, *, shared: bool) -> None:
        super().__init__()
        self.model, self.shared = model, shared

    def forward(
        self, stem_tokens: Tensor, patch_features: Tensor, text_tokens: Tensor, crop_index: Tensor, class_index: Tensor
    ) -> Tensor:
        if self.shared:
            return shared_trunk(self.model, stem_tokens, patch_features, text_tokens, crop_index, class_index)
        return self.model.trunk(stem_tokens, patch_features, text_tokens, crop_index, class_index)


class Whole(nn.Module):
    """Stem and trunk in one: see :meth:`clsclip.model.ClsClip.forward`."""

    def __init__(self, model: ClsClip) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, text_tokens: Tensor, crop_index: Tensor, class_index: Tensor) -> Tensor:
        stem, patch_features = self.model.stem_and_patches(pixel_values)
        return shared_trunk(self.model, stem, patch_features, text_tokens, crop_index, class_index)


@dataclass(frozen=True)
class Graph:
    """One graph of a bundle.

    Attributes:
        file: name in the bundle.
        module: what it computes, as it is exported.
        reference: what it must compute, as training does.
        inputs: example inputs by name, every dynamic axis above 1 so that none is baked in.
        axes: for each input, its dynamic axes and their names.
        outputs: output names.
    """

    file: str
    module: nn.Module
    reference: nn.Module
    inputs: dict[str, Tensor]
    axes: dict[str, dict[int, str]]
    outputs: tuple[str, ...]


def example_inputs(model: ClsClip, crops: int, classes: int, pairs: int, seed: int = 0) -> dict[str, Tensor]:
    """Random inputs of every graph: C crops, K classes, P pairs that reach the first and the last of both."""
    generator = torch.Generator().manual_seed(seed)
    towers = model.towers
    size = towers.image.size
    pixel_values = torch.randn(crops, 3, size, size, generator=generator)
    lengths = torch.randint(3, towers.context_length, (classes,), generator=generator)
    ids = torch.randint(3, 200, (classes, towers.context_length), generator=generator)
    end = towers.end_token if towers.pool_type == "eos" else int(towers.text.token_embedding.num_embeddings) - 1
    for row, length in enumerate(lengths.tolist()):
        ids[row, length], ids[row, length + 1 :] = end or 0, 0
    with torch.no_grad():
        stem, image_features, patch_features = model.encode_image(pixel_values)
        text_tokens = towers.text_tokens(ids)
        text_features = towers.text_features(text_tokens)
    return {
        "pixel_values": pixel_values,
        "token_ids": ids,
        "stem_tokens": stem,
        "image_features": image_features,
        "patch_features": patch_features,
        "text_tokens": text_tokens,
        "text_features": text_features,
        "crop_index": torch.arange(pairs) % crops,
        "class_index": (classes - 1) - torch.arange(pairs) % classes,
    }


def graphs(model: ClsClip) -> list[Graph]:
    """The graphs of a bundle (README, "The bundle")."""
    inputs = example_inputs(model, crops=2, classes=3, pairs=5)
    dynamic = {
        "pixel_values": "C",
        "token_ids": "K",
        "stem_tokens": "C",
        "image_features": "C",
        "patch_features": "C",
        "text_tokens": "K",
        "text_features": "K",
        "crop_index": "P",
        "class_index": "P",
    }

    def graph(
        file: str,
        module: nn.Module,
        names: tuple[str, ...],
        outputs: tuple[str, ...],
        reference: nn.Module | None = None,
    ) -> Graph:
        chosen = {name: inputs[name] for name in names}
        axes = {name: {0: dynamic[name]} for name in names}
        module = module.eval()
        return Graph(file, module, module if reference is None else reference.eval(), chosen, axes, outputs)

    pair = ("text_tokens", "crop_index", "class_index")
    features = ("image_features", "patch_features")
    trunk, plain = Trunk(model, shared=True), Trunk(model, shared=False)
    found = [
        graph("segmenter.onnx", Whole(model), ("pixel_values", *pair), ("mask_logits",), model),
        graph("image_encoder.onnx", ImageEncoder(model), ("pixel_values",), ("stem_tokens", *features)),
        graph("trunk.onnx", trunk, ("stem_tokens", "patch_features", *pair), ("mask_logits",), plain),
        graph("presence.onnx", model.presence, (*features, "text_features"), ("presence",)),
        graph("text_encoder.onnx", TextEncoder(model), ("token_ids",), ("text_tokens", "text_features")),
    ]
    if model.decoder.similarity is None:  # else masks need CLIP's own path too, and so all of the image encoder
        found.append(graph("stem.onnx", Stem(model), ("pixel_values",), ("stem_tokens",)))
    return found


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

    model: ClsClip
    graphs: Mapping[str, ExportedGraph]


def export_graphs(model: ClsClip) -> Exported:
    """Export every graph of a bundle; ``model`` is in evaluation mode."""
    return Exported(model, {graph.file: export_graph(graph) for graph in graphs(model)})


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
            dynamic_shapes=dynamic,
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
