"""How far the logits of one way are from those of another."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_bench.process import CaseProcess


def difference(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], cut: float = 0.0) -> dict[str, Any]:
    """Largest difference of logits and mean IoU of masks, over the words that ``found`` has (-inf is none).

    Args:
        found, expected: (K, h, w).
        cut: the logit above which a pixel belongs to a mask.
    """
    if found.shape != expected.shape:
        return {"reason": f"logits of shape {found.shape} beside {expected.shape}"}
    rows = np.isfinite(found).all(axis=(1, 2))
    if not rows.any():
        return {"reason": "no word was segmented"}
    mine, theirs = found[rows], expected[rows]
    masks, truths = mine > cut, theirs > cut
    union = (masks | truths).sum(axis=(1, 2))
    ious = (masks & truths).sum(axis=(1, 2))[union > 0] / union[union > 0]
    return {
        "max_difference": float(f"{np.abs(mine - theirs).max():.3g}"),
        "mean_iou": round(float(ious.mean()), 4) if len(ious) else None,
        "words": int(rows.sum()),
    }


LEAST_IOU = {"fp32": 0.999, "fp16": 0.99, "bf16": 0.95, "int8": 0.95}
"""Mean IoU with the reference's masks below which a row is wrong, by precision: what random weights leave of it."""


def wrong_rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows whose masks are not the reference's, a sentence each: speed of something else was measured."""
    found = []
    for row in rows:
        parity, least = row["parity"] or {}, LEAST_IOU.get(row["precision"], 0.999)
        iou = parity.get("mean_iou")
        if parity.get("words") and (iou is None or iou < least):
            found.append(f"{row['name']}: mean mask IoU {iou} with the reference, and {least} is the least")
        elif parity.get("reason", "").startswith("logits of") and row["whole_ms"] is not None:
            found.append(f"{row['name']}: {parity['reason']}")
    return found


class Parity:
    """Compares every case with the first one of its family. For ``after`` of ``bench.session.measure``."""

    def __init__(self) -> None:
        self._references: dict[str, npt.NDArray[np.float32]] = {}

    def __call__(self, process: CaseProcess) -> dict[str, Any]:
        """Figures of one case after its first call."""
        family = str(process.spec.labels.get("family", ""))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "logits.npy"
            if not process.logits(path):
                return {}
            logits: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
        if family not in self._references:
            self._references[family] = logits
            return {"reference": True}
        return difference(logits, self._references[family])
