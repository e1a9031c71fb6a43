"""Cutting calls: whatever the sizes and limits, the result is that of one call, and no part is larger than allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime.arrays import DeviceArray, to_host
from clsclip_runtime.backends.cuda.device import CudaDevice
from clsclip_runtime.backends.tensorrt.chunks import run_in_chunks
from clsclip_runtime.errors import BackendError
from tests.runtime.backends.fakes import FakeCuda, upload

Arrays = dict[str, npt.NDArray[Any]]

TRUNK = {"stem": ["C", None], "words": ["K", None], "crop_index": ["P"], "class_index": ["P"]}
GATE = {"stem": ["C", None], "words": ["K", None]}

bounds = st.tuples(st.integers(1, 3), st.integers(0, 5)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def feeds_of(crops: int, classes: int, pairs: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "stem": rng.normal(size=(crops, 4)).astype(np.float32),
        "words": rng.normal(size=(classes, 4)).astype(np.float32),
        "crop_index": rng.integers(0, crops, pairs),
        "class_index": rng.integers(0, classes, pairs),
    }


def within(feeds: Mapping[str, npt.NDArray[Any]], limits: dict[str, tuple[int, int]]) -> None:
    for name, array in feeds.items():
        low, high = limits[TRUNK[name][0] or ""]
        assert low <= len(array) <= high, name


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), bounds, bounds, bounds, st.integers(0, 99))
def test_pairs(
    crops: int,
    classes: int,
    pairs: int,
    crop_limit: tuple[int, int],
    class_limit: tuple[int, int],
    pair_limit: tuple[int, int],
    seed: int,
) -> None:
    limits = {"C": crop_limit, "K": class_limit, "P": pair_limit}

    def trunk(feeds: Arrays) -> Arrays:
        within(feeds, limits)
        rows = feeds["stem"][feeds["crop_index"]]
        return {"logits": (rows * feeds["words"][feeds["class_index"]])[:, None, :]}

    feeds = feeds_of(crops, classes, pairs, seed)
    found = run_in_chunks(trunk, feeds, TRUNK, {"logits": ["P", None, None]}, limits)["logits"]
    expected = feeds["stem"][feeds["crop_index"]] * feeds["words"][feeds["class_index"]]
    np.testing.assert_array_equal(found[:, 0], expected)


@given(st.integers(1, 12), st.integers(1, 12), bounds, bounds, st.integers(0, 99))
def test_crops_against_classes(
    crops: int, classes: int, crop_limit: tuple[int, int], class_limit: tuple[int, int], seed: int
) -> None:
    limits = {"C": crop_limit, "K": class_limit}

    def gate(feeds: Arrays) -> Arrays:
        within(feeds, limits)
        product = (feeds["stem"][:, None] * feeds["words"]).sum(axis=-1)
        return {"presence": product, "sums": feeds["stem"].sum(axis=1)}

    feeds = {name: array for name, array in feeds_of(crops, classes, 1, seed).items() if name in GATE}
    found = run_in_chunks(gate, feeds, GATE, {"presence": ["C", "K"], "sums": ["C"]}, limits)
    np.testing.assert_array_equal(found["presence"], (feeds["stem"][:, None] * feeds["words"]).sum(axis=-1))
    np.testing.assert_array_equal(found["sums"], feeds["stem"].sum(axis=1))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 20), bounds, bounds, bounds, st.integers(0, 99))
def test_arrays_on_the_device_are_cut_and_joined_there(
    crops: int,
    classes: int,
    pairs: int,
    crop_limit: tuple[int, int],
    class_limit: tuple[int, int],
    pair_limit: tuple[int, int],
    seed: int,
) -> None:
    """Crops on the device: what an encoder makes of them stays there, and what pairs (or, without any, every crop and
    class) make of them comes to the host."""
    cuda = FakeCuda()
    device = CudaDevice(cuda)
    limits = {"C": crop_limit, "K": class_limit, "P": pair_limit}
    feeds = feeds_of(crops, classes, max(1, pairs), seed)
    stem = upload(device, feeds["stem"])

    def encode(given: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(given["stem"], DeviceArray)
        within(given, limits)
        return {"doubled": upload(device, 2 * to_host(given["stem"]))}

    made = run_in_chunks(encode, {"stem": stem}, TRUNK, {"doubled": ["C", None]}, limits)["doubled"]
    assert isinstance(made, DeviceArray)
    np.testing.assert_array_equal(to_host(made), 2 * feeds["stem"])

    def multiply(given: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(given["stem"], DeviceArray)
        within(given, limits)
        rows = to_host(given["stem"])
        if not pairs:
            return {"product": (rows[:, None] * given["words"]).sum(axis=-1)}
        return {"logits": rows[given["crop_index"]] * given["words"][given["class_index"]]}

    if pairs:
        called = run_in_chunks(multiply, feeds | {"stem": made}, TRUNK, {"logits": ["P", None]}, limits)  # type: ignore[arg-type]
        expected = 2 * feeds["stem"][feeds["crop_index"]] * feeds["words"][feeds["class_index"]]
        np.testing.assert_array_equal(to_host(called["logits"]), expected)
    else:
        called = run_in_chunks(multiply, {"stem": made, "words": feeds["words"]}, GATE, {"product": ["C", "K"]}, limits)
        expected = (2 * feeds["stem"][:, None] * feeds["words"]).sum(axis=-1)
        np.testing.assert_array_equal(to_host(called["product"]), expected)
    del stem, made
    assert len(cuda.device) == 0


def test_other_axes_are_not_cut_on_the_device() -> None:
    device = CudaDevice(FakeCuda())
    feeds = {"x": upload(device, np.zeros((2, 3), np.float32))}
    axes = {"x": ["C", "K"]}
    for limits in ({"C": (1, 2), "K": (1, 2)}, {"C": (1, 2), "K": (4, 5)}):
        with pytest.raises(BackendError, match=r"shape=\(2, 3\).*only rows can be cut. Give it in host memory"):
            run_in_chunks(lambda feeds: {}, feeds, axes, {}, limits)
    same = run_in_chunks(lambda feeds: dict(feeds), feeds, axes, axes, {"C": (1, 1), "K": (1, 3)})["x"]
    np.testing.assert_array_equal(to_host(same), np.zeros((2, 3)))


def test_sizes_that_disagree() -> None:
    limits = {"C": (1, 2), "K": (1, 2), "P": (1, 2)}
    feeds = feeds_of(1, 1, 2, 0)
    feeds["class_index"] = feeds["class_index"][:1]
    with pytest.raises(BackendError, match="class_index has 1 along P, and another input has 2"):
        run_in_chunks(lambda feeds: {}, feeds, TRUNK, {}, limits)
    with pytest.raises(BackendError, match="nothing along P"):
        run_in_chunks(lambda feeds: {}, feeds_of(1, 1, 0, 0), TRUNK, {}, limits)
