"""Small graphs whose sizes engines divide by, and what both runtimes make of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LOWEST = -(2**63)


def graph(nodes: Sequence[onnx.NodeProto], output: str, **constants: Any) -> bytes:
    """A graph of pixels ``x`` and whole numbers ``n``, with whole numbers in the file, that gives ``output``."""
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 84, 10]),
        helper.make_tensor_value_info("n", TensorProto.INT64, ["k"]),
    ]
    kind = TensorProto.INT64 if output == "whole" else TensorProto.FLOAT
    made = helper.make_graph(
        nodes,
        "sizes",
        inputs,
        [helper.make_tensor_value_info(output, kind, None)],
        [
            numpy_helper.from_array(np.asarray(one, None if isinstance(one, np.ndarray) else np.int64), name)
            for name, one in constants.items()
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(made, opset_imports=opset, ir_version=10).SerializeToString()


def divided(by: Any, operator: str = "Div") -> bytes:
    """Whole numbers divided by what the file holds."""
    return graph([helper.make_node(operator, ["n", "by"], ["whole"], "a node")], "whole", by=by)


def by_a_size(sizes: Sequence[int] = (4, 80), axis: int = -1, perm: Sequence[int] = (0, 2, 1), **changed: Any) -> bytes:
    """Divided by the number of classes, as exporters of detectors of any batch write it."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["rows"], perm=list(perm)),
        helper.make_node("Split", [changed.get("split", "rows"), "sizes"], ["boxes", "scores"], axis=axis),
        helper.make_node("Shape", ["scores"], ["shape"], **changed.get("shape", {})),
        helper.make_node("Gather", ["shape", "which"], ["classes"], axis=0),
        helper.make_node("Div", ["n", "classes"], ["whole"], "a node"),
    ]
    return graph(nodes, "whole", sizes=list(sizes), which=changed.get("which", 2))


def convolved(operator: str = "Conv", **attributes: Any) -> bytes:
    """A convolution or a pool with these attributes."""
    weights = [] if operator == "MaxPool" else ["w"]
    shape = (84, 84, 1)
    biases = ["bias"] if operator == "ConvTranspose" else []
    nodes = [helper.make_node(operator, ["x", *weights, *biases], ["y"], **attributes)]
    return graph(nodes, "y", w=np.zeros(shape, np.float32), bias=np.zeros(84, np.float32))


DIVISIONS: dict[str, tuple[bytes, bool]] = {
    "a constant": (divided(4), True),
    "several": (divided([2, 80]), True),
    "floats": (graph([helper.make_node("Div", ["x", "x"], ["y"])], "y"), True),
    "zero": (divided(0), False),
    "one of them zero": (divided([2, 0]), False),
    "the lowest by -1": (
        graph([helper.make_node("Div", ["low", "by"], ["whole"], "a node")], "whole", low=[LOWEST], by=[-1]),
        False,
    ),
    "none": (divided(np.zeros(0, np.int64)), False),
    "many": (divided([2] * 65), False),
    "an input": (graph([helper.make_node("Div", ["n", "n"], ["whole"], "a node")], "whole"), False),
    "what is computed": (
        graph(
            [
                helper.make_node("Sub", ["by", "by"], ["zero"]),
                helper.make_node("Div", ["n", "zero"], ["whole"], "a node"),
            ],
            "whole",
            by=[1],
        ),
        False,
    ),
    "constants side by side": (
        graph(
            [
                helper.make_node("Concat", ["two", "two"], ["both"], axis=0),
                helper.make_node("Div", ["n", "both"], ["whole"], "a node"),
            ],
            "whole",
            two=[2],
        ),
        True,
    ),
    "an output of no name": (
        graph(
            [helper.make_node("Div", ["n", "by"], [""], "a node"), helper.make_node("Add", ["n", "n"], ["whole"])],
            "whole",
            by=[0],
        ),
        False,
    ),
    "a size": (by_a_size(), True),
    "a size by its place from the end": (by_a_size(which=-1), True),
    "the same axis, counted from the start": (by_a_size(axis=2), True),
    "a size of nothing": (by_a_size((84, 0)), False),
    "another size": (by_a_size(which=1), False),
    "sizes of two": (by_a_size(which=[2, 1]), False),
    "a part of a shape": (by_a_size(shape={"start": 1}), False),
    "parts of what has any rank": (by_a_size(split="x"), False),
    "no such axis": (by_a_size(axis=3), False),
    "no such size": (by_a_size(which=3), False),
}
"""Graphs that divide whole numbers, and whether they are taken."""

SIZES: dict[str, tuple[bytes, bool]] = {
    "a convolution": (convolved(group=1, kernel_shape=[1], strides=[2], dilations=[1], pads=[0, 0]), True),
    "of no groups": (convolved(group=0), False),
    "of -1 groups": (convolved(group=-1), False),
    "of a kernel of nothing": (convolved(kernel_shape=[0]), False),
    "of a huge kernel": (convolved(kernel_shape=[65537]), False),
    "of no steps": (convolved(strides=[0]), False),
    "of kernels in one place": (convolved(dilations=[0]), False),
    "of pads below zero": (convolved(pads=[-1, 0]), False),
    "transposed": (convolved("ConvTranspose", group=1, kernel_shape=[1]), True),
    "transposed, of no groups": (convolved("ConvTranspose", group=0), False),
    "transposed, of a kernel without end": (convolved("ConvTranspose", kernel_shape=[2**62]), False),
    "a pool": (convolved("MaxPool", kernel_shape=[3], strides=[1], pads=[1, 1]), True),
    "a pool of no steps": (convolved("MaxPool", kernel_shape=[3], strides=[0]), False),
}
"""Graphs with sizes in attributes, and whether they are taken."""
