"""CUDA behind one small module: cuda-python and pycuda, both made up; and what the real one says without a GPU."""

# ruff: noqa: N802, N815 (the names are CUDA's)

from __future__ import annotations

import enum
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clsclip_runtime.backends.cuda import calls as cuda_module
from clsclip_runtime.backends.cuda.calls import Cuda, CudaPython, PyCuda, find_cuda
from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.errors import BackendError


class Code(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2


class Runtime:
    """cuda.bindings.runtime on host memory: every call gives (code, values...)."""

    cudaError_t = Code
    cudaStreamNonBlocking = 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.memory: dict[int, np.ndarray[Any, Any]] = {}
        self.full = False

    def cudaGetErrorString(self, code: Code) -> tuple[Code, bytes]:
        return Code.cudaSuccess, b"out of memory"

    def _new(self, size: int) -> tuple[Any, ...]:
        if self.full:
            return (Code.cudaErrorMemoryAllocation, None)
        array = np.zeros(size, np.uint8)
        self.memory[array.ctypes.data] = array
        return Code.cudaSuccess, array.ctypes.data

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._new(size)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        return self._new(size)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        if address:
            del self.memory[address]
        return (Code.cudaSuccess,)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self.cudaFree(address)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        self.memory[target][:size] = self.memory[source][:size]
        return (Code.cudaSuccess,)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            made = name in ("cudaStreamCreateWithFlags", "cudaStreamEndCapture", "cudaGraphInstantiate")
            return (Code.cudaSuccess, 7) if made else (Code.cudaSuccess,)

        return call


class PyCudaDriver(ModuleType):
    """pycuda.driver on host memory."""

    class Error(Exception):
        """Its errors."""

    class Base:
        def __init__(self) -> None:
            self.freed = False

        def free(self) -> None:
            self.freed = True

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.memory: dict[int, Any] = {}
        self.depth = 0
        self.full = False
        self.free_bases = 0
        self.synchronized = 0
        driver = self

        class Context:
            def push(self) -> None:
                driver.depth += 1

            def pop(self) -> None:
                driver.depth -= 1

            @staticmethod
            def synchronize() -> None:
                assert driver.depth == 1
                driver.synchronized += 1

        class Device:
            def __init__(self, number: int) -> None:
                assert number == 0

            def retain_primary_context(self) -> Context:
                return Context()

        class Memory:
            def __init__(self, size: int) -> None:
                assert driver.depth == 1, "the context is current"
                if driver.full:
                    raise driver.Error("cuMemAlloc failed: out of memory")
                self.array = np.zeros(size, np.uint8)
                driver.memory[int(self)] = self

            def __int__(self) -> int:
                return int(self.array.ctypes.data)

            def free(self) -> None:
                del driver.memory[int(self)]

        class Stream:
            handle = 7

            def synchronize(self) -> None:
                assert driver.depth == 1

        class Pinned(np.ndarray):
            def free(self) -> None:
                driver.free_bases += 1

        self.Context, self.Device, self.Stream, self.mem_alloc = Context, Device, Stream, Memory
        self.pagelocked_empty = lambda size, dtype: np.zeros(size, dtype).view(Pinned)[:]

    def init(self) -> None:
        """Nothing."""

    def memcpy_htod_async(self, address: int, memory: Any, stream: Any) -> None:
        self.memory[address].array[: memory.nbytes] = memory

    def memcpy_dtoh_async(self, memory: Any, address: int, stream: Any) -> None:
        memory[:] = self.memory[address].array[: memory.nbytes]

    def memcpy_dtod_async(self, target: int, source: int, size: int, stream: Any) -> None:
        self.memory[target].array[:size] = self.memory[source].array[:size]


def round_trip(cuda: Cuda) -> None:
    stream, address, other = cuda.stream(), cuda.allocate(16), cuda.allocate(16)
    there, back = cuda.pin(16), cuda.pin(16)
    there[:] = np.arange(16)
    cuda.to_device(address, there, stream)
    cuda.on_device(other, address, 12, stream)
    cuda.to_host(back, other, stream)
    cuda.wait(stream)
    np.testing.assert_array_equal(back, [*range(12), 0, 0, 0, 0])
    cuda.free(address)
    cuda.free(other)
    cuda.unpin(there)
    cuda.unpin(back)
    cuda.end_stream(stream)


def test_cuda_python(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    monkeypatch.setattr(cuda_module, "import_module", lambda name: runtime)
    cuda = find_cuda()
    assert (cuda.name, cuda.can_capture) == ("cuda-python", True)
    round_trip(cuda)
    assert not runtime.memory, "everything is given back"
    runtime.calls.clear()
    cuda.begin_capture(7)
    graph = cuda.end_capture(7)
    cuda.launch(graph, 7)
    cuda.end_graph(graph)
    assert [call for call in runtime.calls if call != "cudaSetDevice"] == [
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
        "cudaGraphDestroy",
        "cudaGraphLaunch",
        "cudaGraphExecDestroy",
    ]
    address = cuda.allocate(16)
    cuda.begin_capture(7)
    cuda.free(address)  # as a garbage collector does, at any moment
    assert list(runtime.memory) == [address], "nothing is freed in a thread that records"
    cuda.end_graph(cuda.end_capture(7))
    assert not runtime.memory, "but as soon as it has recorded"
    runtime.full = True
    with pytest.raises(BackendError, match=r"CUDA failed: out of memory \(cudaErrorMemoryAllocation\).*fewer pairs"):
        cuda.allocate(1)


def test_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = PyCudaDriver()

    def load(name: str) -> Any:
        if name != "pycuda.driver":
            raise ImportError(f"no {name}")
        return driver

    monkeypatch.setattr(cuda_module, "import_module", load)
    cuda = find_cuda()
    assert (cuda.name, cuda.can_capture) == ("pycuda", False)
    round_trip(cuda)
    assert (driver.memory, driver.depth) == ({}, 0), "every push has its pop"
    cuda.wait(1)
    assert driver.synchronized == 1, "another library's stream is not pycuda's to wait for: the whole device is"
    driver.full = True
    with pytest.raises(BackendError, match="out of memory"):
        cuda.allocate(1)
    assert driver.depth == 0
    with pytest.raises(BackendError, match="pip install cuda-python"):
        cuda.begin_capture(7)


def test_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda.bindings.runtime", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=r"neither cuda-python nor pycuda is installed.*pip install cuda-python"):
        find_cuda()
    assert {CudaPython.name, PyCuda.name} == {"cuda-python", "pycuda"}


@pytest.mark.skipif(bool(ask_driver().gpus), reason="there is a GPU here")
def test_the_real_one_without_a_gpu() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    with pytest.raises(BackendError, match=r"CUDA failed: .*Install or update the NVIDIA driver"):
        find_cuda()
