"""Arrays on a made-up GPU: copies against NumPy, and memory that is given back exactly when nobody needs it."""

from __future__ import annotations

import gc
import logging
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime.arrays import Array, DeviceArray, concatenate, join_rows, runs, to_host
from clsclip_runtime.backends.cuda.device import CudaDevice, is_dense
from clsclip_runtime.errors import BackendError
from tests.runtime.backends.fakes import FakeCuda, upload

FLOAT = np.dtype(np.float32)


@st.composite
def parts(draw: st.DrawFn) -> list[tuple[bool, int, list[int]]]:
    """For one to four arrays: whether it is on the device, how many rows it has, and which of them are asked."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        rows = draw(st.integers(1, 6))
        found.append((draw(st.booleans()), rows, draw(st.lists(st.integers(0, rows - 1), max_size=8))))
    return found


@given(parts(), st.sampled_from([(), (3,), (2, 5)]))
def test_rows_of_any_arrays(parts: list[tuple[bool, int, list[int]]], row: tuple[int, ...]) -> None:
    cuda = FakeCuda()
    device, rng = CudaDevice(cuda), np.random.default_rng(0)
    hosts = [rng.normal(size=(rows, *row)).astype(FLOAT) for _, rows, _ in parts]
    arrays: list[Array] = [
        upload(device, host) if kept else host for host, (kept, *_) in zip(hosts, parts, strict=True)
    ]
    wanted = [np.asarray(rows, np.int64) for *_, rows in parts]
    joined = join_rows(list(zip(arrays, wanted, strict=True)))
    assert isinstance(joined, DeviceArray) == any(kept for kept, *_ in parts)
    expected = np.concatenate([host[rows] for host, rows in zip(hosts, wanted, strict=True)])
    assert (joined.shape, joined.dtype, len(joined), joined.ndim) == (
        expected.shape,
        expected.dtype,
        len(expected),
        expected.ndim,
    )
    np.testing.assert_array_equal(to_host(joined), expected)
    np.testing.assert_array_equal(to_host(concatenate(arrays)), np.concatenate(hosts))
    del joined, arrays, device
    assert cuda.left() == {}


@given(st.lists(st.integers(0, 9), max_size=12))
def test_runs(rows: list[int]) -> None:
    found = list(runs(np.asarray(rows, np.int64)))
    assert [row for start, stop in found for row in range(start, stop)] == rows
    assert all(one[1] != other[0] for one, other in pairwise(found)), "as few as can be"


def test_consecutive_rows_are_one_copy() -> None:
    cuda = FakeCuda()
    array = upload(CudaDevice(cuda), np.arange(20, dtype=FLOAT).reshape(10, 2))
    cuda.calls.clear()
    taken = array.take(np.array([1, 2, 3, 7, 8, 0]))
    assert cuda.calls == ["on_device"] * 3 + ["wait"]
    assert cuda.crossed == {}, "nothing crosses to the host"
    np.testing.assert_array_equal(to_host(taken)[:, 0], [2, 4, 6, 14, 16, 0])


def test_rows_that_are_cut_out_share_memory() -> None:
    cuda = FakeCuda()
    host = np.arange(12, dtype=FLOAT).reshape(6, 2)
    array = upload(CudaDevice(cuda), host)
    cut = array[2:5][1:]
    assert cut.address == array.address + 3 * 8
    del array
    assert len(cuda.device) == 1, "the rows keep the memory of the whole"
    np.testing.assert_array_equal(cut.to_host(), host[3:5])
    assert len(cut[5:]) == 0
    with pytest.raises(IndexError, match="in their order"):
        cut[::2]
    with pytest.raises(TypeError, match=r"Call to_host\(\)"):
        list(cut)
    del cut
    assert cuda.left() == {}


def test_memory_is_given_back_with_the_last_reference(caplog: pytest.LogCaptureFixture) -> None:
    cuda = FakeCuda()
    device = CudaDevice(cuda)
    array = upload(device, np.zeros((4, 4), FLOAT))
    array.to_host()
    device.rest()
    assert cuda.left() == {"device": 1}, "the stream is given back"
    array.to_host()
    assert cuda.left() == {"device": 1, "streams": 1}, "and made again where it is needed"
    cycle: list[object] = [array]
    cycle.append(cycle)
    del device, array, cycle
    gc.collect()
    assert cuda.left() == {}

    def fails(address: int) -> None:
        raise BackendError("CUDA failed: the context is gone")

    array = CudaDevice(cuda).empty((2,), FLOAT)
    cuda.free = fails  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, logger="clsclip_runtime"):
        del array
    assert "could not be given back: CUDA failed: the context is gone" in caplog.text


def test_what_fails_leaves_nothing() -> None:
    cuda = FakeCuda(memory=100)
    device = CudaDevice(cuda)
    array = upload(device, np.zeros((4, 4), FLOAT))
    with pytest.raises(BackendError, match="out of memory"):
        array.take(np.arange(4))
    with pytest.raises(IndexError, match="rows 0 to 4 of an array of 4"):
        array.take(np.array([0, 4]))
    with pytest.raises(IndexError, match="rows -1 to 0"):
        array.take(np.array([0, -1]))
    for other in (np.zeros((2, 3), FLOAT), np.zeros((2, 4), np.float64)):
        with pytest.raises(
            BackendError, match=r"do not fit behind those of DeviceArray\(shape=\(4, 4\), dtype=float32"
        ):
            concatenate([array, other])
    with pytest.raises(TypeError, match=r"Call to_host\(\)"):
        np.asarray(array)
    assert cuda.left() == {"device": 1}


def test_other_libraries_read_it() -> None:
    cuda = FakeCuda()
    array = upload(CudaDevice(cuda), np.zeros((4, 3), FLOAT))
    interface = array[1:].__cuda_array_interface__
    assert interface["data"][0] == array.address + 12
    assert (interface["shape"], interface["typestr"], interface["version"]) == ((3, 3), "<f4", 3)
    assert is_dense(interface)
    assert is_dense(interface | {"strides": (12, 4)})
    assert not is_dense(interface | {"strides": (24, 4)})
    other = CudaDevice(cuda)
    assert other.from_cuda_array("x", array, FLOAT) is array
    with pytest.raises(BackendError, match="x on the GPU must be contiguous float64, and it is float32"):
        other.from_cuda_array("x", array, np.dtype(np.float64))


class Theirs:
    """An array of another library, which goes with its last reference."""

    def __init__(self, cuda: FakeCuda, host: npt.NDArray[np.float32], **interface: object) -> None:
        address = cuda.allocate(host.nbytes)
        cuda.at(address, host.nbytes)[:] = host.reshape(-1).view(np.uint8)
        weakref.finalize(self, cuda.free, address)
        given = {"shape": host.shape, "typestr": host.dtype.str, "data": (address, True), "version": 3}
        self.__cuda_array_interface__ = given | interface


def test_arrays_of_other_libraries() -> None:
    cuda, host = FakeCuda(), np.arange(12, dtype=FLOAT).reshape(4, 3)
    device, stream = CudaDevice(cuda), cuda.stream()
    value = Theirs(cuda, host - 1, stream=stream)
    address = value.__cuda_array_interface__["data"][0]
    cuda.submit(stream, lambda: cuda.at(address, host.nbytes).__setitem__(slice(None), host.reshape(-1).view(np.uint8)))
    array = device.from_cuda_array("x", value, FLOAT)
    assert (array.shape, array.dtype, array.address) == ((4, 3), FLOAT, address)
    np.testing.assert_array_equal(array.to_host(), host, "its producer's stream was waited for")
    del value
    np.testing.assert_array_equal(array[1:].to_host(), host[1:], "it lives as long as what reads it")
    del array
    assert list(cuda.device) == []
    plain = Theirs(cuda, host)
    cuda.calls.clear()
    assert device.from_cuda_array("x", plain, FLOAT).address
    assert cuda.calls == [], "where no stream is named, there is none to wait for"
    gaps = Theirs(cuda, host, strides=(24, 4))
    with pytest.raises(
        BackendError, match=r"x on the GPU must be contiguous float32, and it is float32 with gaps\. Con"
    ):
        device.from_cuda_array("x", gaps, FLOAT)
    with pytest.raises(BackendError, match=r"must be contiguous float64, and it is float32\. Convert"):
        device.from_cuda_array("x", plain, np.dtype(np.float64))


def test_a_device_without_arrays_gives_nothing_back() -> None:
    cuda = FakeCuda()
    CudaDevice(cuda).rest()
    assert cuda.left() == {}


def test_threads_copy_at_once() -> None:
    cuda = FakeCuda()
    device = CudaDevice(cuda)
    host = np.random.default_rng(0).normal(size=(50, 7)).astype(FLOAT)
    array = upload(device, host)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(30):
            rows = rng.integers(0, 50, 20)
            np.testing.assert_array_equal(to_host(array.take(rows)), host[rows])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert (len(cuda.device), len(cuda.streams)) == (1, 1)
