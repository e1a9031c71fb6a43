"""Copies between host and one GPU, and the memory of the arrays that stay there."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.arrays import Array, DeviceArray, HostArray, Rows, runs
from clsclip_runtime.backends.cuda.calls import Cuda
from clsclip_runtime.errors import BackendError

_log = logging.getLogger(__name__)


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

    def from_cuda_array(self, name: str, value: Any, dtype: np.dtype[Any]) -> DeviceArray:
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
