"""What OpenVINO does without a word is an error: NaN that a cut to a range hides, and rows that there are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from clsclip_runtime import BackendError
from clsclip_runtime.backends.openvino import OpenVinoGraph, process_core, watch_model

pytest.importorskip("openvino", reason="OpenVINO is not installed")


FLOAT, LONG = TensorProto.FLOAT, TensorProto.INT64


def save(path: Path, nodes: list[onnx.NodeProto], given: int, *weights: np.ndarray, width: int | str = 3) -> Path:
    inputs = [helper.make_tensor_value_info("x", given, ["N", width] if given == FLOAT else ["N"])]
    outputs = [helper.make_tensor_value_info("y", FLOAT, ["N", None])]
    constants = [numpy_helper.from_array(one, f"w{at}") for at, one in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def load(path: Path) -> OpenVinoGraph:
    """Any graph, also those that the wall before the backend refuses."""
    model = process_core().read_model(str(path))
    watch = watch_model(model)
    return OpenVinoGraph(process_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}), "a", watch)


LOW, HIGH = np.array(0, np.float32), np.array(1, np.float32)
ENDS = {
    "clip": [helper.make_node("Clip", ["m", "w1", "w2"], ["y"])],
    "relu": [helper.make_node("Relu", ["m"], ["y"])],
    "min of max": [helper.make_node("Max", ["m", "w1"], ["p"]), helper.make_node("Min", ["p", "w2"], ["y"])],
    "clip, then a reshape": [
        helper.make_node("Clip", ["m", "w1", "w2"], ["p"]),
        helper.make_node("Unsqueeze", ["p", "w3"], ["q"]),
        helper.make_node("Squeeze", ["q", "w3"], ["y"]),
    ],
}


@pytest.mark.parametrize("end", ENDS)
def test_nan_before_a_cut_is_told(end: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "w0"], ["m"]), *ENDS[end]]
    for weight, fine in ((2.0, True), (np.nan, False)):
        weights = (np.full(3, weight, np.float32), LOW, HIGH, np.array([0], np.int64))
        graph = load(save(tmp_path / "a.onnx", nodes, FLOAT, *weights))
        assert graph.outputs == ("y",)
        feeds = {"x": np.array([[0.1, -1, 9]], np.float32)}
        if fine:
            wanted = np.clip([[0.2, -2, 18]], 0, None if end == "relu" else 1)
            found = graph.run(feeds)
            assert set(found) == {"y"}
            np.testing.assert_allclose(found["y"], wanted, rtol=1e-6)
        else:
            with pytest.raises(BackendError, match="computes NaN, which OpenVINO makes a number"):
                graph.run(feeds)


@pytest.mark.parametrize("cast", [False, True])
def test_numbers_beyond_the_rows_are_told(cast: bool, tmp_path: Path) -> None:
    """OpenVINO gives zeros for them; a tokenizer of another text encoder would go unseen."""
    first = [helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32)] if cast else []
    nodes = [*first, helper.make_node("Gather", ["w0", "i" if cast else "x"], ["y"])]
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    graph = load(save(tmp_path / "a.onnx", nodes, LONG, rows))
    np.testing.assert_array_equal(graph.run({"x": np.array([3, 0])})["y"], rows[[3, 0]])
    for wrong in ([0, 4], [-1]):
        with pytest.raises(BackendError, match="and it has 4 rows for them"):
            graph.run({"x": np.array(wrong)})
