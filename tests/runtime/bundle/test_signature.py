from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from clsclip_runtime.bundle.protobuf import NotProtobufError
from clsclip_runtime.bundle.signature import Value, read_signature

TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "float16": TensorProto.FLOAT16}
AXES = st.lists(st.one_of(st.integers(0, 2**31), st.sampled_from(["C", "K", "犬", ""])), max_size=4)
VALUES = st.lists(
    st.builds(lambda name, dtype, shape: Value(name, dtype, tuple(shape)), st.text("abc_", min_size=1, max_size=9),
              st.sampled_from(sorted(TYPES)), AXES),
    max_size=4, unique_by=lambda value: value.name,
)  # fmt: skip


def saved(path: Path, inputs: list[Value], outputs: list[Value], weights: tuple[str, ...] = ()) -> Path:
    """An ONNX file of these inputs and outputs, made by the ONNX library."""
    infos = [
        [helper.make_tensor_value_info(one.name, TYPES[one.dtype], [axis or None for axis in one.shape])
         if "" in one.shape else helper.make_tensor_value_info(one.name, TYPES[one.dtype], list(one.shape))
         for one in values]
        for values in (inputs, outputs)
    ]  # fmt: skip
    tensors = [numpy_helper.from_array(np.zeros(3, np.float32), name) for name in weights]
    model = helper.make_model(helper.make_graph([], "graph", *infos, tensors))
    path.write_bytes(model.SerializeToString())
    return path


@given(inputs=VALUES, outputs=VALUES)
def test_what_the_onnx_library_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, inputs: list[Value], outputs: list[Value]
) -> None:
    # An axis of size 0 beside open ones is written as open by the library's helper.
    for values in (inputs, outputs):
        for at, one in enumerate(values):
            if "" in one.shape:
                values[at] = Value(one.name, one.dtype, tuple(axis or "" for axis in one.shape))
    found = read_signature(saved(tmp_path_factory.mktemp("graph") / "a.onnx", inputs, outputs))
    assert (list(found.inputs), list(found.outputs)) == (inputs, outputs)


def test_weights_among_the_inputs_are_none(tmp_path: Path) -> None:
    values = [Value("images", "float32", ("N", 3)), Value("weight", "float32", (3,))]
    found = read_signature(saved(tmp_path / "a.onnx", values, [], weights=("weight",)))
    assert [one.name for one in found.inputs] == ["images"]


def test_a_negative_size_is_open(tmp_path: Path) -> None:
    info = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3])
    info.type.tensor_type.shape.dim[0].dim_value = -1
    (tmp_path / "a.onnx").write_bytes(helper.make_model(helper.make_graph([], "graph", [info], [])).SerializeToString())
    assert read_signature(tmp_path / "a.onnx").inputs[0].shape == ("", 3)


def test_what_is_no_graph_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "text.onnx").write_bytes(b"not a graph")
    for name in ("empty", "text"):
        with pytest.raises(NotProtobufError):
            read_signature(tmp_path / f"{name}.onnx")


def test_json_has_what_a_person_asks(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.onnx", [Value("x", "int64", ("P",))], [Value("y", "float32", ("P", 8))])
    onnx.load(path)
    assert read_signature(path).to_json() == {
        "inputs": [{"name": "x", "dtype": "int64", "shape": ["P"]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["P", 8]}],
    }
