"""Which pairs a step asks: everything once an epoch, absent words, grouping, shares; nothing depends on workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip.errors import DataError
from clsclip.training.config import TrainConfig
from clsclip.training.plan import Asked, Plan, absent_words, share
from tests.clsclip.training.tiny_fold import Squares, tiny_fold


def settings(**changes: object) -> TrainConfig:
    return TrainConfig(**{"batch": 4, "steps": 1} | changes)  # type: ignore[arg-type]


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 3), st.sampled_from([0.0, 0.25, 0.5]), st.integers(0, 3))
def test_an_epoch_asks_every_pair_at_most_once(images: int, batch: int, words: int, absent: float, seed: int) -> None:
    fold = tiny_fold(Squares(images))
    config = settings(batch=batch, words_per_picture=words, absent=absent if batch > 1 else 0.0, seed=seed)
    plan = Plan(fold, config)
    for epoch in (0, 1):
        asked = Counter[tuple[int, int]]()
        for position in range(plan.steps_per_epoch):
            step = plan.step(epoch * plan.steps_per_epoch + position)
            assert len({one.image for one in step}) == len(step), "a picture stands in a step once"
            asked.update((one.image, word) for one in step for word in one.present)
            if len(fold.train_pairs) >= config.present_pairs:
                assert sum(one.pairs for one in step) == batch
                assert sum(one.absent for one in step) == config.absent_pairs
        assert set(asked) <= set(fold.train_pairs) and set(asked.values()) == {1}
        assert len(fold.train_pairs) - len(asked) < config.present_pairs


def test_groups_keep_the_words_of_a_picture_together() -> None:
    fold = tiny_fold(Squares(200), novel=())
    alone, grouped = (Plan(fold, settings(batch=16, words_per_picture=words)) for words in (1, 2))
    assert len(alone.step(0)) > 12
    assert len(grouped.step(0)) <= 9


def test_steps_are_a_function_of_the_seed_and_their_number() -> None:
    fold = tiny_fold(Squares(60))
    one, same, other = (Plan(fold, settings(seed=seed, absent=0.25)) for seed in (1, 1, 2))
    steps = [one.step(number) for number in range(40)]
    assert [same.step(number) for number in reversed(range(40))] == steps[::-1]
    assert [other.step(number) for number in range(40)] != steps
    flips = [asked.flip for step in steps for asked in step]
    assert 0.3 < np.mean(flips) < 0.7
    assert not any(asked.flip for asked in Plan(fold, settings(flip=False)).step(3))


@given(st.sets(st.integers(0, 9)), st.integers(0, 12), st.integers(0, 99))
def test_absent_words_are_seen_and_not_shown(shown: set[int], count: int, stream: int) -> None:
    seen = (0, 1, 2, 5, 6)
    asked = Asked(0, False, (), count, (stream,))
    words = absent_words(asked, tuple(shown), seen)
    assert len(set(words)) == len(words) == min(count, len(set(seen) - shown))
    assert set(words) <= set(seen) - shown
    assert words == absent_words(asked, tuple(shown), seen)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(1, 6))
def test_shares_are_a_partition_and_fair(sizes: list[int], parts: int) -> None:
    asked = [Asked(index, False, tuple(range(size)), 0, ()) for index, size in enumerate(sizes)]
    shares = [share(asked, part, parts) for part in range(parts)]
    assert [one for part in shares for one in part] == asked
    pairs = [sum(one.pairs for one in part) for part in shares]
    assert max(pairs) - min(pairs) <= 2 * max(sizes)


def test_folds_that_cannot_be_trained_on_are_refused() -> None:
    fold = tiny_fold()
    for broken, says in [
        (replace(fold, seen=()), "no seen class"),
        (replace(fold, train_pairs=()), "no training pairs"),
        (replace(fold, train_pairs=((99, 0),)), "beyond the 12"),
        (replace(fold, train_pairs=((0, 4),)), "not among the seen"),
        (replace(fold, train_pairs=((0, 1, 2),)), "pairs"),  # type: ignore[arg-type]
    ]:
        with pytest.raises(DataError, match=says):
            Plan(broken, settings())
