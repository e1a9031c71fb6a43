"""Weights that graphs share in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from clsclip_export.weights import WEIGHTS_FILE, save_shared
from clsclip_runtime.bundle.contents import read_whole
from clsclip_runtime.bundle.graph_rules import BUNDLES
from clsclip_runtime.bundle.onnx_walk import walk


@pytest.mark.parametrize(
    "dtype",
    [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64],
)
@pytest.mark.parametrize("raw", [True, False])
def test_a_tensor_has_its_values_in_one_place_however_it_was_kept(dtype: int, raw: bool, tmp_path: Path) -> None:
    values = (np.arange(2048) % 100).astype(helper.tensor_dtype_to_np_dtype(dtype))
    tensor = helper.make_tensor("weights", dtype, [2048], values.tobytes() if raw else values, raw)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["weights"], ["out"])],
        "main",
        [],
        [helper.make_tensor_value_info("out", dtype, [2048])],
        [tensor],
    )
    save_shared({"trunk.onnx": helper.make_model(graph)}, tmp_path, WEIGHTS_FILE)

    (walked,) = walk(read_whole(tmp_path / "trunk.onnx").data, BUNDLES.bounds).graph.tensors
    assert walked.place == (WEIGHTS_FILE, 0, values.nbytes)
    (read,) = onnx.load(tmp_path / "trunk.onnx").graph.initializer
    assert onnx.numpy_helper.to_array(read).tobytes() == values.tobytes()
