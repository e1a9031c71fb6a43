"""What other ways to do the same work have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers import material
from clsclip_bench.contender import Cell


class Peer:
    """A contender of the same work. ``prepare`` sets ``cell``, and ``call`` sets ``found``, (K, h, w) logits."""

    bundle: str
    cell: Cell
    found: npt.NDArray[np.float32] | None = None

    def facts(self) -> dict[str, Any]:
        """Pairs, and operations of a call."""
        crops, classes = self.cell.crops, self.cell.classes
        return {
            "pairs": self.cell.pairs,
            "operations": material.operations(self.bundle, crops, classes, crops * classes),
        }

    def logits(self) -> npt.NDArray[np.float32] | None:
        """(K, h, w) of the first picture."""
        return self.found


def pictures(cell: Cell) -> list[Any]:
    """The cell's pictures."""
    from PIL import Image

    return [Image.fromarray(material.picture())] * cell.crops
