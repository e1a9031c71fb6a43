"""What every backend offers: it loads graphs, and graphs map named arrays to named arrays."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from clsclip_runtime.arrays import Array, Arrays
from clsclip_runtime.errors import BackendError
from clsclip_runtime.forks import close_at_end


@dataclass(frozen=True, eq=False)
class Weight:
    """An initializer whose bytes are handed to an engine beside the graph.

    Attributes:
        name: of it.
        dtype: ONNX's number of its type.
        shape: of it.
        data: its bytes, verified; engines may go on reading them as long as the graph lives.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]
    data: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class GraphFile:
    """An ONNX graph to load: bytes that were walked, and weights in memory.

    Engines are given :meth:`model` and nothing else, never a path: what they can reach is what is in here.

    Attributes:
        path: of its file, for messages and for engines that were built of it. Nothing is read from there.
        around: fields of the model beside its graph, as they stand in the file.
        inside: fields of the graph without its weights, as they stand in the file.
        weights: of the graph.
        precision: of its bundle, such as ``fp32``; empty outside a bundle.
        digests: SHA-256 of the file and of every file that holds its weights, by name; None outside a bundle.
        bundle: the bundle's fingerprint; empty outside a bundle.
        inputs: names, also of those that an engine leaves out since nothing reads them.
    """

    path: Path
    around: bytes
    inside: bytes
    weights: tuple[Weight, ...]
    precision: str = ""
    digests: Mapping[str, str] | None = None
    bundle: str = ""
    inputs: tuple[str, ...] = ()

    @classmethod
    def whole(cls, path: Path, model: bytes) -> GraphFile:
        """A graph that was walked before, from what :meth:`model` gave of it with its weights inside."""
        return cls(path, model, b"", ())

    def model(self, place: Callable[[Weight], Mapping[str, str]] | None = None) -> bytes:
        """The graph as an ONNX file.

        Args:
            place: what is written as the external data of a weight; None writes weights into the file.

        Raises:
            BackendError: something in the file would lead to other files, or the whole is too large for one.
        """
        # A wall that does not parse: no reader can find a file's name that is not behind this word.
        for part in (self.around, self.inside):
            if _EXTERNAL.search(part) is not None:
                raise BackendError(
                    f"{self.path} names a file with weights in a way that was not seen, so it is refused. Get it again "
                    "from a source you trust, or export it again"
                )
        graph: list[bytes | memoryview] = [self.inside]
        for weight in self.weights:
            own = b"".join(proto_number(1, size) for size in weight.shape) + proto_number(2, weight.dtype)
            own += proto_bytes(8, weight.name.encode())
            if place is None:
                size = len(own) + len(_head(9, weight.data.nbytes)) + weight.data.nbytes
                graph += [_head(5, size), own, _head(9, weight.data.nbytes), weight.data.data]
            else:
                for key, value in place(weight).items():
                    own += proto_bytes(13, proto_bytes(1, key.encode()) + proto_bytes(2, value.encode()))
                graph.append(proto_bytes(5, own + proto_number(14, 1)))
        if not self.inside and not self.weights:  # the graph is in ``around``
            return self.around
        size = sum(len(part) for part in graph)
        if size + len(self.around) >= _LARGEST:
            raise BackendError(
                f"{self.path} has {size >> 20} MiB, and one file holds 2 GiB at most. Use another backend"
            )
        return b"".join([self.around, _head(7, size), *graph])


_LARGEST = 2**31 - 2**16
_EXTERNAL = re.compile(rb"[\x00\x08]location")
"""A key of external data, whatever number stands before it as its length: 8, or 8 written longer than it need be."""


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _head(number: int, size: int) -> bytes:
    """What stands before the content of a field."""
    return _varint(number << 3 | 2) + _varint(size)


def proto_bytes(number: int, content: bytes) -> bytes:
    """A field of protobuf that holds bytes, a text or a message."""
    return _head(number, len(content)) + content


def proto_number(number: int, value: int) -> bytes:
    """A field of protobuf that holds a number."""
    return _varint(number << 3) + _varint(value)


class Graph(Protocol):
    """A loaded graph. Safe to run from several threads at once."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        ...

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run once; ``feeds`` has exactly the graph's inputs. BackendError when the engine fails."""
        ...


@runtime_checkable
class DeviceGraph(Protocol):
    """A graph whose outputs can stay on the device, and that reads its inputs there."""

    def run_on_device(self, feeds: Arrays) -> dict[str, Array]:
        """As ``run``, with outputs left on the device; those that cannot be come to the host."""
        ...


def close_with(owner: object, graphs: Sequence[Graph]) -> None:
    """Close ``graphs``, those that can be closed, when ``owner`` is gone: whoever still uses it keeps them open."""
    own = list(graphs)
    close_at_end(owner, lambda: close_all(own))


def close_all(graphs: Sequence[Any]) -> None:
    """Close those of ``graphs`` that can be closed."""
    for graph in graphs:
        if hasattr(graph, "close"):
            graph.close()


PROCESSOR_MB = 128
"""What the activations of a call of the trunk may take on a processor where it has more than 16 pairs.

Measured on two cores: 4 to 32 pairs of 8 and 16 MiB each are alike, and 1 GiB of them is 6 to 30 % slower.
"""


class Backend(Protocol):
    """An engine. One that has to do something in another way than asked says so in ``notes``, for every result.

    One whose ``load`` may run in several threads at once says so by an attribute ``loads_in_parallel`` that is True.
    Beside that it may have ``read``, which copies a graph and returns a function that compiles the copy: the file's
    memory is let go of in between. One whose calls of the trunk get slower from some MiB on says how many in
    ``fast_mb``; see :data:`PROCESSOR_MB`, and :meth:`clsclip_runtime.limits.Limits.pairs`.
    """

    @property
    def name(self) -> str:
        """The name that selects it."""
        ...

    def load(self, file: GraphFile) -> Graph:
        """Load an ONNX file. BackendError when the backend cannot."""
        ...


def notes_of(backend: Backend) -> tuple[str, ...]:
    """What an engine does in another way than asked; most have nothing to say."""
    return tuple(getattr(backend, "notes", ()))
