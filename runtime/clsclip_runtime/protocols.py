"""What every backend offers: it loads graphs, and graphs map named arrays to named arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from clsclip_runtime.arrays import Array, Arrays
from clsclip_runtime.forks import close_at_end


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file to load, and what its bundle states about it.

    Attributes:
        path: the file.
        precision: of its bundle, such as ``fp32``; empty outside a bundle.
        digests: SHA-256 of the file and of every file that holds its weights, by name; None outside a bundle.
        bundle: the bundle's fingerprint; empty outside a bundle.
    """

    path: Path
    precision: str = ""
    digests: Mapping[str, str] | None = None
    bundle: str = ""


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


class Backend(Protocol):
    """An engine. One that has to do something in another way than asked says so in ``notes``, for every result.

    One whose ``load`` may run in several threads at once says so by an attribute ``loads_in_parallel`` that is True.
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
