"""Words of three features and their cache, for tests and for the processes that they start: little to import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.testing import assert_array_equal

from clsclip_runtime.bundle.specs import FeatureSpec
from clsclip_runtime.text.cache import WordCache
from clsclip_runtime.text.encoded import EncodedWord

FEATURES = (
    FeatureSpec("sequence", (3, 2), "float32", ("trunk",)),
    FeatureSpec("vector", (4,), "float32", ("presence",), unit_norm=True),
    FeatureSpec("score", (), "float32", ("presence",)),
)


def cache_in(folder: Path, key: str = "key") -> WordCache:
    return WordCache(folder, key, FEATURES)


def word(number: int) -> EncodedWord:
    arrays = {one.name: np.full(one.shape, number, np.float32) for one in FEATURES}
    arrays["sequence"] = arrays["sequence"] + np.arange(6, dtype=np.float32).reshape(3, 2) / 8
    return EncodedWord(arrays, number % 3 == 0)


def words_of(count: int, start: int = 0) -> dict[str, EncodedWord]:
    return {f"w{at}": word(at) for at in range(start, start + count)}


def check(found: Mapping[str, EncodedWord], expected: Mapping[str, EncodedWord]) -> None:
    assert set(found) == set(expected)
    for name, one in expected.items():
        assert found[name].truncated == one.truncated
        assert set(found[name].arrays) == set(one.arrays)
        for feature, array in one.arrays.items():
            assert found[name].arrays[feature].dtype == np.float32
            assert_array_equal(found[name].arrays[feature], array)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
