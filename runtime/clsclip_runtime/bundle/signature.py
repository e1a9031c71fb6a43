"""Names, types and shapes of an ONNX graph's inputs and outputs, read without an ONNX library or its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsclip_runtime.bundle.contents import read_whole
from clsclip_runtime.bundle.graph_rules import BUNDLES
from clsclip_runtime.bundle.onnx_graph import Model
from clsclip_runtime.bundle.onnx_graph import Value as GraphValue
from clsclip_runtime.bundle.onnx_walk import walk

TYPES = {
    **{1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool"},
    **{10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16"},
}
"""NumPy's names of types, by ONNX's numbers."""


@dataclass(frozen=True)
class Value:
    """An input or output of a graph.

    Attributes:
        name: of the tensor.
        dtype: its type, such as ``float32``.
        shape: sizes of its axes; the name of an axis whose size is open, an empty one if it has none.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Signature:
    """What a graph takes and gives, in its own order."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    def to_json(self) -> dict[str, Any]:
        """The graph's entry in a manifest's ``graphs`` section."""
        return {"inputs": [one.to_json() for one in self.inputs], "outputs": [one.to_json() for one in self.outputs]}


def read_signature(path: Path) -> Signature:
    """Read the signature of the ONNX file at ``path``.

    Raises:
        NotOnnxError: the file is not an ONNX graph.
        OSError: it cannot be read.
    """
    return signature_of(walk(bytes(read_whole(path)), BUNDLES.bounds))


def signature_of(model: Model) -> Signature:
    """The signature of a graph that was walked."""
    # Graphs of an old format list their weights among the inputs.
    weights = {tensor.name for tensor in model.graph.tensors}
    inputs = (one for one in model.graph.inputs if one.name not in weights)
    return Signature(tuple(map(_value, inputs)), tuple(map(_value, model.graph.outputs)))


def _value(found: GraphValue) -> Value:
    return Value(found.name, TYPES.get(found.dtype, f"type {found.dtype}"), found.shape or ())
