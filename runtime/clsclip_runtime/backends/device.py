"""Arrays that stay on the GPU between two graphs of a bundle.

A graph that can (:class:`clsclip_runtime.backends.base.KeepsOnDevice`) leaves its outputs where they are, and the next
one reads them there. Whatever writes to such an array has ended before anybody gets it, and nothing writes to it again,
so that any thread and any stream may read it at once. Its memory is given back when the last reference goes; whoever
reads it holds a reference until the reading has ended.
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from clsclip_runtime.backends.cuda import Cuda
from clsclip_runtime.errors import BackendError

_log = logging.getLogger(__name__)

Rows: TypeAlias = npt.NDArray[np.int64]
HostArray: TypeAlias = npt.NDArray[Any]


class Copier(Protocol):
    """What copies device arrays. Any thread may call; a copy has ended when the call returns."""

    def to_host(self, array: DeviceArray) -> HostArray:
        """The array in host memory."""
        ...

    def join(self, parts: Sequence[tuple[Array, Rows]]) -> Array:
        """What :func:`join_rows` gives where at least one array is on the device."""
        ...

    def wait_for(self, stream: int) -> None:
        """Wait until another library's stream is done."""
        ...


class DeviceArray:
    """A dense array on a GPU that is only read.

    torch, cupy and others take it without a copy, by its ``__cuda_array_interface__``; NumPy takes its ``to_host()``.

    Attributes:
        shape: as of a NumPy array; the first axis is the rows'.
        dtype: of its values.
        address: where it begins, on the device.
        owner: what keeps the memory; rows that were cut out share it.
        copier: what copies it.
    """

    def __init__(self, copier: Copier, owner: object, address: int, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        """Describe memory that ``owner`` keeps for as long as it lives."""
        self.shape = tuple(int(size) for size in shape)
        self.dtype = np.dtype(dtype)
        self.address, self.owner, self.copier = address, owner, copier

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """For other libraries; no stream is named, since nothing writes any more. They must not write either."""
        data = (self.address, False)  # PyTorch refuses arrays that say that they are read-only
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": None, "version": 3}

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Shape and type."""
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"

    def __array__(self, *arguments: Any, **options: Any) -> HostArray:
        """Refused: a copy from the GPU is never made without being asked for."""
        raise TypeError("this array is on the GPU. Call to_host() for a NumPy array")

    def __getitem__(self, rows: slice) -> DeviceArray:
        """Consecutive rows, without a copy; the whole array's memory lives as long."""
        if not isinstance(rows, slice):
            raise TypeError("a device array gives slices of rows. Call to_host() to look at its values")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise IndexError("rows of a device array are cut out in their order. Use take(rows)")
        shape = (max(0, stop - start), *self.shape[1:])
        return DeviceArray(self.copier, self.owner, self.address + start * self.row_bytes, shape, self.dtype)

    def take(self, rows: Rows) -> Array:
        """A copy of rows, of any number and order; on the device, if its copier can copy there.

        Raises:
            IndexError: there is no such row.
            BackendError: CUDA fails, for one because memory ran out.
        """
        return join_rows([(self, rows)])

    def to_host(self) -> HostArray:
        """A copy as a NumPy array. BackendError where CUDA fails."""
        return self.copier.to_host(self)


Array: TypeAlias = npt.NDArray[Any] | DeviceArray
"""An array on the host or the device."""


def to_host(array: Array) -> HostArray:
    """The array in host memory: itself if it is there."""
    return array.to_host() if isinstance(array, DeviceArray) else array


def join_rows(parts: Sequence[tuple[Array, Rows]]) -> Array:
    """A copy of rows of one or several arrays, behind one another.

    Args:
        parts: arrays of equal dtype and row shape, and (N,) int64 rows of each. Where some are on the device, the
            others are copied up to it.

    Raises:
        IndexError: there is no such row.
        BackendError: CUDA fails, for one because memory ran out.
    """
    for array, _ in parts:
        if isinstance(array, DeviceArray):
            return array.copier.join(parts)
    return np.concatenate([cast("HostArray", array)[rows] for array, rows in parts])


def concatenate(arrays: Sequence[Array]) -> Array:
    """Arrays behind one another, copied once; see :func:`join_rows`."""
    if not any(isinstance(array, DeviceArray) for array in arrays):
        return np.concatenate(cast("Sequence[HostArray]", arrays))
    return join_rows([(array, np.arange(len(array))) for array in arrays])


class CudaDevice:
    """Makes and copies device arrays by CUDA, in a stream of its own."""

    def __init__(self, cuda: Cuda) -> None:
        """Nothing is taken from the GPU before the first array."""
        self._cuda = cuda
        self._lock = threading.Lock()
        self._stream: int | None = None
        self._end_stream: Callable[[], object] | None = None

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> DeviceArray:
        """An array for somebody to write once, before anybody else gets it. BackendError if memory runs out."""
        memory = _Memory(self._cuda, math.prod(shape) * np.dtype(dtype).itemsize)
        return DeviceArray(self, memory, memory.address, shape, dtype)

    def adopt(self, name: str, value: Any, dtype: np.dtype[Any]) -> DeviceArray:
        """What another library has on the GPU, without a copy; its producer's stream is waited for.

        Args:
            name: of the input that it is for, for messages.
            value: exposes ``__cuda_array_interface__``.
            dtype: that it must have.

        Raises:
            BackendError: it is of another type, or its rows do not lie densely behind one another.
        """
        if isinstance(value, DeviceArray) and value.dtype == dtype:
            return value
        interface: Mapping[str, Any] = value.__cuda_array_interface__
        found = np.dtype(interface["typestr"])
        if found != dtype or not is_dense(interface):
            raise BackendError(
                f"{name} on the GPU must be contiguous {dtype}, and it is {found}"
                f"{'' if is_dense(interface) else ' with gaps'}. Convert it first, with .contiguous() for one"
            )
        if interface.get("stream"):
            self.wait_for(int(interface["stream"]))
        return DeviceArray(self, value, int(interface["data"][0]), interface["shape"], dtype)

    def to_host(self, array: DeviceArray) -> HostArray:
        """See :class:`Copier`."""
        copy = np.empty(array.shape, array.dtype)
        with self._copying() as stream:
            self._cuda.to_host(copy.reshape(-1).view(np.uint8), array.address, stream)
        return copy

    def join(self, parts: Sequence[tuple[Array, Rows]]) -> Array:
        """See :class:`Copier`; runs of consecutive rows are one copy each."""
        first = next(array for array, _ in parts if isinstance(array, DeviceArray))
        for array, rows in parts:
            if array.dtype != first.dtype or array.shape[1:] != first.shape[1:]:
                raise BackendError(f"rows of shape {array.shape}, {array.dtype}, do not fit behind those of {first}")
            if len(rows) and not (rows.min() >= 0 and rows.max() < len(array)):
                raise IndexError(f"rows {rows.min()} to {rows.max()} of an array of {len(array)}")
        joined = self.empty((sum(len(rows) for _, rows in parts), *first.shape[1:]), first.dtype)
        at, staged = joined.address, []
        with self._copying() as stream:
            for array, rows in parts:
                if isinstance(array, DeviceArray):
                    for start, stop in runs(rows):
                        size = (stop - start) * first.row_bytes
                        self._cuda.on_device(at, array.address + start * first.row_bytes, size, stream)
                        at += size
                elif len(rows):
                    staged.append(np.ascontiguousarray(array[rows]).reshape(-1).view(np.uint8))
                    self._cuda.to_device(at, staged[-1], stream)
                    at += staged[-1].nbytes
        return joined

    def wait_for(self, stream: int) -> None:
        """See :class:`Copier`."""
        self._cuda.wait(stream)

    def rest(self) -> None:
        """Give the stream back. Arrays that are still there can be copied all the same: a new one is made then."""
        with self._lock:
            if self._end_stream is not None:
                self._end_stream()
            self._stream = self._end_stream = None

    @contextmanager
    def _copying(self) -> Iterator[int]:
        """The stream, for one thread at a time; what was put into it has ended afterwards."""
        with self._lock:
            if self._stream is None:
                self._stream = self._cuda.stream()
                self._end_stream = weakref.finalize(self, self._cuda.end_stream, self._stream)
            try:
                yield self._stream
            finally:
                self._cuda.wait(self._stream)


class _Memory:
    """Device memory that is given back when nobody refers to it."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self.address = cuda.allocate(size)
        weakref.finalize(self, _free, cuda, self.address)


def _free(cuda: Cuda, address: int) -> None:
    try:
        cuda.free(address)
    except BackendError as error:  # nobody waits for an answer here
        _log.warning("device memory could not be given back: %s", error)


def is_dense(interface: Mapping[str, Any]) -> bool:
    """Whether an array of a ``__cuda_array_interface__`` has no gaps."""
    strides, shape = interface.get("strides"), interface["shape"]
    size = np.dtype(interface["typestr"]).itemsize
    return strides is None or list(strides) == [size * math.prod(shape[at + 1 :]) for at in range(len(shape))]


def runs(rows: Rows) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of every run of consecutive rows."""
    if len(rows):
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            yield int(run[0]), int(run[-1]) + 1
