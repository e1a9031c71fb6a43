"""Sizes and episodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clsclip.data import Fold
from clsclip.evaluation import Protocol
from clsclip.evaluation.protocol import nearest
from tests.clsclip.evaluation.doubles import MadeImages


def pairs_fold(pairs: list[tuple[int, int]], name: str = "pascal") -> Fold:
    data = MadeImages([np.zeros((2, 2), np.uint8)] * 8, name=name)
    return Fold(0, data, data, (), (0, 1, 2), (), tuple(pairs))


@pytest.mark.parametrize("length", [346, 451, 725, 7, 1, 1000, 1001])
def test_weights_are_the_customary_thousand(length: int) -> None:
    pairs = [(number, 0) for number in range(length)]
    weights = Protocol().weights(pairs_fold(pairs))
    again = [pairs[number % length] for number in range(1000)]
    assert sum(weights.values()) == 1000
    assert all(weights[pair] == again.count(pair) for pair in list(weights)[:: max(1, length // 5)])
    assert list(weights) == pairs[:1000]


def test_every_pair_once_and_a_pair_that_is_listed_twice() -> None:
    fold = pairs_fold([(0, 1), (1, 1), (0, 1)])
    assert Protocol(every=True).weights(fold) == {(0, 1): 1, (1, 1): 1}
    assert Protocol().weights(fold) == {(0, 1): 667, (1, 1): 333}
    assert Protocol().weights(pairs_fold([])) == {}


def test_coco_draws() -> None:
    fold = pairs_fold([(0, 0), (1, 1), (2, 1)], "coco")
    weights = Protocol().weights(fold)
    assert sum(weights.values()) == 1000
    assert 400 < weights[0, 0] < 600, "the class is drawn first"
    assert "numpy seed 0" in Protocol().describe(fold)


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([8, 60, 400, 473, 480]))
def test_masks_are_resized_as_torch_does(height: int, width: int, size: int) -> None:
    for length in (height, width):
        values = torch.arange(length, dtype=torch.float32)[None, None]
        theirs = torch.nn.functional.interpolate(values, size=size, mode="nearest")[0, 0]
        np.testing.assert_array_equal(nearest(length, size), theirs.numpy())
    truth = np.random.default_rng(height).integers(0, 256, (height, width), dtype=np.uint8)
    square = torch.nn.functional.interpolate(torch.from_numpy(truth)[None, None].float(), size=(size, size))[0, 0]
    np.testing.assert_array_equal(Protocol(size).mask(truth), square.numpy())


def test_sizes() -> None:
    image = np.zeros((30, 60, 3), np.uint8)
    assert Protocol().image(image) is image
    assert Protocol(480).image(image).shape == (480, 480, 3)
    boxes = np.array([[0, 0, 60, 30], [30, 15, 60, 30]], np.float32)
    np.testing.assert_array_equal(Protocol(480).boxes(boxes, (60, 30))[1], [240, 240, 480, 480])
    assert "480x480" in Protocol(480).describe(pairs_fold([(0, 0)]))
    assert "own sizes" in Protocol(every=True).describe(pairs_fold([(0, 0)]))
