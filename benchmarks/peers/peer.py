"""What other ways to do the same work have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers import material
from clsclip_bench.case import Workload


class Peer:
    """A case of the same work. ``prepare`` sets ``workload``, and ``call`` sets ``found``, (K, h, w) logits."""

    bundle: str
    workload: Workload
    found: npt.NDArray[np.float32] | None = None

    def facts(self) -> dict[str, Any]:
        """Pairs, and operations of a call."""
        crops, classes = self.workload.crops, self.workload.classes
        return {
            "pairs": self.workload.pairs,
            "operations": material.operations(self.bundle, crops, classes, crops * classes),
        }

    def logits(self) -> npt.NDArray[np.float32] | None:
        """(K, h, w) of the first picture."""
        return self.found


def images(workload: Workload) -> list[Any]:
    """The workload's pictures."""
    from PIL import Image

    return [Image.fromarray(material.image())] * workload.crops
