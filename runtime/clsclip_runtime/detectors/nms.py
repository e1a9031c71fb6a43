"""Non-maximum suppression: of boxes of one class that overlap, the surest stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Floats

MOST_CANDIDATES = 30_000
"""Boxes that are looked at, the surest first: ultralytics' bound, so that noise cannot take minutes."""


def keep_best(
    boxes: Floats, scores: Floats, classes: npt.NDArray[np.int64], iou: float, most: int | None = None
) -> npt.NDArray[np.int64]:
    """Indices of the boxes that stay, the surest first; boxes of different classes never drop each other.

    Args:
        boxes: (N, 4) xyxy. A box without area overlaps nothing.
        scores: (N,).
        classes: (N,).
        iou: a box is dropped when it overlaps a surer one of its class by more than this.
        most: stop after so many boxes; None keeps all.
    """
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    corners, kinds = boxes[order].astype(np.float64), classes[order]
    areas = np.clip(corners[:, 2:] - corners[:, :2], 0, None).prod(axis=1)
    left = np.arange(len(order))
    kept: list[int] = []
    while len(left) and (most is None or len(kept) < most):
        best, left = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[left, :2])
        high = np.minimum(corners[best, 2:], corners[left, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        covered = shared > iou * (areas[best] + areas[left] - shared)
        left = left[~(covered & (kinds[left] == kinds[best]))]
    return order[np.array(kept, np.int64)]
