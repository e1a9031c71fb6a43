"""A Clip that leaves a bound out gets it written out: the least or the largest number of its type, as engines take it.

OpenVINO (2026.4) looks up that number itself, and follows a null pointer where what the Clip reads has no type since it
could not be converted, as after a product of sizes that do not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from clsclip_runtime.bundle.onnx_graph import FLOAT, INT64, Graph, Node
from clsclip_runtime.bundle.protobuf import Bytes
from clsclip_runtime.protocols import proto_bytes, proto_number

_HALF, _BFLOAT16 = 10, 16
_MOST_FLOAT = float.fromhex("0x1.fffffep+127")
LIMITS = {
    FLOAT: (struct.pack("<f", -_MOST_FLOAT), struct.pack("<f", _MOST_FLOAT)),
    _HALF: (b"\xff\xfb", b"\xff\x7b"),
    _BFLOAT16: (b"\x7f\xff", b"\x7f\x7f"),
    INT64: (struct.pack("<q", -(2**63)), struct.pack("<q", 2**63 - 1)),
}
"""Lowest and largest finite number, by ONNX's number of the type."""

_INPUTS = 3


def graph_bytes(data: Bytes, graph: Graph) -> bytes:
    """The graph as it stands in the file, without what is handed over beside it; every Clip has both bounds."""
    names = {one.name for one in graph.tensors} | {one.name for one in graph.inputs}
    names |= {name for node in graph.nodes for name in node.outputs}
    bounds: dict[tuple[int, int], str] = {}
    own: dict[int, bytes] = {}
    for number, dtype in graph.open_clips:
        node = graph.nodes[number]
        inputs = [*node.inputs, "", ""][:_INPUTS]
        for at in (1, 2):
            if not inputs[at]:
                inputs[at] = bounds.setdefault((dtype, at), _free_name(f"bound_{dtype}_{at}", names))
        own[graph.places[number]] = proto_bytes(1, _clip(node, inputs))
    parts = [_joined(data, graph.spans, own)]
    for (dtype, at), name in bounds.items():
        tensor = proto_number(2, dtype) + proto_bytes(8, name.encode()) + proto_bytes(9, LIMITS[dtype][at - 1])
        parts.append(proto_bytes(5, tensor))
    return b"".join(parts)


def _clip(node: Node, inputs: list[str]) -> bytes:
    parts = [proto_bytes(1, one.encode()) for one in inputs] + [proto_bytes(2, one.encode()) for one in node.outputs]
    return b"".join([*parts, proto_bytes(3, node.name.encode()), proto_bytes(4, node.operator.encode())])


def _free_name(name: str, names: set[str]) -> str:
    while name in names:
        name += "_"
    return name


def _joined(data: Bytes, spans: list[tuple[int, int]], own: Mapping[int, bytes]) -> bytes:
    """The bytes of spans, one after another, and of some others in their place."""
    found: list[bytes] = []
    begin = 0
    for at in [*sorted(own), len(spans)]:
        found += [joined(data, spans[begin:at]), own.get(at, b"")]
        begin = at + 1
    return b"".join(found)


def joined(data: Bytes, spans: list[tuple[int, int]]) -> bytes:
    """The bytes of spans, one after another; those that touch are copied at once."""
    found: list[bytes] = []
    begin = end = 0
    for start, stop in spans:
        if start != end:
            found.append(bytes(data[begin:end]))
            begin = start
        end = stop
    found.append(bytes(data[begin:end]))
    return b"".join(found)
