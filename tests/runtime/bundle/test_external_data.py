from __future__ import annotations

import contextlib
from pathlib import Path

import onnx
import pytest
from clsclip_runtime.bundle.external_data import MESSAGES, NotOnnxError, external_locations
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.runtime.tiny_bundle import make_bundle


def locations(data: bytes, folder: Path) -> set[str]:
    path = folder / "graph.onnx"
    path.write_bytes(data)
    return external_locations(path)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, encoded = len(content), b""
    while length > 0x7F:
        encoded += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([length]) + content


def external(location: str) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_the_table_has_every_way_from_a_model_to_a_tensor() -> None:
    pending, fields = [onnx.ModelProto.DESCRIPTOR], {}
    while pending:
        message = pending.pop()
        inner = [one for one in message.fields if one.message_type is not None]
        fields[message.name] = {one.number: one.message_type.name for one in inner}
        pending += [one.message_type for one in inner if one.message_type.name not in fields]
    leading = {"TensorProto"}
    for _ in fields:
        leading |= {name for name, inner in fields.items() if leading & set(inner.values())}
    table = {name: {number: to for number, to in fields[name].items() if to in leading} for name in leading}
    entries = TensorProto.DESCRIPTOR.fields_by_name["external_data"]
    table["TensorProto"][entries.number] = entries.message_type.name
    assert table == MESSAGES


def test_the_tiny_bundle_shares_one_file(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "tiny")
    for name in ("image_encoder", "trunk", "segmenter"):
        assert external_locations(folder / f"{name}.onnx") == {"vision.weights"}
    assert external_locations(folder / "presence.onnx") == set()


def test_tensors_are_found_wherever_they_hide(tmp_path: Path) -> None:
    subgraph = helper.make_graph([], "inner", [], [], [external("in a subgraph")])
    nodes = [
        helper.make_node("Constant", [], ["a"], value=external("in an attribute")),
        helper.make_node("If", ["a"], ["b"], then_branch=subgraph, else_branch=subgraph),
    ]
    sparse = onnx.SparseTensorProto(values=external("sparse values"), indices=external("sparse indices"))
    graph = helper.make_graph(
        nodes, "outer", [], [], [external("an initializer " + "x" * 300)], sparse_initializer=[sparse]
    )
    function = helper.make_function(
        "own", "f", [], ["a"], [helper.make_node("Constant", [], ["a"], value=external("in a function"))], []
    )
    model = helper.make_model(graph, functions=[function])
    assert locations(model.SerializeToString(), tmp_path) == {
        "in a subgraph",
        "in an attribute",
        "sparse values",
        "sparse indices",
        "an initializer " + "x" * 300,
        "in a function",
    }


@pytest.mark.parametrize(
    "entry",
    [
        field(1, b"location") + field(2, b"../x"),
        field(2, b"../x") + field(1, b"location"),
        field(1, b"other") + field(2, b"y") + field(1, b"location") + field(2, b"../x"),
        b"\x0a\x88\x80\x00location" + field(2, b"../x"),
        b"\x8a\x80\x00\x08location" + field(2, b"../x"),
        b"\x18\x05" + field(1, b"location") + b"\x25abcd" + field(2, b"../x") + b"\x29abcdefgh",
    ],
)
def test_unusual_encodings_hide_nothing(tmp_path: Path, entry: bytes) -> None:
    data = field(7, b"") + field(7, field(5, field(13, entry)))
    assert onnx.load_model_from_string(data).graph.initializer[0].external_data[0].value == "../x"
    assert locations(data, tmp_path) == {"../x"}


@pytest.mark.parametrize("data", [b"", b"\x0a", b"\x0a\x05abc", b"\x0b", b"\xff" * 20, b"\x08", b"\x09abc", b"\x0d"])
def test_what_is_no_protobuf_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(NotOnnxError):
        locations(data, tmp_path)


@given(data=st.binary(max_size=200))
def test_any_bytes_end_in_an_answer(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with contextlib.suppress(NotOnnxError):
        locations(field(7, data), tmp_path_factory.getbasetemp())
