"""Suppression against torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime.detectors import nms
from clsclip_runtime.detectors.nms import keep_best


@st.composite
def box_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 60, (count, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(count).astype(np.float32) / max(count, 1)
    return boxes, scores, rng.integers(0, 3, count)


@given(box_sets(), st.sampled_from([0.3, 0.45, 0.7]), st.sampled_from([None, 1, 5]))
def test_suppression_is_torchvisions(made: tuple[np.ndarray, ...], iou: float, most: int | None) -> None:
    pytest.importorskip("torchvision", reason="torchvision, the reference, is not installed")
    import torch
    from torchvision.ops import batched_nms

    boxes, scores, classes = made
    theirs = batched_nms(*(torch.from_numpy(one) for one in made), iou).tolist()
    assert keep_best(boxes, scores, classes, iou, most).tolist() == theirs[:most]


def test_boxes_without_area_drop_nothing() -> None:
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [9, 9, 2, 2], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.75, 0.7], np.float32)
    assert keep_best(boxes, scores, np.zeros(4, np.int64), 0.5).tolist() == [0, 1, 2, 3]


def test_equal_scores_keep_their_order() -> None:
    boxes = np.array([[0, 0, 1, 1], [9, 9, 10, 10], [5, 5, 6, 6]], np.float32)
    assert keep_best(boxes, np.full(3, 0.5, np.float32), np.zeros(3, np.int64), 0.5).tolist() == [0, 1, 2]


def test_noise_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nms, "MOST_CANDIDATES", 3)
    boxes = np.arange(5, dtype=np.float32)[:, None] * 10 + np.array([0, 0, 5, 5], np.float32)
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
    assert keep_best(boxes, scores, np.zeros(5, np.int64), 0.5).tolist() == [4, 3, 2]
