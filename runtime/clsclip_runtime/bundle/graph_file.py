"""ONNX files made ready for engines: walked, held to the lists, with their weights in memory beside them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clsclip_runtime.bundle.clip_bounds import graph_bytes, joined
from clsclip_runtime.bundle.contents import read_whole
from clsclip_runtime.bundle.graph_rules import BUNDLES, DETECTORS, Rules, UnknownGraphError, checked
from clsclip_runtime.bundle.manifest import check_file_name
from clsclip_runtime.bundle.onnx_graph import BYTES_OF, SMALL, Model, NotOnnxError, Tensor
from clsclip_runtime.bundle.protobuf import Bytes
from clsclip_runtime.bundle.signature import signature_of
from clsclip_runtime.errors import BundleError, ClsclipRuntimeError, DetectorError
from clsclip_runtime.extras import upgrade_advice
from clsclip_runtime.protocols import GraphFile, Weight

Memory = npt.NDArray[np.uint8]

_WALKED_AS_BYTES = 1 << 25
"""Files up to this size are walked in a copy: Python reads single bytes of those twice as fast."""

_ALIGNMENT = 8


@dataclass(frozen=True)
class WalkedGraph:
    """An ONNX file in memory, of which every byte has been looked at.

    Attributes:
        model: what it says.
        memory: the file; weights inside it lie at multiples of eight bytes.
        around, inside: what belongs to the model and to its graph, without weights; every Clip has both bounds.
        weights: initializers that are handed over beside the graph, with where each lies: a file's name and an offset,
            or an empty name for the graph's own file.
    """

    model: Model
    memory: Memory
    around: bytes
    inside: bytes
    weights: tuple[tuple[Tensor, str, int], ...]

    @property
    def locations(self) -> frozenset[str]:
        """Other files that hold weights, as the graph names them."""
        return frozenset(file for _, file, _ in self.weights if file)

    def file(
        self,
        path: Path,
        others: Mapping[str, Memory],
        precision: str = "",
        digests: Mapping[str, str] | None = None,
        bundle: str = "",
    ) -> GraphFile:
        """What engines take.

        Args:
            path: of the file, for messages.
            others: content of the other files, by the name that the graph gives them.
            precision, digests, bundle: of its bundle.

        Raises:
            NotOnnxError: a tensor lies beyond the end of its file.
        """
        weights = []
        for tensor, file, offset in self.weights:
            memory = others[file] if file else self.memory
            if offset + tensor.nbytes > len(memory):
                raise NotOnnxError(f"the tensor {tensor.name[:40]!r} lies beyond the end of {file}")
            data = memory[offset : offset + tensor.nbytes]
            weights.append(Weight(tensor.name, tensor.dtype, tensor.shape, data))
        inputs = tuple(one.name for one in signature_of(self.model).inputs)
        return GraphFile(path, self.around, self.inside, tuple(weights), precision, digests, bundle, inputs)


def walk_graph(memory: Memory, rules: Rules) -> WalkedGraph:
    """Walk an ONNX file in memory, which becomes the graph's own.

    Raises:
        NotOnnxError: it is no ONNX file as exporters write them.
        UnknownGraphError: no exporter of that list writes such a graph.
    """
    data: Bytes = bytes(memory) if len(memory) <= _WALKED_AS_BYTES else memory.data
    model = checked(data, rules)
    around, inside = joined(data, model.around), graph_bytes(data, model.graph)
    weights = []
    for tensor in model.graph.tensors:
        if tensor.place is not None:
            weights.append((tensor, tensor.place[0], tensor.place[1]))
        elif tensor.end - tensor.start >= SMALL:
            weights.append((tensor, "", _aligned(memory, tensor)))
    del data
    return WalkedGraph(model, memory, around, inside, tuple(weights))


def _aligned(memory: Memory, tensor: Tensor) -> int:
    """Move a tensor's bytes down to an address that its type wants; more bytes than that stand before them, unused."""
    shift = tensor.start % min(_ALIGNMENT, BYTES_OF[tensor.dtype])
    if shift:
        address = memory.ctypes.data
        ctypes.memmove(address + tensor.start - shift, address + tensor.start, tensor.end - tensor.start)
    return tensor.start - shift


def read_graph(path: Path, rules: Rules = BUNDLES, *, precision: str = "") -> GraphFile:
    """Read an ONNX file that is in no bundle, with its weights from files beside it.

    Raises:
        BundleError, DetectorError: it cannot be read, is no ONNX file, or is none that the list knows.
    """
    return read_walked(path, rules, precision=precision)[0]


def read_walked(path: Path, rules: Rules = BUNDLES, *, precision: str = "") -> tuple[GraphFile, Model]:
    """As :func:`read_graph`, with what the file says."""
    kind: Callable[[str], ClsclipRuntimeError] = DetectorError if rules is DETECTORS else BundleError
    try:
        walked = walk_graph(read_whole(path), rules)
        others = {}
        for name in walked.locations:
            check_file_name(name)
            place = path.parent / name
            if not place.resolve().is_relative_to(path.parent.resolve()):
                raise kind(f"{path} keeps weights in {name}, a link that leaves its folder. Export it as one file")
            others[name] = read_whole(place)
        return walked.file(path, others, precision), walked.model
    except NotOnnxError as error:
        raise kind(f"{path} is not an ONNX file that exporters write ({error}). Export it again as ONNX") from error
    except UnknownGraphError as error:
        raise kind(f"{path} {error}, and {unknown(rules)}") from error
    except OSError as error:
        raise kind(f"cannot read {error.filename or path}: {error.strerror or error}. Give an ONNX file") from error


def unknown(rules: Rules) -> str:
    """The end of a sentence about what no exporter of a list writes."""
    if rules is DETECTORS:
        return (
            "no exporter of the supported detectors writes that. Export it again by its own exporter, a newer format "
            "with a lower opset (onnx.version_converter lowers one that is there)"
        )
    return f"a bundle that holds that needs a newer clsclip. {upgrade_advice()}"
