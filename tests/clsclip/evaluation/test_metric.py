"""The figures, by hand and against a second implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clsclip.evaluation import Scores
from clsclip.evaluation.metric import overlap_and_union


def test_three_episodes_by_hand() -> None:
    scores = Scores(3)
    # Class 0: 4 pixels true, 1 ignored; marked are 2 true ones, 1 false one, and the ignored one.
    truth = np.array([[1, 1, 255, 0], [1, 1, 0, 0]], np.uint8)
    marked = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], bool)
    scores.add_episode(0, marked, truth)
    # The same class again, three times: all right.
    scores.add_episode(0, truth == 1, truth, weight=3, in_several=True)
    # Class 2: nothing marked of 2 true pixels.
    other = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], np.uint8)
    scores.add_episode(2, np.zeros((2, 4), bool), other, in_several=True)
    assert scores.iou(0) == pytest.approx(100 * (2 + 3 * 4) / (5 + 3 * 4))
    assert math.isnan(scores.iou(1))
    assert scores.iou(2) == 0
    assert scores.miou == pytest.approx((100 * 14 / 17 + 0) / 2)
    # Background: 2 of a union of 5 in the first picture, then three times 3 of 3, then 6 of 8.
    foreground = 100 * 14 / (17 + 2)
    background = 100 * (2 + 9 + 6) / (5 + 9 + 8)
    assert scores.fb_iou == pytest.approx((foreground + background) / 2)
    assert scores.which_word == pytest.approx((100 + 0) / 2)
    assert scores.episodes.tolist() == [4, 0, 1]


def test_leakage() -> None:
    scores = Scores(1)
    assert math.isnan(scores.leakage)
    scores.add_marked(200, 30)
    scores.add_marked(100, 60)
    assert scores.leakage == pytest.approx(0.3)


def test_nothing_counted_is_nan() -> None:
    scores = Scores(4)
    assert all(math.isnan(value) for value in (scores.miou, scores.fb_iou, scores.which_word, scores.leakage))
    scores.add_episode(1, np.ones((2, 2), bool), np.full((2, 2), 255, np.uint8))
    assert math.isnan(scores.miou), "a mask of nothing but ignored pixels says nothing"


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        overlap_and_union(np.zeros((2, 2), bool), np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match="cannot be added"):
        Scores(2) + Scores(3)


Episode = tuple[int, int, bool, np.ndarray, np.ndarray]


@st.composite
def episodes(draw: st.DrawFn) -> list[Episode]:
    made = []
    for _ in range(draw(st.integers(1, 6))):
        shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
        marked = draw(hnp.arrays(np.bool_, shape))
        truth = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 255])))
        made.append((draw(st.integers(0, 2)), draw(st.integers(1, 4)), draw(st.booleans()), marked, truth))
    return made


def pixel_by_pixel(run: list[Episode]) -> dict[str, float]:
    """All figures again: each episode as often as its weight, each pixel by itself."""
    hits: dict[tuple[str, int], list[int]] = {}
    for class_id, weight, several, marked, truth in run:
        for _ in range(weight):
            for own, true in zip(marked.ravel().tolist(), truth.ravel().tolist(), strict=True):
                if true == 255:
                    continue
                groups = [("fore", class_id, own, true == 1), ("back", class_id, not own, true == 0)]
                if several:
                    groups.append(("which", class_id, own, true == 1))
                for name, number, one, two in groups:
                    count = hits.setdefault((name, number), [0, 0])
                    count[0] += one and two
                    count[1] += one or two

    def ratio(part: int, whole: int) -> list[float]:
        return [100 * part / whole] if whole else []

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else float("nan")

    pooled = {
        name: [sum(count[at] for (of, _), count in hits.items() if of == name) for at in (0, 1)]
        for name in ("fore", "back")
    }
    return {
        "miou": mean([one for (name, _), count in sorted(hits.items()) if name == "fore" for one in ratio(*count)]),
        "which_word": mean(
            [one for (name, _), count in sorted(hits.items()) if name == "which" for one in ratio(*count)]
        ),
        "fb_iou": mean([*ratio(*pooled["back"]), *ratio(*pooled["fore"])]),
    }


@given(episodes())
def test_against_a_second_implementation(run: list[Episode]) -> None:
    scores = Scores(3)
    for class_id, weight, several, marked, truth in run:
        scores.add_episode(class_id, marked, truth, weight, several)
    for name, value in pixel_by_pixel(run).items():
        np.testing.assert_allclose(getattr(scores, name), value, rtol=0, atol=1e-9, equal_nan=True)


@given(episodes(), st.integers(0, 6))
def test_parts_add_up(run: list[Episode], cut: int) -> None:
    parts = [Scores(3), Scores(3)]
    whole = Scores(3)
    for number, (class_id, weight, several, marked, truth) in enumerate(run):
        for scores in (parts[number >= cut], whole):
            scores.add_episode(class_id, marked, truth, weight, several)
            scores.add_marked(number, weight)
    added = parts[0] + parts[1]
    np.testing.assert_array_equal(added.counts, whole.counts)
    np.testing.assert_array_equal(added.several, whole.several)
    np.testing.assert_array_equal(added.episodes, whole.episodes)
    assert (added.marked_present, added.marked_absent) == (whole.marked_present, whole.marked_absent)


def test_against_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    import torch

    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 255], (40, 40)).astype(np.uint8)
    marked = rng.random((40, 40)) < 0.4
    scores = Scores(1)
    scores.add_episode(0, marked, truth)
    judge = torchmetrics.JaccardIndex(task="binary", ignore_index=255)
    assert scores.iou(0) == pytest.approx(
        100 * float(judge(torch.from_numpy(marked).long(), torch.from_numpy(truth).long()))
    )
