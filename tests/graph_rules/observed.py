"""What is seen in exports: operators with their inputs, outputs, attributes and types, formats, and sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from clsclip_runtime.bundle.graph_rules import SAME_INPUTS, SAME_OUTPUTS
from clsclip_runtime.bundle.opening import EMBEDDED

FILE = EMBEDDED.parents[1] / "bundle" / "graph_rules.json"

ABOUT = (
    "What graphs of bundles and of detectors may hold: all that real exporters write, and nothing else. Made by "
    "python -m tests.graph_rules. C++ compiles this file in. types: ONNX's numbers of the types of inputs > outputs; "
    "0 is an input that is left out."
)

LENT = """
Add AveragePool Clip Concat Conv ConvTranspose Div Einsum Erf Exp Gather Gemm Identity LayerNormalization LeakyRelu Log
MatMul MaxPool Mul Pow Reciprocal ReduceMax ReduceMean ReduceSum Relu Reshape Sigmoid Slice Softmax Split Sqrt Squeeze
Sub Transpose Unsqueeze
"""
"""Operators of detectors that a bundle of any architecture may hold too: plain arithmetic on what is there. None
takes a size from a number in the graph, as Expand, Tile, Range and ConstantOfShape do."""

BOUNDS = {
    "bundles": {"nodes": 32768, "tensors": 16384, "bytes": 8 << 20},
    "detectors": {"nodes": 16384, "tensors": 16384, "bytes": 16 << 20},
}
"""Some ten times what the largest models have (a ViT of 48 layers has 3,000 nodes and 2 MiB beside its weights)."""


@dataclass
class Operator:
    """What was seen of an operator."""

    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    optional: set[int] = field(default_factory=set)
    attributes: dict[str, set[int]] = field(default_factory=dict)
    types: set[str] = field(default_factory=set)

    def document(self, required: Iterable[str]) -> dict[str, Any]:
        """For the file; ``required`` are the attributes without which the operator means nothing."""
        return {
            "inputs": [min(self.inputs), max(self.inputs)],
            "outputs": [min(self.outputs), max(self.outputs)],
            "optional": sorted(self.optional),
            "attributes": {name: sorted(kinds) for name, kinds in sorted(self.attributes.items())},
            "required": sorted(required),
            "types": sorted(self.types),
        }


@dataclass
class Observed:
    """What was seen in all exports of one list."""

    graphs: int = 0
    nodes: int = 0
    ir_versions: set[int] = field(default_factory=set)
    opsets: set[int] = field(default_factory=set)
    element_types: set[int] = field(default_factory=set)
    operators: dict[str, Operator] = field(default_factory=dict)

    def of(self, exports: Iterable[tuple[str, onnx.ModelProto]]) -> Observed:
        """Add all of ``exports``."""
        for label, model in exports:
            try:
                self.add(model)
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from error
        return self

    def add(self, model: onnx.ModelProto) -> None:
        """Add one graph. ValueError: it has what the walls refuse in any case."""
        domains = {one.domain: one.version for one in model.opset_import}
        used = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
        if used or set(domains) - {""} or model.functions or model.graph.sparse_initializer:
            raise ValueError(f"domains {domains}, {used}, {len(model.functions)} functions")
        self.graphs += 1
        self.nodes = max(self.nodes, len(model.graph.node))
        self.ir_versions.add(model.ir_version)
        self.opsets.add(domains[""])
        graph = onnx.shape_inference.infer_shapes(model).graph
        types = {one.name: one.type.tensor_type.elem_type for one in (*graph.input, *graph.output, *graph.value_info)}
        types |= {one.name: one.data_type for one in graph.initializer}
        self.element_types |= {one.data_type for one in graph.initializer}
        self.element_types |= {types[one.name] for one in (*graph.input, *graph.output)}
        for node in graph.node:
            self._add_node(node, types)

    def _add_node(self, node: onnx.NodeProto, types: dict[str, int]) -> None:
        inputs = [types.get(name, 0) if name else 0 for name in node.input]
        outputs = [types.get(name, 0) if name else 0 for name in node.output]
        if any(name and not kind for name, kind in zip([*node.input, *node.output], [*inputs, *outputs], strict=True)):
            raise ValueError(f"the types of {node.op_type} ({node.name}) are not known: {inputs} > {outputs}")
        if any(one.type == onnx.AttributeProto.GRAPH for one in node.attribute):
            raise ValueError(f"{node.op_type} holds a graph")
        known = self.operators.setdefault(node.op_type, Operator())
        known.inputs.append(len(inputs))
        known.outputs.append(len(outputs))
        known.optional |= {at for at, name in enumerate(node.input) if not name}
        for one in node.attribute:
            known.attributes.setdefault(one.name, set()).add(one.type)
        if node.op_type in SAME_INPUTS and len(set(inputs)) == 1:
            inputs = inputs[:1]
        if node.op_type in SAME_OUTPUTS:
            outputs = outputs[:1]
        while inputs and inputs[-1] == 0:
            inputs.pop()
        known.types.add(f"{','.join(map(str, inputs))}>{','.join(map(str, outputs))}")

    def document(self, bounds: Mapping[str, int], *, any_newer: bool = False) -> dict[str, Any]:
        """For the file; ``any_newer`` takes whatever formats and operator sets ONNX has by now."""
        newest_format, newest_opset = onnx.IR_VERSION, onnx.defs.onnx_opset_version()
        if self.nodes > bounds["nodes"] // 4:
            raise ValueError(f"a graph of {self.nodes} nodes: raise the bound")
        opsets = [min(self.opsets), newest_opset if any_newer else max(self.opsets)]
        return {
            "ir_versions": [min(8, *self.ir_versions), newest_format if any_newer else max(self.ir_versions)],
            "opsets": opsets,
            "element_types": sorted(self.element_types),
            "bounds": dict(bounds),
            "operators": {name: one.document(required(name, opsets)) for name, one in sorted(self.operators.items())},
        }


def required(operator: str, opsets: Sequence[int]) -> set[str]:
    """The attributes that ONNX requires of an operator in every operator set from the first to the last."""
    versions = range(opsets[0], opsets[1] + 1)
    schemas = [onnx.defs.get_schema(operator, one) for one in versions if onnx.defs.has(operator, one)]
    return set.intersection(*({key for key, one in schema.attributes.items() if one.required} for schema in schemas))


def write(path: Path, found: Mapping[str, Observed]) -> None:
    """Write the file; a list that was not made stays as it is."""
    document = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    document["about"] = ABOUT
    for name, one in found.items():
        document[name] = one.document(BOUNDS[name], any_newer=name == "detectors")
    lend(document)
    path.write_text(compact({key: document[key] for key in ("about", "bundles", "detectors")}), "utf-8")


def lend(document: Mapping[str, Any]) -> None:
    """Let bundles use ``LENT`` as detectors do, beside what was seen in them, and in float32 whatever was seen."""
    bundles, detectors = (document[name]["operators"] for name in ("bundles", "detectors"))
    seen = {}
    for name in LENT.split():
        # Reductions differ in name alone; which of them have their axes as an attribute is chance.
        kin = [one for one in (*bundles, *detectors) if one == name or one[:6] == name[:6] == "Reduce"]
        seen[name] = [part[one] for one in dict.fromkeys(kin) for part in (bundles, detectors) if one in part]
    for name, several in seen.items():
        types = [one for entry in several for one in entry["types"]]
        types += [re.sub(r"\b(10|11|16)\b", "1", one) for one in types]
        keys = sorted({key for entry in several for key in entry["attributes"]})
        bundles[name] = {
            **{
                key: [min(entry[key][0] for entry in several), max(entry[key][1] for entry in several)]
                for key in ("inputs", "outputs")
            },
            "optional": sorted({one for entry in several for one in entry["optional"]}),
            "attributes": {
                key: sorted({one for entry in several for one in entry["attributes"].get(key, ())}) for key in keys
            },
            "required": sorted(required(name, document["bundles"]["opsets"])),
            "types": list(dict.fromkeys(types)),
        }
    document["bundles"]["operators"] = dict(sorted(bundles.items()))


def compact(document: Mapping[str, Any]) -> str:
    """JSON with a line for each operator."""
    lines = ["{", f' "about": {json.dumps(document["about"])},']
    for name in ("bundles", "detectors"):
        part = document[name]
        lines.append(f' "{name}": {{')
        lines += [f'  "{key}": {json.dumps(part[key])},' for key in part if key != "operators"]
        lines.append('  "operators": {')
        operators = [f'   "{key}": {json.dumps(value)}' for key, value in part["operators"].items()]
        lines.append(",\n".join(operators))
        lines += ["  }", " }," if name == "bundles" else " }"]
    return "\n".join([*lines, "}"]) + "\n"
