"""``pycuda.driver`` on GPUs that are not there: device memory under made-up addresses, streams that run late."""

from __future__ import annotations

import operator
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from .cuda_runtime import BLOCK, FIRST, POISON, MisuseError, Work, need


class PyCudaDriver(ModuleType):
    """The calls that the product makes. Misuse is a MisuseError, as in :class:`~.cuda_runtime.CudaRuntime`.

    Attributes:
        gpu: whose primary context was retained last.
        depth: contexts that are current.
        full: memory has run out.
        broken: why nothing works; empty where all does.
        synchronized: how often the whole device was waited for.
    """

    class Error(Exception):
        """Its errors."""

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.memory: dict[int, npt.NDArray[np.uint8]] = {}
        self.pinned: dict[int, npt.NDArray[np.uint8]] = {}
        self.streams: dict[int, list[Work]] = {}
        self.gpu, self.depth, self.synchronized = -1, 0, 0
        self.full, self.broken, self.ready = False, "", False
        self._next = FIRST
        driver = self

        class Context:
            def push(self) -> None:
                driver.depth += 1

            @staticmethod
            def pop() -> None:
                driver.depth -= 1

            @staticmethod
            def synchronize() -> None:
                driver._current()
                driver.synchronized += 1

        class Device:
            def __init__(self, number: int) -> None:
                need(driver.ready, "init() comes first")
                self.number = operator.index(number)

            def retain_primary_context(self) -> Context:
                driver.gpu = self.number
                return Context()

        class DeviceAllocation:
            def __init__(self, address: int) -> None:
                self.address = address

            def __int__(self) -> int:
                return self.address

            def free(self) -> None:
                driver._current()
                del driver.memory[self.address]

        class Stream:
            def __init__(self, flags: int = 0) -> None:
                driver._current()
                self.handle = driver._number()
                driver.streams[self.handle] = []

            def synchronize(self) -> None:
                driver._current()
                work, driver.streams[self.handle] = driver.streams[self.handle], []
                for one in work:
                    one()

            def __del__(self) -> None:
                need(not driver.streams.pop(self.handle), "a stream was destroyed with work in it")

        class PagelockedHostAllocation:
            def __init__(self, array: npt.NDArray[np.uint8]) -> None:
                self._array = driver.pinned[array.ctypes.data] = array
                self.__array_interface__ = array.__array_interface__

            def free(self) -> None:
                driver._current()
                del driver.pinned[self._array.ctypes.data]
                self._array[:] = POISON

        self.Context, self.Device, self.Stream = Context, Device, Stream
        self._allocation, self._pages = DeviceAllocation, PagelockedHostAllocation

    def left(self) -> dict[str, int]:
        """What was taken and not given back."""
        kinds = {"device": self.memory, "pinned": self.pinned, "streams": self.streams}
        return {name: len(found) for name, found in kinds.items() if found}

    def init(self, flags: int = 0) -> None:
        if self.broken:
            raise self.Error(self.broken)
        self.ready = True

    def mem_alloc(self, bytes: int) -> Any:
        self._current()
        need(bytes > 0, "pycuda refuses to allocate nothing")
        if self.full:
            raise self.Error("cuMemAlloc failed: out of memory")
        address = self._number()
        self.memory[address] = np.full(bytes, 0xCD, np.uint8)
        return self._allocation(address)

    def pagelocked_empty(self, shape: int, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        self._current()
        need(shape > 0, "pycuda refuses to allocate nothing")
        if self.full:
            raise self.Error("cuMemHostAlloc failed: out of memory")
        return np.asarray(self._pages(np.full(shape, 0xAB, np.dtype(dtype))))

    def memcpy_htod_async(self, dest: int, src: Any, stream: Any = None) -> None:
        self._at(dest, src.nbytes)
        self._submit(stream, lambda: self._at(dest, src.nbytes).__setitem__(slice(None), src))

    def memcpy_dtoh_async(self, dest: Any, src: int, stream: Any = None) -> None:
        self._at(src, dest.nbytes)
        self._submit(stream, lambda: dest.__setitem__(slice(None), self._at(src, dest.nbytes)))

    def memcpy_dtod_async(self, dest: int, src: int, size: int, stream: Any = None) -> None:
        self._at(dest, size), self._at(src, size)
        self._submit(stream, lambda: self._at(dest, size).__setitem__(slice(None), self._at(src, size)))

    def _current(self) -> None:
        need(self.depth == 1, "no context is current, or more than one")

    def _number(self) -> int:
        self._next += BLOCK
        return self._next

    def _at(self, address: int, size: int) -> npt.NDArray[np.uint8]:
        base = operator.index(address) - address % BLOCK
        need(base in self.memory, f"{address:#x} is no device memory, or was given back")
        found = self.memory[base][address - base : address - base + size]
        need(len(found) == size, "beyond the end of device memory")
        return found

    def _submit(self, stream: Any, work: Work) -> None:
        self._current()
        if stream is None:
            raise MisuseError("a copy in the default stream waits for everybody")
        self.streams[stream.handle].append(work)
