"""Arrays that stay on the GPU between two graphs of a bundle.

A graph that can (:class:`clsclip_runtime.protocols.KeepsOnDevice`) leaves its outputs where they are, and the next
one reads them there. Whatever writes to such an array has ended before anybody gets it, and nothing writes to it again,
so that any thread and any stream may read it at once. Its memory is given back when the last reference goes; whoever
reads it holds a reference until the reading has ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

Rows: TypeAlias = npt.NDArray[np.int64]
HostArray: TypeAlias = npt.NDArray[Any]


class DeviceCopier(Protocol):
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

    def __init__(
        self, copier: DeviceCopier, owner: object, address: int, shape: Sequence[int], dtype: npt.DTypeLike
    ) -> None:
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

Arrays: TypeAlias = Mapping[str, Array]
"""Inputs or outputs by name; on the device only where the graph is one that keeps its outputs there."""


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


def runs(rows: Rows) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of every run of consecutive rows."""
    if len(rows):
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            yield int(run[0]), int(run[-1]) + 1
