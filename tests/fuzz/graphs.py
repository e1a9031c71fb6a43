"""Mutants of a bundle's graphs and weights: single bytes, structure, tensors, and encodings that no exporter writes.

Longer than other files: it is a list of mutations.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz.bundles import files, write_bundle
from tests.fuzz.driver import Mutant

GRAPHS = ("image_encoder.onnx", "presence.onnx", "text_encoder.onnx", "trunk.onnx")
WEIGHTS = "vision.weights"

OPERATORS = (
    *("Loop", "Scan", "If", "Conv", "NonZero", "Where", "Resize", "Einsum", "GRU", "QLinearConv", "Attention", "TopK"),
    *("Range", "Tile", "Expand", "Gather", "MatMul", "Reshape", "Concat", "Softmax", "Cast", "Slice", "Evil", "Shape"),
)
SIZES = (0, -1, 1, 7, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
TYPES = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 14, 16, 17, 22, 99)
PLACES = (
    *("", ".", "..", "\0", WEIGHTS, "manifest.json", "image_encoder.onnx", f"./{WEIGHTS}", WEIGHTS.upper()),
    *("../x", "/etc/passwd", f"{WEIGHTS}\0x", "*/_ORT_MEM_ADDR_/*", "nan", "-1", "0", "1e9", "15260415"),
    *("18446744073709551615", "99999999999999999999", "9223372036854775807"),
)


@lru_cache(maxsize=8)
def _parsed(name: str) -> bytes:
    return files()[name]


def model(name: str) -> onnx.ModelProto:
    """A graph of the embedded bundle, a copy to change."""
    return onnx.load_model_from_string(_parsed(name))


class Graphs:
    """Every number is one mutant of one graph, or of the weights."""

    name = "onnx"
    targets = ("bundle-onnxruntime", "bundle-openvino", "bundle-cpp")

    def honest(self, folder: Path) -> Path:
        """The embedded bundle."""
        return write_bundle(folder)

    def make(self, number: int, folder: Path) -> Mutant:
        """See :class:`tests.fuzz.driver.Mutator`."""
        draw = random.Random(number * 7919 + 13)
        kind = number % 8
        if kind == 0:
            name = draw.choice(GRAPHS)
            return Mutant(write_bundle(folder, {name: flipped(draw, files()[name])}), f"bytes of {name}")
        if kind == 1:
            name = draw.choice((*GRAPHS, WEIGHTS))
            content, other = files()[name], files()[draw.choice(GRAPHS)]
            cut = content[: draw.choice((0, 1, draw.randrange(len(content)), len(content) - 1))]
            return Mutant(write_bundle(folder, {name: draw.choice((cut, other))}), f"{name} cut or exchanged")
        if kind == 2:
            name = draw.choice((*GRAPHS, WEIGHTS))
            changed = bytearray(files()[name])
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
            return Mutant(
                write_bundle(folder, {name: bytes(changed)}, sign=False), f"{name} and not its digest", "refused"
            )
        if kind == 3:
            name = draw.choice(GRAPHS)
            label, change = draw.choice(ENCODINGS)
            changed_graph = change(draw, files()[name])
            if changed_graph == files()[name]:
                return Mutant(write_bundle(folder), f"{name}: nothing", "same")
            return Mutant(write_bundle(folder, {name: changed_graph}), f"{name}: {label}", "refused")
        if kind == 4 and draw.random() < 0.4:
            name = draw.choice((WEIGHTS, "text_encoder.onnx", "presence.onnx"))
            return Mutant(write_bundle(folder, {name: other_weights(draw, name)}), f"weights in {name}")
        name = draw.choice(GRAPHS)
        graph = model(name)
        labels = []
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            label, edit = draw.choice(EDITS)
            try:
                edit(draw, graph)
            except (IndexError, ValueError, TypeError):
                continue
            labels.append(label)
        return Mutant(write_bundle(folder, {name: graph.SerializeToString()}), f"{name}: {', '.join(labels)}")


def flipped(draw: random.Random, content: bytes) -> bytes:
    """Some bytes changed, left out, put in or copied, mostly before the weights."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8, 30))):
        if len(changed) < 2:
            break
        at, way = draw.randrange(len(changed)), draw.random()
        if way < 0.4:
            changed[at] ^= 1 << draw.randrange(8)
        elif way < 0.6:
            changed[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, 0xFE))
        elif way < 0.75:
            del changed[at : at + draw.choice((1, 2, 4, 16, 300))]
        elif way < 0.9:
            changed[at:at] = draw.choice((b"\0", b"\xff" * 4, draw.randbytes(8), b"\x80" * 12))
        else:
            length, start = draw.choice((1, 4, 40)), draw.randrange(len(changed))
            changed[at : at + length] = changed[start : start + length]
    return bytes(changed)


def other_weights(draw: random.Random, name: str) -> bytes:
    """Numbers that are not finite, or large, or none."""
    if name != WEIGHTS:
        changed = bytearray(files()[name])
        at = draw.randrange(len(changed) // 2, len(changed) - 4)
        changed[at - at % 4 : at - at % 4 + 4] = np.float32(draw.choice((np.nan, np.inf, 1e38))).tobytes()
        return bytes(changed)
    values = np.frombuffer(files()[name], np.float32).copy()
    start = draw.randrange(len(values))
    values[start : start + draw.choice((1, 1000, len(values)))] = draw.choice(
        (np.nan, np.inf, -np.inf, 0, 1e38, -1e30, 1e-45)
    )
    return values.tobytes()


# Structure ---------------------------------------------------------------------------------------------------------


def _size_of_tensor(draw: random.Random, found: onnx.ModelProto) -> None:
    tensor = draw.choice([one for one in found.graph.initializer if one.dims])
    tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(SIZES)


def _operator(draw: random.Random, found: onnx.ModelProto) -> None:
    draw.choice(found.graph.node).op_type = draw.choice(OPERATORS)


def _attribute(draw: random.Random, found: onnx.ModelProto) -> None:
    node = draw.choice([one for one in found.graph.node if one.attribute])
    attribute, way = draw.choice(node.attribute), draw.randrange(5)
    if way == 0:
        attribute.i = draw.choice((*SIZES, 100000))
    elif way == 1:
        attribute.ints.extend([draw.choice(SIZES)] * draw.choice((1, 5, 1000)))
    elif way == 2:
        attribute.type = draw.choice(range(16))
    elif way == 3:
        attribute.name = draw.choice(("", "axis", "to", "perm", "value", "x" * 300))
    else:
        attribute.f = draw.choice((float("nan"), float("inf"), -1.0))


def _no_attribute(draw: random.Random, found: onnx.ModelProto) -> None:
    node = draw.choice([one for one in found.graph.node if one.attribute])
    del node.attribute[draw.randrange(len(node.attribute))]


def _more_attribute(draw: random.Random, found: onnx.ModelProto) -> None:
    name, value = draw.choice((("axis", 1), ("to", 1), ("alpha", 1.0), ("keepdims", 0), ("perm", [0, 1]), ("own", "x")))
    draw.choice(found.graph.node).attribute.append(helper.make_attribute(name, value))


def _no_node(draw: random.Random, found: onnx.ModelProto) -> None:
    del found.graph.node[draw.randrange(len(found.graph.node))]


def _node_twice(draw: random.Random, found: onnx.ModelProto) -> None:
    copy = onnx.NodeProto()
    copy.CopyFrom(draw.choice(found.graph.node))
    found.graph.node.insert(draw.randrange(len(found.graph.node)), copy)


def _nodes_exchanged(draw: random.Random, found: onnx.ModelProto) -> None:
    nodes = list(found.graph.node)
    one, other = draw.sample(range(len(nodes)), 2)
    nodes[one], nodes[other] = nodes[other], nodes[one]
    del found.graph.node[:]
    found.graph.node.extend(nodes)


def _input_of_node(draw: random.Random, found: onnx.ModelProto) -> None:
    node = draw.choice(found.graph.node)
    names = [one.name for one in found.graph.initializer] + [one.output[0] for one in found.graph.node]
    node.input[draw.randrange(len(node.input))] = draw.choice([*names[:50], draw.choice(names), "", "nowhere"])


def _inputs_of_node(draw: random.Random, found: onnx.ModelProto) -> None:
    node = draw.choice(found.graph.node)
    if draw.random() < 0.5:
        node.input.append(draw.choice([*node.input, ""]))
    else:
        del node.input[draw.randrange(len(node.input))]


def _outputs_of_node(draw: random.Random, found: onnx.ModelProto) -> None:
    node = draw.choice(found.graph.node)
    node.output.append(draw.choice(("", "more", node.output[0])))


def _external(draw: random.Random, found: onnx.ModelProto) -> None:
    tensors = [one for one in found.graph.initializer if one.external_data]
    if not tensors:
        tensor = draw.choice(found.graph.initializer)
        tensor.raw_data = tensor.raw_data[: draw.randrange(1 + len(tensor.raw_data))]
        return
    tensor = draw.choice(tensors)
    if draw.random() < 0.2:
        tensor.external_data.add(key=draw.choice(("location", "offset", "checksum", "x")), value=draw.choice(PLACES))
    else:
        draw.choice(tensor.external_data).value = draw.choice(PLACES)


def _hidden_external(draw: random.Random, found: onnx.ModelProto) -> None:
    tensor = draw.choice(found.graph.initializer)
    if draw.random() < 0.5:
        tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=draw.choice(PLACES))


def _type_of_tensor(draw: random.Random, found: onnx.ModelProto) -> None:
    draw.choice(found.graph.initializer).data_type = draw.choice(TYPES)


def _type_of_value(draw: random.Random, found: onnx.ModelProto) -> None:
    value = draw.choice([*found.graph.input, *found.graph.output])
    value.type.tensor_type.elem_type = draw.choice(TYPES)


def _shape_of_value(draw: random.Random, found: onnx.ModelProto) -> None:
    value = draw.choice([*found.graph.input, *found.graph.output])
    axes = value.type.tensor_type.shape.dim
    if draw.random() < 0.3:
        axes.add().dim_value = draw.choice(SIZES)
    elif draw.random() < 0.3:
        del axes[draw.randrange(len(axes))]
    else:
        axes[draw.randrange(len(axes))].dim_value = draw.choice(SIZES)


def _name_of_value(draw: random.Random, found: onnx.ModelProto) -> None:
    draw.choice([*found.graph.input, *found.graph.output]).name = draw.choice(
        ("", "\x1b[2J", "pixel_values", "x" * 10000, "../x", "location")
    )


def _no_value(draw: random.Random, found: onnx.ModelProto) -> None:
    values = draw.choice((found.graph.input, found.graph.output))
    del values[draw.randrange(len(values))]


def _kind_of_value(draw: random.Random, found: onnx.ModelProto) -> None:
    value = draw.choice([*found.graph.input, *found.graph.output])
    value.type.Clear()
    if draw.random() < 0.5:
        value.type.sequence_type.elem_type.tensor_type.elem_type = draw.choice(TYPES)
    else:
        value.type.optional_type.elem_type.tensor_type.elem_type = draw.choice(TYPES)


def _opset(draw: random.Random, found: onnx.ModelProto) -> None:
    found.opset_import[0].version = draw.choice((0, -1, 1, 7, 13, 17, 22, 25, 1000, 2**40))


def _format(draw: random.Random, found: onnx.ModelProto) -> None:
    found.ir_version = draw.choice((0, 1, 3, 4, 9, 100, -1))


def _domain(draw: random.Random, found: onnx.ModelProto) -> None:
    domain = draw.choice(("com.microsoft", "ai.onnx.ml", "own"))
    draw.choice(found.graph.node).domain = domain
    found.opset_import.append(helper.make_opsetid(domain, 1))


def _subgraph(draw: random.Random, found: onnx.ModelProto) -> None:
    output = found.graph.output[0]
    inner = helper.make_graph([helper.make_node("Identity", [output.name], ["o"])], "inner", [], [output])
    for _ in range(draw.choice((1, 3, 30))):
        node = helper.make_node("If", ["yes"], ["o"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "outer", [], [output])
        if inner.ByteSize() > 1 << 20:
            break
    found.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    found.graph.node.append(helper.make_node("If", ["yes"], ["unused"], then_branch=inner, else_branch=inner))


def _function(draw: random.Random, found: onnx.ModelProto) -> None:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    found.functions.append(
        helper.make_function("own", "F", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], opsets)
    )
    found.opset_import.append(opsets[1])


def _grown(draw: random.Random, found: onnx.ModelProto) -> None:
    """A shape makes much of little: by a constant, or by a number that is computed."""
    sizes = draw.choice(([1500, 1024, 1024], [2**40], [-5, 2**62], [2**31, 2**31, 4]))
    found.graph.initializer.append(numpy_helper.from_array(np.asarray(sizes, np.int64), "much"))
    found.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "little"))
    way = draw.randrange(4)
    if way == 0:
        node = helper.make_node("Expand", ["little", "much"], ["grown"])
    elif way == 1:
        node = helper.make_node("ConstantOfShape", ["much"], ["grown"])
    elif way == 2:
        node = helper.make_node("Tile", ["little", "much"], ["grown"])
    else:
        found.graph.node.insert(0, helper.make_node("Shape", [found.graph.input[0].name], ["shape"]))
        found.graph.node.insert(1, helper.make_node("Concat", ["shape", "much"], ["larger"], axis=0))
        node = helper.make_node("Expand", ["little", "larger"], ["grown"])
    last = found.graph.node[-1]
    last.output[0], output = "before", last.output[0]
    found.graph.node.append(node)
    found.graph.node.append(helper.make_node("ReduceSum", ["grown"], ["one"], keepdims=0))
    found.graph.node.append(helper.make_node("Add", ["before", "one"], [output]))


Edit = Callable[[random.Random, onnx.ModelProto], None]
EDITS: tuple[tuple[str, Edit], ...] = (
    ("size of a tensor", _size_of_tensor),
    ("operator", _operator),
    ("operator", _operator),
    ("attribute", _attribute),
    ("attribute", _attribute),
    ("attribute left out", _no_attribute),
    ("attribute more", _more_attribute),
    ("node left out", _no_node),
    ("node twice", _node_twice),
    ("nodes exchanged", _nodes_exchanged),
    ("input of a node", _input_of_node),
    ("input of a node", _input_of_node),
    ("number of inputs", _inputs_of_node),
    ("number of outputs", _outputs_of_node),
    ("external data", _external),
    ("external data that was none", _hidden_external),
    ("type of a tensor", _type_of_tensor),
    ("type of an input or output", _type_of_value),
    ("shape of an input or output", _shape_of_value),
    ("name of an input or output", _name_of_value),
    ("input or output left out", _no_value),
    ("kind of an input or output", _kind_of_value),
    ("opset", _opset),
    ("format", _format),
    ("domain", _domain),
    ("subgraph", _subgraph),
    ("function", _function),
    ("grown", _grown),
)


# Encodings ---------------------------------------------------------------------------------------------------------


def number(value: int, *, more: int = 0) -> bytes:
    """A protobuf number, ``more`` bytes longer than it need be."""
    found = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if value or more:
            found.append(byte | 0x80)
            if not value:
                break
        else:
            found.append(byte)
            return bytes(found)
    found += b"\x80" * (more - 1) + b"\0"
    return bytes(found)


def fields(content: bytes) -> list[tuple[int, bytes]]:
    """The fields of an honest message: tag, and what follows it (with its length)."""
    at, found = 0, []

    def read(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = content[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    while at < len(content):
        tag, start = read(at)
        if tag & 7 == 2:
            length, begin = read(start)
            at = begin + length
        elif tag & 7 == 0:
            _, at = read(start)
        else:
            at = start + (4 if tag & 7 == 5 else 8)
        found.append((tag, content[start:at]))
    return found


def _hidden_tag(draw: random.Random, content: bytes) -> bytes:
    """Tags of 5 bytes with bit 32 set: protobuf's C++ parser drops it."""
    parts = fields(content)
    chosen = draw.randrange(len(parts))
    return b"".join(
        number(tag | (1 << draw.choice((32, 33, 40)) if at == chosen else 0)) + rest
        for at, (tag, rest) in enumerate(parts)
    )


def _long_number(draw: random.Random, content: bytes) -> bytes:
    parts = fields(content)
    chosen = draw.randrange(len(parts))
    return b"".join(
        number(tag, more=draw.choice((1, 3)) if at == chosen else 0) + rest for at, (tag, rest) in enumerate(parts)
    )


def _unknown_field(draw: random.Random, content: bytes) -> bytes:
    tag = draw.choice((15, 17, 99, 4095, (1 << 29) - 1)) << 3 | 2
    extra = number(tag) + number(3) + b"abc"
    return content + extra if draw.random() < 0.5 else extra + content


def _group(draw: random.Random, content: bytes) -> bytes:
    field = draw.choice((1, 7, 20, 30)) << 3
    return content + number(field | 3) + number(field | 4)


def _second_graph(draw: random.Random, content: bytes) -> bytes:
    inner = helper.make_graph([], "other", [], []).SerializeToString()
    return content + number(7 << 3 | 2) + number(len(inner)) + inner


def _empty_fields(draw: random.Random, content: bytes) -> bytes:
    return content + b"\x12\x00" * draw.choice((1000, 1 << 20))


ENCODINGS: tuple[tuple[str, Callable[[random.Random, bytes], bytes]], ...] = (
    ("a tag with bits above 32", _hidden_tag),
    ("a number longer than it need be", _long_number),
    ("a field that no exporter writes", _unknown_field),
    ("a group", _group),
    ("a second graph", _second_graph),
    ("many empty fields", _empty_fields),
)
