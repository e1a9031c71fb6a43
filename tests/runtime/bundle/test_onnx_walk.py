"""What the strict reader takes, and what it refuses; compared with ONNX's own reader."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from clsclip_runtime import BackendError, BundleError
from clsclip_runtime.bundle.graph_file import read_graph, walk_graph
from clsclip_runtime.bundle.graph_rules import BUNDLES, DETECTORS, Rules, UnknownGraphError, checked
from clsclip_runtime.bundle.onnx_graph import NotOnnxError
from clsclip_runtime.bundle.onnx_walk import walk
from clsclip_runtime.bundle.opening import EMBEDDED
from tests.runtime.bundle.sizes import DIVISIONS, SIZES, divided
from tests.runtime.graphs import unwalked
from tests.runtime.tiny_bundle import make_bundle

TRUNK = (EMBEDDED / "trunk.onnx").read_bytes()


def changed(edit: Callable[[onnx.ModelProto], object], content: bytes = TRUNK) -> bytes:
    model = onnx.load_model_from_string(content)
    edit(model)
    return model.SerializeToString()


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, encoded = len(content), b""
    while length > 0x7F:
        encoded += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([length]) + content


def test_it_finds_what_onnx_finds() -> None:
    for path in sorted(EMBEDDED.glob("*.onnx")):
        found, model = walk(path.read_bytes(), BUNDLES.bounds), onnx.load(path, load_external_data=False)
        graph = model.graph
        assert (found.ir_version, found.opsets) == (model.ir_version, {"": model.opset_import[0].version})
        assert [(one.operator, list(one.inputs), list(one.outputs)) for one in found.graph.nodes] == [
            (one.op_type, list(one.input), list(one.output)) for one in graph.node
        ]
        for own, theirs in zip(found.graph.nodes, graph.node, strict=True):
            values = {one.name: (one.type, tuple(one.ints) if one.ints else one.i) for one in theirs.attribute}
            assert {name: kind for name, (kind, _) in own.attributes.items()} == {
                name: kind for name, (kind, _) in values.items()
            }
            for name, (kind, value) in own.attributes.items():
                assert kind not in (2, 7) or value == values[name][1]
        for own, theirs in zip(found.graph.tensors, graph.initializer, strict=True):
            assert (own.name, own.dtype, own.shape) == (theirs.name, theirs.data_type, tuple(theirs.dims))
            entries = {one.key: one.value for one in theirs.external_data}
            if entries:
                assert own.place == (entries["location"], int(entries["offset"]), int(entries["length"]))
            else:
                assert path.read_bytes()[own.start : own.end] == theirs.raw_data
        for own, theirs in zip(found.graph.inputs + found.graph.outputs, [*graph.input, *graph.output], strict=True):
            shape = [one.dim_value or one.dim_param for one in theirs.type.tensor_type.shape.dim]
            assert (own.name, own.dtype, list(own.shape or ())) == (
                theirs.name,
                theirs.type.tensor_type.elem_type,
                shape,
            )


@pytest.mark.parametrize("name", ["trunk.onnx", "text_encoder.onnx"])
def test_engines_get_the_graph_as_it_was(name: str) -> None:
    """With the weights inside it is the same model, whatever lay where."""
    ours = onnx.load_model_from_string(read_graph(EMBEDDED / name).model())
    theirs = onnx.load(EMBEDDED / name)
    weights = [{one.name: numpy_helper.to_array(one) for one in model.graph.initializer} for model in (ours, theirs)]
    added = set()
    for mine, node in zip(ours.graph.node, theirs.graph.node, strict=True):
        if node.op_type == "Clip":  # a bound that is left out is written out
            given = [*node.input, "", ""][:3]
            added |= {name for name, before in zip(mine.input, given, strict=True) if not before}
            node.input[:] = [before or name for name, before in zip(mine.input, given, strict=True)]
            node.ClearField("doc_string")  # an empty one
    assert all(name.startswith("bound_") for name in added)
    assert set(weights[0]) == set(weights[1]) | added
    for key, value in weights[1].items():
        np.testing.assert_array_equal(value, weights[0][key])
    for model in (ours, theirs):
        del model.graph.initializer[:]
    assert ours == theirs


def hidden(content: bytes, *, bits: int) -> bytes:
    """The tag of the last field with bits above the 32 that protobuf's own parser keeps."""
    start = content.rindex(b"\x42\x04\x0a\x00")  # the operator set
    tag = content[start] | bits << 32
    encoded = bytearray()
    while tag > 0x7F:
        encoded.append(tag & 0x7F | 0x80)
        tag >>= 7
    encoded.append(tag)
    return content[:start] + bytes(encoded) + content[start + 1 :]


ENCODINGS = {
    "nothing": (b"", "is empty"),
    "a tag with bit 32": (hidden(TRUNK, bits=1), "more than 32 bits"),
    "a tag of 6 bytes": (hidden(TRUNK, bits=1 << 5), "more than 32 bits"),
    "a number longer than it need be": (b"\x88\x00" + TRUNK[1:], "no exporter does"),
    "a field that is not known": (
        TRUNK + field(4 << 1, b"")[:1] + b"\x00" + b"\xfa\x01\x00",
        "no exporter writes|twice",
    ),
    "a group": (TRUNK + b"\x0b\x0c", "group"),
    "a second graph": (TRUNK + field(7, b""), "comes twice"),
    "another wire type": (b"\x09" + bytes(8), "no exporter writes"),
    "cut off": (TRUNK[:-3], "ends beyond|does not end"),
    "no end": (b"\xff" * 20, "does not end|no exporter"),
    "many fields": (TRUNK + b"\x72\x00" * 3_000_000, "metadata|parts"),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_what_no_exporter_writes_is_refused(name: str) -> None:
    content, message = ENCODINGS[name]
    with pytest.raises((NotOnnxError, UnknownGraphError), match=message):
        checked(content, BUNDLES)


def external(location: str) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def with_node(node: onnx.NodeProto) -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.graph.node.append(node)


STRUCTURES: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "an operator": (with_node(helper.make_node("Sin", ["text_tokens"], ["new"])), "operator 'Sin'"),
    "a domain": (with_node(helper.make_node("Add", ["text_tokens"] * 2, ["new"], domain="own")), "of own"),
    "an attribute": (with_node(helper.make_node("Add", ["text_tokens"] * 2, ["new"], axis=1)), "attribute 'axis'"),
    "an attribute less": (with_node(helper.make_node("Concat", ["text_tokens"] * 2, ["new"])), "no attribute"),
    "an equation less": (with_node(helper.make_node("Einsum", ["text_tokens"] * 2, ["new"])), "no attribute"),
    "an axis that none has": (
        with_node(helper.make_node("Concat", ["text_tokens"] * 2, ["new"], axis=-(2**63))),
        "attribute 'axis' with a number that none has",
    ),
    "axes without end to count": (
        with_node(helper.make_node("GatherND", ["text_tokens", "crop_index"], ["new"], batch_dims=2**63 - 1)),
        "attribute 'batch_dims' with a number that none has",
    ),
    "an order of axes that none has": (
        with_node(helper.make_node("Transpose", ["text_tokens"], ["new"], perm=[0, 2**40])),
        "attribute 'perm' with a number that none has",
    ),
    "a switch with a large number": (
        with_node(helper.make_node("ReduceSum", ["text_tokens"], ["new"], keepdims=2**31)),
        "attribute 'keepdims' with a number that none has",
    ),
    "an input of nothing": (lambda model: _axis(model.graph.input[-1], 0), "size that none has"),
    "an input without end": (lambda model: _axis(model.graph.input[-1], 2**31), "size that none has"),
    "an output of nothing": (lambda model: _axis(model.graph.output[0], 0), "size that none has"),
    "a negative input": (lambda model: _axis(model.graph.input[-1], -2), "axis of size -2"),
    "a very negative input": (lambda model: _axis(model.graph.input[0], -(2**63)), "axis of size -9"),
    "an input more": (with_node(helper.make_node("Add", ["text_tokens"] * 3, ["new"])), "3 inputs"),
    "types": (with_node(helper.make_node("Add", ["text_tokens", "crop_index"], ["new"])), "types 1, 7"),
    "what is not there": (with_node(helper.make_node("Add", ["text_tokens", "nowhere"], ["new"])), "nothing before it"),
    "a name twice": (with_node(helper.make_node("Add", ["text_tokens"] * 2, ["text_tokens"])), "two values"),
    "control flow": (
        with_node(helper.make_node("If", ["text_tokens"], ["new"], then_branch=helper.make_graph([], "g", [], []))),
        "field 6",
    ),
    "a function": (
        lambda model: model.functions.append(helper.make_function("own", "f", [], [], [], [])),
        "field 25",
    ),
    "sparse weights": (lambda model: model.graph.sparse_initializer.add(), "field 15"),
    "weights of a node elsewhere": (
        with_node(helper.make_node("Constant", [], ["new"], value=external("vision.weights"))),
        "in another file",
    ),
    "a type of values": (lambda model: setattr(model.graph.initializer[0], "data_type", TensorProto.STRING), "type 8"),
    "a rank": (lambda model: model.graph.initializer[0].dims.extend([1] * 9), "shape"),
    "a size": (lambda model: model.graph.initializer[0].dims.append(2), "bytes, and"),
    "an output of strings": (
        lambda model: setattr(model.graph.output[0].type.tensor_type, "elem_type", TensorProto.STRING),
        "type 8",
    ),
    "a sequence": (
        lambda model: model.graph.output[0].CopyFrom(
            helper.make_tensor_sequence_value_info("mask_logits", TensorProto.FLOAT, None)
        ),
        "is no tensor",
    ),
    "an operator set": (lambda model: setattr(model.opset_import[0], "version", 99), "operator sets"),
    "a format": (lambda model: setattr(model, "ir_version", 99), "ONNX format 99"),
    "a name that a terminal obeys": (lambda model: setattr(model.graph.node[0], "name", "\x1b[2J"), "not printable"),
    "a place twice": (lambda model: _external(model).add(key="location", value="vision.weights"), "twice"),
    "a place without end": (lambda model: _external(model).add(key="extra", value="1"), "no exporter"),
    "a negative offset": (lambda model: _set(model, "offset", "-1"), "no number of bytes"),
    "a length that is not the shape's": (lambda model: _set(model, "length", "4"), "by its shape"),
    "much of little": (
        lambda model: (
            model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20]), "much")),
            model.graph.node.append(helper.make_node("Expand", ["text_tokens", "much"], ["new"])),
        ),
        "makes a tensor of more than",
    ),
}


def _external(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(one for one in model.graph.initializer if one.external_data).external_data


def _axis(value: onnx.ValueInfoProto, size: int) -> None:
    value.type.tensor_type.shape.dim[0].dim_value = size


def _set(model: onnx.ModelProto, key: str, value: str) -> None:
    next(one for one in _external(model) if one.key == key).value = value


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_no_exporter_of_bundles_makes_is_refused(name: str) -> None:
    edit, message = STRUCTURES[name]
    with pytest.raises((NotOnnxError, UnknownGraphError), match=message):
        checked(changed(edit), BUNDLES)


@pytest.mark.parametrize("rules", [BUNDLES, DETECTORS], ids=["bundles", "detectors"])
@pytest.mark.parametrize(
    ("content", "taken", "why"),
    [
        *(
            (*one, r"divides whole numbers \(node 'a node', Div\) by what is not a constant|attribute .start.")
            for one in DIVISIONS.values()
        ),
        *((*one, "with a size that none has") for one in SIZES.values()),
    ],
    ids=[*DIVISIONS, *SIZES],
)
def test_engines_divide_by_no_zero(content: bytes, taken: bool, why: str, rules: Rules) -> None:
    """An integer division by zero ends the process, in every engine."""
    if taken:
        checked(content, rules)
    else:
        with pytest.raises(UnknownGraphError, match=why):
            checked(content, rules)


def test_the_rest_of_a_division_is_checked_as_well() -> None:
    checked(divided(80, "Mod"), DETECTORS)
    with pytest.raises(UnknownGraphError, match=r"\(node 'a node', Mod\) by what is not a constant"):
        checked(divided(0, "Mod"), DETECTORS)


def test_a_shape_of_nothing_and_much_is_refused() -> None:
    """Engines multiply the axes too, and not always in the order in which they stand."""
    for shape in ([0, 2**62], [2**62, 0], [2**40, 2**40, 0]):
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape, raw_data=b"")
        with pytest.raises(NotOnnxError, match="has the shape"):
            checked(changed(lambda model, one=tensor: model.graph.initializer.append(one)), BUNDLES)


def test_an_output_without_a_name_is_no_wonder() -> None:
    node = helper.make_node("Concat", ["crop_index"] * 2, [""], axis=0)
    checked(changed(with_node(node)), BUNDLES)


def test_an_operator_of_later_versions_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "trunk.onnx"
    path.write_bytes(changed(STRUCTURES["an operator"][0]))
    with pytest.raises(BundleError, match=r"operator 'Sin', and a bundle .* needs a newer clsclip"):
        read_graph(path)


@pytest.mark.parametrize(
    "key",
    [b"\x0a\x08location", b"\x0a\x88\x00location", b"\x0a\x88\x80\x00location", b"\x8a\x80\x80\x80\x10\x08location"],
)
def test_the_second_wall_needs_no_reader(tmp_path: Path, key: bytes) -> None:
    """Whatever a reader missed, nothing that names a file comes to an engine."""
    path = tmp_path / "trunk.onnx"
    path.write_bytes(TRUNK)
    file = unwalked(EMBEDDED / "presence.onnx")
    assert file.model()
    for part in ("around", "inside"):
        bad = type(file)(**{**vars(file), part: getattr(file, part) + key + b"location\x12\x03../"})
        with pytest.raises(BackendError, match="names a file with weights"):
            bad.model()


@pytest.mark.parametrize("rules", [BUNDLES, DETECTORS])
@given(data=st.binary(max_size=200))
def test_any_bytes_end_in_an_answer(rules: Rules, data: bytes) -> None:
    for content in (data, field(7, data), field(7, field(1, data)), field(7, field(5, data))):
        with contextlib.suppress(NotOnnxError, UnknownGraphError):
            checked(content, rules)


def test_weights_lie_where_their_type_wants_them() -> None:
    memory = np.frombuffer(bytearray((EMBEDDED / "text_encoder.onnx").read_bytes()), np.uint8)
    walked = walk_graph(memory, BUNDLES)
    assert walked.weights
    assert all(offset % 4 == 0 for _, _, offset in walked.weights)


def test_files_beside_a_graph_are_found(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "tiny")
    for name in ("image_encoder", "trunk", "segmenter"):
        walked = walk_graph(np.frombuffer(bytearray((folder / f"{name}.onnx").read_bytes()), np.uint8), BUNDLES)
        assert walked.locations == {"vision.weights"}
