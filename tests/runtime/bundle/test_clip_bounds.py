"""Clips with open bounds: engines get both, values stay the same, and what does not fit together ends no process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.backends.openvino import OpenVino
from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.bundle.opening import EMBEDDED

BOUNDS = {
    "a lower": ["x", "low"],
    "an upper": ["x", "", "high"],
    "both": ["x", "low", "high"],
}
VALUES = {
    TensorProto.FLOAT: np.array([[-np.inf, -3e38, -2, 0, 2, 3e38, np.inf]], np.float32),
    TensorProto.FLOAT16: np.array([[-np.inf, -65504, -2, 0, 2, 65504, np.inf]], np.float16),
    TensorProto.INT64: np.array([[-(2**31), -2, 0, 2, 2**31 - 1]], np.int64),  # OpenVINO computes with 32 bits
}
TYPED = [
    (TensorProto.FLOAT, "a lower"),
    (TensorProto.FLOAT, "both"),
    (TensorProto.FLOAT, "an upper"),
    (TensorProto.FLOAT16, "a lower"),
    (TensorProto.INT64, "an upper"),
]


def write(path: Path, kind: int, inputs: list[str], *, width: int | None = None) -> bytes:
    """A graph with two Clips of these bounds; ``width`` gives it a product with so many rows of weights before them."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [] if width is None else [helper.make_node("MatMul", ["data", "w"], ["x"])]
    nodes += [
        helper.make_node("Clip", inputs, ["bound_1_2"], "first"),  # the name that a bound would get
        helper.make_node("Clip", ["bound_1_2", *inputs[1:]], ["y"], "second"),
    ]
    weights = [("low", -1), ("high", 1)]
    tensors = [numpy_helper.from_array(np.asarray(value, dtype), name) for name, value in weights]
    if width is not None:
        tensors.append(numpy_helper.from_array(np.ones((width, 3), dtype), "w"))
    columns = 4 if width is not None else "n"
    made = helper.make_graph(
        nodes,
        "clips",
        [helper.make_tensor_value_info("x" if width is None else "data", kind, ["b", columns])],
        [helper.make_tensor_value_info("y", kind, ["b", "m"])],
        tensors,
    )
    opset = [helper.make_opsetid("", 18)]
    content: bytes = helper.make_model(made, opset_imports=opset, ir_version=10).SerializeToString()
    path.write_bytes(content)
    return content


@pytest.mark.parametrize(("kind", "name"), TYPED)
def test_values_stay_the_same(tmp_path: Path, kind: int, name: str) -> None:
    path, values = tmp_path / "g.onnx", VALUES[kind]
    content = write(path, kind, BOUNDS[name])
    expected = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": values})[0]
    file = read_graph(path)
    ours = onnx.load_model_from_string(file.model())
    onnx.checker.check_model(ours, full_check=True)
    assert all(len(node.input) == 3 and all(node.input) for node in ours.graph.node if node.op_type == "Clip")
    np.testing.assert_array_equal(OnnxRuntimeCpu().load(file).run({"x": values})["y"], expected)
    if kind != TensorProto.FLOAT16:  # whose infinities OpenVINO leaves as they are
        np.testing.assert_array_equal(OpenVino().load(file).run({"x": values})["y"], expected)


def test_a_clip_with_both_bounds_is_left_as_it_is(tmp_path: Path) -> None:
    content = write(tmp_path / "g.onnx", TensorProto.FLOAT, BOUNDS["both"])
    assert onnx.load_model_from_string(read_graph(tmp_path / "g.onnx").model()) == onnx.load_model_from_string(content)


def test_the_embedded_graphs_have_some() -> None:
    clips = [node for node in onnx.load(EMBEDDED / "trunk.onnx").graph.node if node.op_type == "Clip"]
    assert any(len(node.input) < 3 for node in clips), "nothing in real bundles would be tested"


LOAD = """
import sys
from pathlib import Path
from clsclip_runtime.backends.openvino import OpenVino
from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.errors import BackendError
try:
    OpenVino().load(read_graph(Path(sys.argv[1])))
except BackendError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["a lower", "both"])
def test_sizes_that_do_not_fit_end_no_process(tmp_path: Path, name: str) -> None:
    write(tmp_path / "g.onnx", TensorProto.FLOAT, BOUNDS[name], width=7)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "g.onnx")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "OpenVINO cannot load" in done.stdout
