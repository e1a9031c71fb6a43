"""Counted operations against hand counts, PyTorch's own counter, and ONNX's shape inference."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from clsclip_bench.onnx_shapes import read_shapes
from clsclip_bench.operations import BundleOperations, CountError, count_operations
from clsclip_export.graphs import export_graph, graphs
from clsclip_runtime.bundle.opening import IMAGE_ENCODER, PRESENCE, TEXT_ENCODER, TRUNK, Bundle
from tests.tiny import tiny_model


def layer(tokens: int, width: int) -> int:
    """A transformer layer by hand: Q, K, V, output and the MLP are 12 d² a token; scores and mixing 2 T² d."""
    return 2 * (12 * tokens * width**2 + 2 * tokens**2 * width)


def test_the_embedded_bundle_by_hand() -> None:
    operations = BundleOperations(Bundle.open())
    tokens, width, text, layers, first, patch, side, details = 257, 192, 128, 6, 2, 8, 64, 16
    patches, grid, square = tokens - 1, 16, 2 * 192 * 192
    # Once a crop: the first navigation layer's attention of patches to patches, and the stem's map.
    by_crop = patches * (4 * square + 4 * patches * width)
    # Once a word: its feature, and its token in that layer. NAV has three maps.
    by_word = 2 * text * 128 + 2 * text * width + 3 * square
    # Once a pair: the rest of that layer, three more, two more maps.
    rest = tokens * 9 * square + 2 * patches * width + 4 * tokens * width
    encoder_part = rest + (layers - first - 1) * layer(tokens, width) + 2 * 2 * text * width
    # The decoder has two layers, one token more for the word, the cosine's map, two heads, and the cosine upsampled.
    heads = 2 * (text * width + patches * (width + width * 16 + width * 16 * details))
    decoder = 2 * layer(tokens, width) + heads + 2 * side * grid * (grid + side)
    by_pair = encoder_part + decoder
    image = 2 * patches * 3 * patch**2 * width + layers * layer(tokens, width) + 2 * tokens * width * text
    pixels = side**2 * (27 + 9 * details) + (side // 2) ** 2 * 9 * (2 * details + 2 * details * 4)
    image += 2 * details * (pixels + side**2 * 9 * details)
    assert operations.of(TRUNK).terms == {("P",): by_pair, ("C",): by_crop, ("K",): by_word}
    assert operations.of(IMAGE_ENCODER).terms == {("C",): pytest.approx(image, rel=1e-3)}
    counted = operations.by_graph([IMAGE_ENCODER, TRUNK, PRESENCE], crops=2, classes=5, pairs=10)
    assert counted[TRUNK] == 10 * by_pair + 2 * by_crop + 5 * by_word
    assert counted[PRESENCE] == 2 * 5 * 2 * tokens * 128
    assert operations.of_words(20) == 20 * operations.of_words(1)


@pytest.mark.slow
def test_pytorch_counts_the_same(tmp_path: Path) -> None:
    (graph,) = [one for one in graphs(tiny_model(decoder_inputs=("text_token", "similarity"))) if one.file == TRUNK]
    onnx.save(export_graph(graph).proto, tmp_path / TRUNK)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        graph.module(*graph.inputs.values())
    assert count_operations(tmp_path / TRUNK).at(C=2, K=3, P=5) == counter.get_total_flops()


@pytest.mark.parametrize("file", [TRUNK, IMAGE_ENCODER, TEXT_ENCODER, PRESENCE, "segmenter.onnx"])
def test_shape_inference_counts_the_same(file: str) -> None:
    """ONNX's own, with sizes filled in and nothing left of what the exporter stated."""
    path = Bundle.open().path(file)
    assert count_operations(path).at(C=2, K=3, P=5) == by_shape_inference(path, C=2, K=3, P=5)


def by_shape_inference(path: Path, **sizes: int) -> int:
    model = onnx.load(path)
    del model.graph.value_info[:]
    for value in model.graph.input:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_value = sizes[axis.dim_param]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=False).graph
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type in ("MatMul", "Gemm"):
            total += 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
        elif node.op_type == "Conv":
            total += 2 * math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    return total


sizes = st.integers(1, 6)


@given(batch=st.lists(sizes, max_size=2), ones=st.integers(0, 2), rows=sizes, depth=sizes, columns=sizes)
def test_stacks_of_matrices(
    batch: list[int], ones: int, rows: int, depth: int, columns: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The batch axes of a product are broadcast: numpy says how many numbers come out."""
    wide = [1 if at < ones else size for at, size in enumerate(batch)]
    first, second = [*wide, rows, depth], [*batch, depth, columns]
    path = save_product(tmp_path_factory.getbasetemp(), first, second)
    made = np.matmul(np.zeros(first), np.zeros(second))
    assert count_operations(path).at() == 2 * made.size * depth


def save_product(folder: Path, first: list[int], second: list[int], value_info: bool = True) -> Path:
    inputs = [helper.make_tensor_value_info("a", TensorProto.FLOAT, first)]
    weight = numpy_helper.from_array(np.zeros(second, np.float32), "b")
    nodes = [helper.make_node("Relu", ["a"], ["c"]), helper.make_node("MatMul", ["c", "b"], ["d"])]
    known = [helper.make_tensor_value_info("c", TensorProto.FLOAT, first)] if value_info else []
    output = helper.make_tensor_value_info("d", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", inputs, [output], [weight], value_info=known)
    path = folder / "product.onnx"
    onnx.save(helper.make_model(graph), path)
    return path


def test_quantised_weights_keep_their_shape(tmp_path: Path) -> None:
    whole = numpy_helper.from_array(np.zeros((4, 6), np.int8), "w8")
    scale = numpy_helper.from_array(np.asarray(0.1, np.float32), "s")
    nodes = [
        helper.make_node("QuantizeLinear", ["a", "s"], ["a8"]),
        helper.make_node("DequantizeLinear", ["a8", "s"], ["a_back"]),
        helper.make_node("DequantizeLinear", ["w8", "s"], ["w"]),
        helper.make_node("MatMul", ["a_back", "w"], ["d"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in
              (("a", ["P", 7, 4]), ("d", None))]  # fmt: skip
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [whole, scale])
    onnx.save(helper.make_model(graph), tmp_path / "q.onnx")
    assert count_operations(tmp_path / "q.onnx").terms == {("P",): 2 * 7 * 4 * 6}


def test_what_cannot_be_counted_is_said(tmp_path: Path) -> None:
    path = save_product(tmp_path, [2, 3], [3, 4], value_info=False)
    with pytest.raises(CountError, match=r"does not state the shape of c, which MatMul takes"):
        count_operations(path)
    node = helper.make_node("Einsum", ["a", "a"], ["d"], equation="ij,jk->ik")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "ad"]
    onnx.save(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])), path)
    with pytest.raises(CountError, match="Einsum"):
        count_operations(path)
    path.write_bytes(b"\x0b not ONNX")
    with pytest.raises(CountError, match="not an ONNX graph"):
        count_operations(path)
    with pytest.raises(CountError, match="axis P is not known"):
        BundleOperations(Bundle.open()).of(TRUNK).at(C=1, K=1)


def test_shapes_are_those_that_onnx_reads(tmp_path: Path) -> None:
    path = Bundle.open().path(TRUNK)
    graph = onnx.load(path, load_external_data=False).graph
    expected = {
        value.name: tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.output, *graph.value_info)
        if all(axis.HasField("dim_param") or axis.HasField("dim_value") for axis in value.type.tensor_type.shape.dim)
    }
    expected |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found = read_shapes(path)
    assert found.shapes == expected
    assert [(node.operator, list(node.inputs), list(node.outputs)) for node in found.nodes] == [
        (node.op_type, list(node.input), list(node.output)) for node in graph.node
    ]
    assert found.inputs == [value.name for value in graph.input]
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ValueError, match="the file is empty"):
        read_shapes(tmp_path / "empty.onnx")
