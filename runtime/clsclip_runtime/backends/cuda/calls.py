"""The few CUDA calls that engines need, by cuda-python or pycuda, whichever is installed; nothing else knows which.

Everything happens in the device's primary context, so that PyTorch, ONNX Runtime and pycuda users in the same process
share it. Device memory is an address (int); pinned host memory is a NumPy array.
"""

from __future__ import annotations

import ctypes
import threading
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clsclip_runtime.errors import BackendError

Bytes = npt.NDArray[np.uint8]


class Cuda(Protocol):
    """CUDA on one device. Every call raises BackendError where CUDA fails; any thread may call."""

    name: str
    can_capture: bool
    """Whether streams can be recorded as graphs."""

    def allocate(self, size: int) -> int:
        """Device memory of ``size`` bytes."""
        ...

    def free(self, address: int) -> None:
        """Give device memory back, whatever this thread is doing: a garbage collector calls this too."""
        ...

    def pin(self, size: int) -> Bytes:
        """Page-locked host memory of ``size`` bytes, which copies run from without waiting."""
        ...

    def unpin(self, memory: Bytes) -> None:
        """Give page-locked memory back; the array must not be used again."""
        ...

    def stream(self) -> int:
        """A new stream that does not wait for the default one."""
        ...

    def end_stream(self, stream: int) -> None:
        """Destroy a stream."""
        ...

    def to_device(self, address: int, memory: Bytes, stream: int) -> None:
        """Copy host memory to the device, in the stream's order."""
        ...

    def to_host(self, memory: Bytes, address: int, stream: int) -> None:
        """Copy device memory to the host, in the stream's order."""
        ...

    def on_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy ``size`` bytes from one place of the device to another, in the stream's order."""
        ...

    def wait(self, stream: int) -> None:
        """Wait until all of a stream is done, be it ours or another library's."""
        ...

    def begin_capture(self, stream: int) -> None:
        """Record what is given to the stream instead of running it."""
        ...

    def end_capture(self, stream: int) -> Any:
        """The recorded graph, ready to launch."""
        ...

    def launch(self, graph: Any, stream: int) -> None:
        """Run a recorded graph in the stream."""
        ...

    def end_graph(self, graph: Any) -> None:
        """Destroy a recorded graph."""
        ...


def find_cuda(device: int = 0) -> Cuda:
    """CUDA on ``device`` by whichever package is installed: cuda-python first, since it has wheels and records graphs.

    Raises:
        BackendError: neither is installed, or there is no GPU.
    """
    reasons = []
    for make in (CudaPython, PyCuda):
        try:
            return make(device)
        except ImportError as error:
            reasons.append(str(error))
    raise BackendError(
        f"neither cuda-python nor pycuda is installed ({'; '.join(reasons)}). Run: pip install cuda-python"
    )


class CudaPython:
    """CUDA by cuda-python's runtime interface, whose context is the primary one."""

    name = "cuda-python"
    can_capture = True

    def __init__(self, device: int = 0) -> None:
        """Use ``device``. ImportError without the package, BackendError without a GPU."""
        self._runtime: Any = import_module("cuda.bindings.runtime")
        self._device = device
        self._recording = threading.local()
        self._done(self._runtime.cudaSetDevice(device))
        self._done(self._runtime.cudaFree(0))  # makes the context now, and tells of a missing driver

    def _done(self, answer: tuple[Any, ...]) -> Any:
        """What a call gave beside its code; BackendError where the code is not success."""
        code, *values = answer
        if code != self._runtime.cudaError_t.cudaSuccess:
            text = self._runtime.cudaGetErrorString(code)[1]
            raise BackendError(f"CUDA failed: {text.decode()} ({code.name}). {_advice(code.name)}")
        return values[0] if values else None

    def _here(self) -> Any:
        """The runtime with this thread's device set: it is a setting of every thread."""
        self._done(self._runtime.cudaSetDevice(self._device))
        return self._runtime

    def allocate(self, size: int) -> int:
        return int(self._done(self._here().cudaMalloc(max(1, size))))

    def free(self, address: int) -> None:
        late: list[int] | None = getattr(self._recording, "late", None)
        if late is not None:  # CUDA frees nothing in a thread that records, and would spoil the recording
            late.append(address)
            return
        self._done(self._here().cudaFree(address))

    def pin(self, size: int) -> Bytes:
        address = int(self._done(self._here().cudaHostAlloc(max(1, size), 0)))
        return _array_at(address, max(1, size))

    def unpin(self, memory: Bytes) -> None:
        self._done(self._here().cudaFreeHost(memory.ctypes.data))

    def stream(self) -> int:
        runtime = self._here()
        return int(self._done(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)))

    def end_stream(self, stream: int) -> None:
        self._done(self._here().cudaStreamDestroy(stream))

    def to_device(self, address: int, memory: Bytes, stream: int) -> None:
        self._copy(address, memory.ctypes.data, memory.nbytes, "cudaMemcpyHostToDevice", stream)

    def to_host(self, memory: Bytes, address: int, stream: int) -> None:
        self._copy(memory.ctypes.data, address, memory.nbytes, "cudaMemcpyDeviceToHost", stream)

    def on_device(self, target: int, source: int, size: int, stream: int) -> None:
        self._copy(target, source, size, "cudaMemcpyDeviceToDevice", stream)

    def _copy(self, target: int, source: int, size: int, kind: str, stream: int) -> None:
        runtime = self._here()
        self._done(runtime.cudaMemcpyAsync(target, source, size, getattr(runtime.cudaMemcpyKind, kind), stream))

    def wait(self, stream: int) -> None:
        self._done(self._here().cudaStreamSynchronize(stream))

    def begin_capture(self, stream: int) -> None:
        runtime = self._here()
        # Thread-local: what other threads allocate meanwhile does not spoil the recording.
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._done(runtime.cudaStreamBeginCapture(stream, mode))
        self._recording.late = []

    def end_capture(self, stream: int) -> Any:
        runtime = self._here()
        try:
            graph = self._done(runtime.cudaStreamEndCapture(stream))
        finally:
            late, self._recording.late = self._recording.late, None
            for address in late:
                self.free(address)
        try:
            return self._done(runtime.cudaGraphInstantiate(graph, 0))
        finally:
            self._done(runtime.cudaGraphDestroy(graph))

    def launch(self, graph: Any, stream: int) -> None:
        self._done(self._here().cudaGraphLaunch(graph, stream))

    def end_graph(self, graph: Any) -> None:
        self._done(self._here().cudaGraphExecDestroy(graph))


class PyCuda:
    """CUDA by pycuda, in the retained primary context; records no graphs."""

    name = "pycuda"
    can_capture = False

    def __init__(self, device: int = 0) -> None:
        """Use ``device``. ImportError without the package, BackendError without a GPU."""
        self._driver: Any = import_module("pycuda.driver")
        try:
            self._driver.init()
            self._context = self._driver.Device(device).retain_primary_context()
        except self._driver.Error as error:
            raise BackendError(f"CUDA failed: {error}. {_advice(str(error))}") from error
        self._memory: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}

    def _do(self, call: Any) -> Any:
        """Run ``call`` with the context current in this thread."""
        self._context.push()
        try:
            return call()
        except self._driver.Error as error:
            raise BackendError(f"CUDA failed: {error}. {_advice(str(error))}") from error
        finally:
            self._context.pop()

    def allocate(self, size: int) -> int:
        memory = self._do(lambda: self._driver.mem_alloc(max(1, size)))
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, address: int) -> None:
        memory = self._memory.pop(address)
        self._do(memory.free)

    def pin(self, size: int) -> Bytes:
        memory: Bytes = self._do(lambda: self._driver.pagelocked_empty(max(1, size), np.uint8))
        return memory

    def unpin(self, memory: Bytes) -> None:
        base: Any = memory.base
        self._do(base.free)

    def stream(self) -> int:
        stream = self._do(self._driver.Stream)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def end_stream(self, stream: int) -> None:
        self._do(lambda: self._streams.pop(stream).synchronize())  # pycuda destroys what is no longer referred to

    def to_device(self, address: int, memory: Bytes, stream: int) -> None:
        self._do(lambda: self._driver.memcpy_htod_async(address, memory, self._streams[stream]))

    def to_host(self, memory: Bytes, address: int, stream: int) -> None:
        self._do(lambda: self._driver.memcpy_dtoh_async(memory, address, self._streams[stream]))

    def on_device(self, target: int, source: int, size: int, stream: int) -> None:
        self._do(lambda: self._driver.memcpy_dtod_async(target, source, size, self._streams[stream]))

    def wait(self, stream: int) -> None:
        known = self._streams.get(stream)
        # pycuda cannot wait for a stream that it did not make; the whole device then.
        self._do(self._driver.Context.synchronize if known is None else known.synchronize)

    def begin_capture(self, stream: int) -> None:
        raise BackendError("pycuda records no CUDA graphs. Run: pip install cuda-python")

    def end_capture(self, stream: int) -> Any:
        raise BackendError("pycuda records no CUDA graphs. Run: pip install cuda-python")

    def launch(self, graph: Any, stream: int) -> None:
        raise BackendError("pycuda records no CUDA graphs. Run: pip install cuda-python")

    def end_graph(self, graph: Any) -> None:
        raise BackendError("pycuda records no CUDA graphs. Run: pip install cuda-python")


def _array_at(address: int, size: int) -> Bytes:
    """A NumPy view of host memory that CUDA owns."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def _advice(reason: str) -> str:
    if "MemoryAllocation" in reason or "out of memory" in reason.lower():
        return "The GPU is out of memory: free some, lower memory_mb, or build engines for fewer pairs"
    if "InsufficientDriver" in reason or "NoDevice" in reason or "no CUDA-capable" in reason:
        return "Install or update the NVIDIA driver; clsclip-doctor says what is there"
    return "clsclip-doctor says what works here"
