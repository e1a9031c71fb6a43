"""ONNX Runtime's sessions: weights stay where they lie, or are handed over as older versions take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from clsclip_runtime.backends import sessions
from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.bundle.graph_rules import DETECTORS

ROWS, COLUMNS = 40, 30
WEIGHT = np.random.default_rng(5).normal(size=(ROWS, COLUMNS)).astype(np.float32)
BIAS = np.random.default_rng(6).normal(size=(1, COLUMNS * 10)).astype(np.float32)


def graph(path: Path, dtype: int, *, external: bool) -> Path:
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Slice", ["bias", "start", "end", "axis"], ["part"]),
        helper.make_node("Add", ["product", "part"], ["y"]),
    ]
    constants = {"weight": WEIGHT.astype(kind), "bias": BIAS.astype(kind)}
    constants |= {"start": np.array([0]), "end": np.array([COLUMNS]), "axis": np.array([1])}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "product",
            [helper.make_tensor_value_info("x", dtype, [2, ROWS])],
            [helper.make_tensor_value_info("y", dtype, [2, COLUMNS])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    if external:
        convert_model_to_external_data(model, location="weights", size_threshold=64)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("version", [None, "1.31.2", "1.20.0"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("external", [True, False])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_product_is_numpys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: int, external: bool, shared: bool, version: str | None
) -> None:
    file = read_graph(graph(tmp_path / "graph.onnx", dtype, external=external), DETECTORS)
    assert "weight" in {one.name for one in file.weights}
    for path in tmp_path.iterdir():
        path.unlink()  # nothing is read any more
    if version is not None:
        monkeypatch.setattr(onnxruntime, "__version__", version)
    kept: list[object] | None = [] if shared else None
    session = sessions.open_session(onnxruntime, file, onnxruntime.SessionOptions(), ["CPUExecutionProvider"], kept)
    x = np.random.default_rng(7).normal(size=(2, ROWS)).astype(helper.tensor_dtype_to_np_dtype(dtype))
    (y,) = session.run(None, {"x": x})
    expected = x.astype(np.float64) @ WEIGHT.astype(x.dtype).astype(np.float64) + BIAS.astype(x.dtype)[:, :COLUMNS]
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-2 if dtype == TensorProto.FLOAT16 else 1e-4)
    assert y.dtype == x.dtype


def test_weights_stay_where_they_lie(tmp_path: Path) -> None:
    """What is written into the memory afterwards shows, so it is no copy, and the graph must keep it."""
    file = read_graph(graph(tmp_path / "graph.onnx", TensorProto.FLOAT, external=True), DETECTORS)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    kept: list[object] = []
    session = sessions.open_session(onnxruntime, file, options, ["CPUExecutionProvider"], kept)
    x = np.ones((2, ROWS), np.float32)
    (before,) = session.run(None, {"x": x})
    weight = next(one for one in file.weights if one.name == "weight")
    assert any(one is weight.data for one in kept)
    weight.data[:] = 0
    (after,) = session.run(None, {"x": x})
    np.testing.assert_allclose(after, np.broadcast_to(BIAS[:, :COLUMNS], after.shape))
    assert np.abs(before - after).max() > 1
