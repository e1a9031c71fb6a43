"""What every engine offers: it loads graphs, and graphs map named arrays to named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Arrays: TypeAlias = Mapping[str, npt.NDArray[np.generic]]


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


class Backend(Protocol):
    """An engine."""

    @property
    def name(self) -> str:
        """The name that selects it."""
        ...

    def load(self, path: Path) -> Graph:
        """Load the ONNX file at ``path``. BackendError when the engine cannot."""
        ...
