"""What a graph may be: two lists, one for bundles and one for detectors, of all that real exporters write.

``graph_rules.json`` has them; ``python -m tests.graph_rules`` makes it from real exports. A graph with another
operator, attribute or type of values, or one whose nodes do not fit together, never reaches an engine. Engines are no
walls: one of them follows a null pointer where an input has a type that it does not expect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clsclip_runtime.bundle.onnx_graph import FLOAT, INT, INT64, INTS, Bounds, Graph, Model, Node, NotOnnxError, Tensor
from clsclip_runtime.bundle.onnx_walk import walk
from clsclip_runtime.bundle.protobuf import Bytes
from clsclip_runtime.documents import read_json

HALF = 10
MOST_VALUES = 1 << 26
"""Of a tensor that is made of a shape in the file."""

LEAST_SIZES = {"group": 1, "blocksize": 1, "kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 0}
"""The smallest size that an attribute may give. Engines divide by strides, and take memory for kernels."""

MOST_SIZE_OF_ATTRIBUTE = 1 << 16

MOST_SIZE = 2**31 - 1
"""Of an axis of an input or an output, and of any other number in an attribute: OpenVINO counts up to some of them."""

AXES = frozenset({"axis", "axes", "batch_dims", "perm", "start", "end"})
"""Attributes that number axes, of which there are few."""

MOST_AXIS = 16

SAME_INPUTS = frozenset({"Concat", "Max", "Min", "Sum", "Mean"})
"""Operators of any number of inputs, all of one type."""

SAME_OUTPUTS = frozenset({"Split"})
"""Operators of any number of outputs, all of one type."""

_INPUTS_OF_CLIP = 3
_VALUES_OF_CONSTANT = {"value_float": FLOAT, "value_floats": FLOAT, "value_int": INT64, "value_ints": INT64}
_GROWING = {"Expand": 1, "Tile": 1, "ConstantOfShape": 0, "Concat": None}
"""Which input of an operator is a shape; of Concat all may be parts of one."""


class UnknownGraphError(ValueError):
    """A graph is not among what exporters are known to write."""


@dataclass(frozen=True)
class OperatorRules:
    """What is known of one operator.

    Attributes:
        inputs, outputs: fewest and most.
        optional: positions of inputs that may be left out before the last.
        attributes: types by name.
        required: names of the attributes without which it means nothing.
        types: types of outputs by types of inputs.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    optional: frozenset[int]
    attributes: Mapping[str, frozenset[int]]
    required: frozenset[str]
    types: Mapping[tuple[int, ...], frozenset[tuple[int, ...]]]


@dataclass(frozen=True)
class Rules:
    """One of the two lists.

    Attributes:
        ir_versions, opsets: lowest and highest.
        element_types: of initializers, inputs and outputs.
        bounds: on sizes.
        operators: by name; all are of ONNX's own domain.
    """

    ir_versions: tuple[int, int]
    opsets: tuple[int, int]
    element_types: frozenset[int]
    bounds: Bounds
    operators: Mapping[str, OperatorRules] = field(repr=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Rules:
        """Take one list of ``graph_rules.json``."""
        return cls(
            ir_versions=tuple(document["ir_versions"]),
            opsets=tuple(document["opsets"]),
            element_types=frozenset(document["element_types"]),
            bounds=Bounds(**document["bounds"]),
            operators={name: _operator(one) for name, one in document["operators"].items()},
        )


def _operator(document: Mapping[str, Any]) -> OperatorRules:
    types: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for one in document["types"]:
        before, _, after = one.partition(">")
        inputs, outputs = (tuple(int(part) for part in text.split(",") if part) for text in (before, after))
        for changed in (False, True):  # what is there for single precision is there for half
            found = [tuple(HALF if changed and kind == FLOAT else kind for kind in side) for side in (inputs, outputs)]
            types.setdefault(found[0], set()).add(found[1])
    return OperatorRules(
        inputs=tuple(document["inputs"]),
        outputs=tuple(document["outputs"]),
        optional=frozenset(document["optional"]),
        attributes={name: frozenset(kinds) for name, kinds in document["attributes"].items()},
        required=frozenset(document["required"]),
        types={key: frozenset(value) for key, value in types.items()},
    )


_DOCUMENT = read_json(Path(__file__).with_name("graph_rules.json"))

BUNDLES = Rules.read(_DOCUMENT["bundles"])
"""What this project's exporters write."""

DETECTORS = Rules.read(_DOCUMENT["detectors"])
"""What the exporters of the supported detectors write."""


def checked(data: Bytes, rules: Rules) -> Model:
    """Walk the ONNX file ``data`` and hold it to ``rules``.

    Raises:
        NotOnnxError: it is no ONNX file as exporters write them.
        UnknownGraphError: no exporter of that list writes such a graph.
    """
    model = walk(data, rules.bounds)
    check(model, rules)
    return model


def check(model: Model, rules: Rules) -> None:
    """Raise UnknownGraphError or NotOnnxError unless ``model`` is what ``rules`` allow."""
    low, high = rules.ir_versions
    if not low <= model.ir_version <= high:
        raise UnknownGraphError(f"has the ONNX format {model.ir_version}, and {low} to {high} are known")
    low, high = rules.opsets
    if set(model.opsets) != {""} or not low <= model.opsets[""] <= high:
        named = ", ".join(f"{version} of {domain or 'ai.onnx'}" for domain, version in model.opsets.items())
        raise UnknownGraphError(f"needs the operator sets {named or 'none'}, and {low} to {high} of ai.onnx are known")
    _Check(model.graph, rules).run()


class _Check:
    """Follows values through a graph: every one has a name of its own, and a type."""

    def __init__(self, graph: Graph, rules: Rules) -> None:
        self._graph, self._rules = graph, rules
        self._types: dict[str, int] = {}
        self._known: dict[str, tuple[int, ...]] = {}
        self._ranks: dict[str, int] = {}
        self._filled: dict[str, tuple[int, int]] = {}  # rank, and an axis that is not empty
        self._shapes: dict[str, tuple[int, int]] = {}  # the same, by the name of a shape
        self._positive: set[str] = set()

    def run(self) -> None:
        graph, types = self._graph, self._types
        for tensor in graph.tensors:
            self._define(tensor.name, tensor.dtype)
            if tensor.values is not None:
                self._known[tensor.name] = tensor.values
        weights = set(types)
        inputs = [one for one in graph.inputs if one.name not in weights]
        for value in inputs:
            self._define(value.name, value.dtype)
        for value in (*inputs, *graph.outputs):
            if any(isinstance(size, int) and not 1 <= size <= MOST_SIZE for size in value.shape or ()):
                raise UnknownGraphError(f"takes or gives {value.name[:40]!r} with an axis of a size that none has")
        for kind in set(types.values()) - self._rules.element_types:
            raise UnknownGraphError(f"has values of ONNX's type {kind}")
        for number, node in enumerate(graph.nodes):
            self._node(node)
            if node.operator == "Clip" and (len(node.inputs) < _INPUTS_OF_CLIP or not all(node.inputs)):
                graph.open_clips.append((number, types[node.inputs[0]]))
        for value in (*graph.inputs, *graph.outputs, *graph.values):
            found = types.get(value.name)
            if found is None and value in graph.values:
                continue  # some exporters describe values that they have left out since
            if found != value.dtype:
                raise NotOnnxError(f"the value {value.name[:40]!r} is said to be of type {value.dtype}, and is {found}")
        if not graph.outputs or len({one.name for one in graph.outputs}) != len(graph.outputs):
            raise NotOnnxError("it has no outputs, or two of one name")

    def _define(self, name: str, dtype: int) -> None:
        if not name or name in self._types:
            raise NotOnnxError(f"the name {name[:40]!r} stands for two values")
        self._types[name] = dtype

    def _node(self, node: Node) -> None:
        rules = self._rules.operators.get(node.operator)
        if rules is None or node.domain not in ("", "ai.onnx"):
            domain = f" of {node.domain}" if node.domain else ""
            raise UnknownGraphError(f"uses the operator {node.operator[:40]!r}{domain}")
        for given, (low, high), what in (
            (node.inputs, rules.inputs, "inputs"),
            (node.outputs, rules.outputs, "outputs"),
        ):
            if not low <= len(given) <= high:
                raise UnknownGraphError(f"gives {node.operator} {len(given)} {what}, and {low} to {high} are known")
        for name, (kind, value) in node.attributes.items():
            if kind not in rules.attributes.get(name, ()):
                raise UnknownGraphError(f"gives {node.operator} the attribute {name[:40]!r} of type {kind}")
            least, most = _range_of(node, name)
            numbers = value if isinstance(value, tuple) else (value or 0,)
            if kind in (INT, INTS) and not all(least <= one <= most for one in numbers):
                what = "size" if name in LEAST_SIZES else "number"
                raise UnknownGraphError(f"gives {node.operator} the attribute {name!r} with a {what} that none has")
        for name in rules.required:
            if name not in node.attributes:
                raise UnknownGraphError(f"gives {node.operator} no attribute {name!r}")
        inputs = []
        for at, name in enumerate(node.inputs):
            found = self._types.get(name) if name else 0
            if found is None or (not name and at not in rules.optional):
                raise NotOnnxError(f"{node.operator} reads {name[:40]!r}, which nothing before it gives")
            inputs.append(found)
        for name, kind in zip(node.outputs, self._outputs(node, rules, inputs), strict=True):
            if name:
                self._define(name, kind)
        self._check_division(node)
        self._note_sizes(node)
        self._check_sizes(node)

    def _check_division(self, node: Node) -> None:
        """The processor ends a program that divides a whole number by zero, or the lowest one by -1."""
        if node.operator not in ("Div", "Mod") or self._types[node.inputs[0]] != INT64:
            return
        divisor = node.inputs[1]
        values = self._known.get(divisor)
        if divisor not in self._positive and not (values and min(values) > 0):
            raise UnknownGraphError(
                f"divides whole numbers (node {node.name[:40]!r}, {node.operator}) by what is not a constant above zero"
            )

    def _note_sizes(self, node: Node) -> None:
        """Follow sizes of a Split's parts, which the file states, to where exporters divide by one: the classes."""
        operator, attributes = node.operator, node.attributes
        if operator == "Transpose" and "perm" in attributes:
            self._ranks[node.outputs[0]] = len(attributes["perm"][1])
        elif operator == "Split" and node.inputs[0] in self._ranks:
            rank, axis = self._ranks[node.inputs[0]], attributes.get("axis", (INT, 0))[1] or 0
            given = self._known.get(node.inputs[1], ()) if len(node.inputs) > 1 else attributes.get("split", (7, ()))[1]
            if len(given) == len(node.outputs) and -rank <= axis < rank:
                parts = zip(node.outputs, given, strict=True)
                self._filled.update({name: (rank, axis % rank) for name, size in parts if size > 0})
        elif operator == "Shape" and not attributes and node.inputs[0] in self._filled:
            self._shapes[node.outputs[0]] = self._filled[node.inputs[0]]
        elif operator == "Gather" and node.inputs[0] in self._shapes and not attributes.get("axis", (INT, 0))[1]:
            (rank, axis), index = self._shapes[node.inputs[0]], self._known.get(node.inputs[1], ())
            if len(index) == 1 and -rank <= index[0] < rank and index[0] % rank == axis:
                self._positive.add(node.outputs[0])

    def _outputs(self, node: Node, rules: OperatorRules, inputs: list[int]) -> list[int]:
        """Types of what a node gives."""
        key = tuple(inputs)
        if node.operator in SAME_INPUTS and len(set(key)) == 1:
            key = key[:1]
        while key and key[-1] == 0:
            key = key[:-1]
        found = rules.types.get(key)
        if found is None:
            raise UnknownGraphError(f"gives {node.operator} inputs of the types {', '.join(map(str, inputs))}")
        stated = _stated_type(node)
        if stated is not None:
            found = frozenset(one for one in found if one and one[0] == stated)
        if len(found) != 1:
            raise UnknownGraphError(f"has a {node.operator} that gives the type {stated}")
        (outputs,) = found
        if node.operator in SAME_OUTPUTS:
            return [outputs[0]] * len(node.outputs)
        return list(outputs[: len(node.outputs)]) + [0] * (len(node.outputs) - len(outputs))

    def _check_sizes(self, node: Node) -> None:
        """A shape in the file may not make much of little. What is computed from the inputs may: a graph computes."""
        operator, known = node.operator, self._known
        if operator == "Constant" and "value" in node.attributes:
            tensor: Tensor = node.attributes["value"][1]
            if tensor.values is not None:
                known[node.outputs[0]] = tensor.values
        elif operator == "Constant":
            kind, value = next(iter(node.attributes.values()), (0, None))
            if kind in (2, 7):
                known[node.outputs[0]] = value if isinstance(value, tuple) else (value,)
        elif operator == "Range":
            start, stop, step = (known.get(name) for name in node.inputs)
            if stop is not None and abs(stop[0] - (start or (0,))[0]) / (abs((step or (1,))[0]) or 1) > MOST_VALUES:
                raise UnknownGraphError(f"makes a Range of more than {MOST_VALUES} numbers")
        elif operator in _GROWING:
            at = _GROWING[operator]
            names = node.inputs if at is None else node.inputs[at : at + 1]
            if at is None and self._types[node.inputs[0]] != INT64:
                return
            values = [value for name in names for value in known.get(name, ())]
            if math.prod(max(1, abs(value)) for value in values if value < 2**62) > MOST_VALUES:
                raise UnknownGraphError(f"makes a tensor of more than {MOST_VALUES} values by {operator}")
            if at is None and all(name in known for name in names) and len(values) <= 64:
                known[node.outputs[0]] = tuple(values)


def _range_of(node: Node, name: str) -> tuple[int, int]:
    """The least and the largest number that an attribute may give. What a Constant gives is a value as any other."""
    if node.operator == "Constant":
        return -(2**63), 2**63 - 1
    if name in LEAST_SIZES:
        return LEAST_SIZES[name], MOST_SIZE_OF_ATTRIBUTE
    most = MOST_AXIS if name in AXES else MOST_SIZE
    return -most, most


def _stated_type(node: Node) -> int | None:
    """The type of what a node gives, where an attribute states it."""
    if node.operator == "Cast":
        return int(node.attributes.get("to", (0, 0))[1] or 0)
    if node.operator == "ConstantOfShape":
        return int(node.attributes["value"][1].dtype) if "value" in node.attributes else FLOAT
    if node.operator == "Constant":
        if "value" in node.attributes:
            return int(node.attributes["value"][1].dtype)
        return next((_VALUES_OF_CONSTANT[name] for name in node.attributes if name in _VALUES_OF_CONSTANT), 0)
    return None
