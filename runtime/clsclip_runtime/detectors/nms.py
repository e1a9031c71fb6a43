"""Non-maximum suppression: of boxes of one class that overlap, the surest stays."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]


def keep_best(boxes: Floats, scores: Floats, classes: npt.NDArray[np.int64], iou: float) -> npt.NDArray[np.int64]:
    """Indices of the boxes that stay, the surest first; boxes of different classes never drop each other.

    Args:
        boxes: (N, 4) xyxy. A box without area overlaps nothing.
        scores: (N,).
        classes: (N,).
        iou: a box is dropped when it overlaps a surer one of its class by more than this.
    """
    kept = [_one_class(boxes, scores, np.flatnonzero(classes == one), iou) for one in np.unique(classes)]
    together = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    return together[np.argsort(-scores[together], kind="stable")]


def _one_class(boxes: Floats, scores: Floats, index: npt.NDArray[np.int64], iou: float) -> npt.NDArray[np.int64]:
    order = index[np.argsort(-scores[index], kind="stable")]
    corners = boxes[order].astype(np.float64)
    areas = np.clip(corners[:, 2] - corners[:, 0], 0, None) * np.clip(corners[:, 3] - corners[:, 1], 0, None)
    alive = np.ones(len(order), np.bool_)
    for at in range(len(order)):
        if not alive[at]:
            continue
        rest = at + 1 + np.flatnonzero(alive[at + 1 :])
        low = np.maximum(corners[at, :2], corners[rest, :2])
        high = np.minimum(corners[at, 2:], corners[rest, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        union = areas[at] + areas[rest] - shared
        alive[rest[shared > iou * union]] = False
    return order[alive]
