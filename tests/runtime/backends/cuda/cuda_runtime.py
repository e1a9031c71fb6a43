"""``cuda.bindings.runtime`` on GPUs that are not there; see :class:`CudaRuntime`.

It has the calls that the product makes and no others. ``tests/vendors`` compares their names, arguments, answers and
enumerations with the real package, where that is installed.
"""

# ruff: noqa: N801, N802, N803, N815 (the names are CUDA's)

from __future__ import annotations

import ctypes
import enum
import functools
import operator
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

FIRST = 1 << 56
"""Device addresses begin here, where no host memory is."""

BLOCK = 1 << 32
"""An allocation's addresses are its own up to here."""

LOWEST_ON_HOST = 1 << 16
"""No program has memory below."""

FRESH_ON_DEVICE, FRESH_ON_HOST, POISON = 0xCD, 0xAB, 0xDD
"""What memory holds before anybody writes to it, and page-locked memory after it was given back."""

Work = Callable[[], None]


class MisuseError(AssertionError):
    """What would be a wrong picture, a crash or a hang on a real GPU, or is refused by it at once."""


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorDevicesUnavailable = 46
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorLaunchFailure = 719


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToHost = 0
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1
    cudaStreamCaptureModeRelaxed = 2


TEXTS = {
    cudaError_t.cudaErrorMemoryAllocation: b"out of memory",
    cudaError_t.cudaErrorInsufficientDriver: b"CUDA driver version is insufficient for CUDA runtime version",
}

ENDS = {
    cudaMemcpyKind.cudaMemcpyHostToHost: ("host", "host"),
    cudaMemcpyKind.cudaMemcpyHostToDevice: ("device", "host"),
    cudaMemcpyKind.cudaMemcpyDeviceToHost: ("host", "device"),
    cudaMemcpyKind.cudaMemcpyDeviceToDevice: ("device", "device"),
}
"""Where a copy's target and source must lie."""


def need(fine: object, why: str) -> None:
    """Raise MisuseError, whatever Python's -O says."""
    if not fine:
        raise MisuseError(why)


def answers(values: int) -> Callable[[Callable[..., Any]], Callable[..., tuple[Any, ...]]]:
    """A call that gives its code and ``values`` values, which are None where it fails, as it does when told to."""

    def decorate(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        @functools.wraps(function)
        def call(self: CudaRuntime, *arguments: Any, **named: Any) -> tuple[Any, ...]:
            name = function.__name__
            self.calls.append(name)
            if name in self.fails:
                if name == "cudaStreamEndCapture":  # it fails, and the recording has ended all the same
                    self._stream(arguments[0]).recorded = None
                return (self.fails[name], *[None] * values)
            found = function(self, *arguments, **named)
            if isinstance(found, cudaError_t):
                return (found, *[None] * values)
            return (cudaError_t.cudaSuccess, *([found] if values else []))

        call.answers = 1 + values  # type: ignore[attr-defined]
        return call

    return decorate


class _Stream:
    def __init__(self, flags: int, gpu: int) -> None:
        self.flags, self.gpu = flags, gpu
        self.pending: list[Work] = []
        self.recorded: list[Work] | None = None
        self.thread = 0


class CudaRuntime:
    """Device memory in NumPy under addresses that no host memory has, and streams that run late.

    Nothing that is put into a stream happens before somebody waits for it. Copies between the wrong sides, beyond the
    end of memory, from memory that was given back, through a dead stream, or on another GPU are a MisuseError; so is
    what CUDA refuses in a thread that records.

    Attributes:
        room: bytes of device memory.
        device, pinned: what is allocated, by address.
        owner: GPU of device memory, by address.
        streams, graphs, executables: what is there, by number.
        contexts: GPUs whose context was made.
        fails: codes that calls give from now on, by name.
        calls: names, in order.
    """

    cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode = cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode
    cudaStreamNonBlocking = 1

    def __init__(self, memory: int = 1 << 30, gpus: int = 2) -> None:
        self.room, self.gpus = memory, gpus
        self.device: dict[int, npt.NDArray[np.uint8]] = {}
        self.owner: dict[int, int] = {}
        self.pinned: dict[int, npt.NDArray[np.uint8]] = {}
        self.streams: dict[int, _Stream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.executables: dict[int, list[Work]] = {}
        self.contexts: set[int] = set()
        self.fails: dict[str, cudaError_t] = {}
        self.calls: list[str] = []
        self._given_back: list[npt.NDArray[np.uint8]] = []
        self._thread = threading.local()
        self._lock = threading.Lock()
        self._next = FIRST

    @property
    def gpu(self) -> int:
        """The one that this thread uses."""
        return getattr(self._thread, "gpu", 0)

    def at(self, address: int, size: int) -> npt.NDArray[np.uint8]:
        """Device memory that is allocated."""
        address = operator.index(address)
        base = address - address % BLOCK
        need(base in self.device, f"{address:#x} is no device memory, or was given back")
        need(address - base + size <= len(self.device[base]), "beyond the end of device memory")
        return self.device[base][address - base : address - base + size]

    def on_host(self, address: int, size: int) -> npt.NDArray[np.uint8]:
        """Host memory; inside of the allocation where it is page-locked."""
        address = operator.index(address)
        need(LOWEST_ON_HOST <= address < FIRST, f"{address:#x} is no host memory")
        for base, array in [*self.pinned.items()]:
            if base <= address < base + len(array):
                need(address + size <= base + len(array), "beyond the end of page-locked memory")
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def submit(self, stream: int, work: Work) -> None:
        """Put work into a stream; it is recorded where the stream is."""
        at = self._stream(stream)
        with self._lock:
            (at.pending if at.recorded is None else at.recorded).append(work)

    def left(self) -> dict[str, int]:
        """What was taken and not given back."""
        graphs = {**self.graphs, **self.executables}
        kinds = {"device": self.device, "pinned": self.pinned, "streams": self.streams, "graphs": graphs}
        return {name: len(found) for name, found in kinds.items() if found}

    def _number(self) -> int:
        with self._lock:
            self._next += BLOCK
            return self._next

    def _stream(self, stream: Any) -> _Stream:
        found = self.streams.get(operator.index(stream))
        if found is None:
            raise MisuseError(f"{stream} is no stream, or was destroyed")
        need(found.gpu == self.gpu, "a stream is used with another GPU set than its own")
        return found

    def _not_while_recording(self) -> None:
        here = threading.get_ident()
        recording = any(one.recorded is not None and one.thread == here for one in [*self.streams.values()])
        need(not recording, "CUDA refuses this call in a thread that records, and spoils the recording")

    @answers(0)
    def cudaSetDevice(self, device: int) -> Any:
        if not 0 <= device < self.gpus:
            return cudaError_t.cudaErrorInvalidDevice
        self._thread.gpu = device

    @answers(1)
    def cudaGetErrorString(self, error: cudaError_t) -> Any:
        need(isinstance(error, cudaError_t), "an error is of cudaError_t")
        return TEXTS.get(error, error.name.encode())

    @answers(1)
    def cudaMalloc(self, size: int) -> Any:
        self._not_while_recording()
        size = operator.index(size)
        need(0 <= size <= BLOCK, "no size of memory")
        if size == 0:
            return 0
        address = self._number()
        with self._lock:
            if size > self.room - sum(array.nbytes for array in self.device.values()):
                return cudaError_t.cudaErrorMemoryAllocation
            self.device[address], self.owner[address] = np.full(size, FRESH_ON_DEVICE, np.uint8), self.gpu
        return address

    @answers(0)
    def cudaFree(self, devPtr: int) -> Any:
        self._not_while_recording()
        if operator.index(devPtr) == 0:
            self.contexts.add(self.gpu)
            return
        need(devPtr in self.device, f"{devPtr:#x} is no device memory, or was given back")
        del self.device[devPtr]

    @answers(1)
    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        self._not_while_recording()
        need(flags in (0, 1, 2, 4), "flags of page-locked memory")
        size = operator.index(size)
        if size == 0:
            return 0
        array = np.full(size, FRESH_ON_HOST, np.uint8)
        self.pinned[array.ctypes.data] = array
        return array.ctypes.data

    @answers(0)
    def cudaFreeHost(self, ptr: int) -> Any:
        self._not_while_recording()
        need(ptr in self.pinned, f"{ptr:#x} is no page-locked memory, or was given back")
        array = self.pinned.pop(ptr)
        array[:] = POISON
        self._given_back.append(array)  # Whoever still reads it finds poison, and not another's data.

    @answers(1)
    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        need(flags in (0, self.cudaStreamNonBlocking), "flags of a stream")
        number = self._number()
        self.streams[number] = _Stream(flags, self.gpu)
        return number

    @answers(0)
    def cudaStreamDestroy(self, stream: int) -> Any:
        at = self._stream(stream)
        need(at.recorded is None, "a stream was destroyed while it was recorded")
        need(not at.pending, "a stream was destroyed with work in it")
        del self.streams[stream]

    @answers(0)
    def cudaStreamSynchronize(self, stream: int) -> Any:
        at = self._stream(stream)
        need(at.recorded is None, "nobody can wait for a stream that is recorded")
        with self._lock:
            work, at.pending = at.pending, []
        for one in work:
            one()

    @answers(0)
    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: int) -> Any:
        need(isinstance(kind, cudaMemcpyKind), "a kind of copy is of cudaMemcpyKind")
        count = operator.index(count)
        need(count >= 0, "no size of memory")
        if count == 0:
            self._stream(stream)
            return
        ends = {"device": self.at, "host": self.on_host}
        target, source = (ends[side] for side in ENDS[kind])
        need(not dst - count < src < dst + count, "source and target overlap")
        target(dst, count), source(src, count)  # the sides are wrong from the beginning, or memory goes meanwhile

        def copy() -> None:
            target(dst, count)[:] = source(src, count)

        self.submit(stream, copy)

    @answers(0)
    def cudaStreamBeginCapture(self, stream: int, mode: cudaStreamCaptureMode) -> Any:
        need(mode is cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal, "other threads' calls spoil the recording")
        at = self._stream(stream)
        need(at.recorded is None, "a stream is recorded once at a time")
        at.recorded, at.thread = [], threading.get_ident()

    @answers(1)
    def cudaStreamEndCapture(self, stream: int) -> Any:
        at = self._stream(stream)
        need(at.recorded is not None, "nothing is recorded")
        need(at.thread == threading.get_ident(), "a recording ends in the thread that began it")
        number = self._number()
        self.graphs[number], at.recorded = at.recorded or [], None
        return number

    @answers(1)
    def cudaGraphInstantiate(self, graph: int, flags: int) -> Any:
        need(graph in self.graphs, "no graph, or it was destroyed")
        need(flags == 0, "flags of an executable graph")
        number = self._number()
        self.executables[number] = list(self.graphs[graph])
        return number

    @answers(0)
    def cudaGraphDestroy(self, graph: int) -> Any:
        need(graph in self.graphs, "no graph, or it was destroyed")
        del self.graphs[graph]

    @answers(0)
    def cudaGraphLaunch(self, graphExec: int, stream: int) -> Any:
        need(graphExec in self.executables, "no executable graph, or it was destroyed")
        for work in self.executables[graphExec]:
            self.submit(stream, work)

    @answers(0)
    def cudaGraphExecDestroy(self, graphExec: int) -> Any:
        need(graphExec in self.executables, "no executable graph, or it was destroyed")
        del self.executables[graphExec]
