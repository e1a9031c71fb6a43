"""CUDA behind one small module: cuda-python and pycuda, both made up; and what the real one says without a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from clsclip_runtime.backends.cuda.calls import Cuda, CudaPython, PyCuda, find_cuda
from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.errors import BackendError

from .cuda_runtime import FRESH_ON_HOST, POISON, CudaRuntime, MisuseError, cudaError_t
from .pycuda_driver import PyCudaDriver

RUNTIME, DRIVER = "cuda.bindings.runtime", "pycuda.driver"
PYCUDA_RECORDS_NOTHING = r"pycuda records no CUDA graphs\. Run: pip install cuda-python"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> CudaRuntime:
    made = CudaRuntime()
    monkeypatch.setitem(sys.modules, RUNTIME, made)
    monkeypatch.setitem(sys.modules, DRIVER, None)
    return made


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> PyCudaDriver:
    made = PyCudaDriver()
    monkeypatch.setitem(sys.modules, RUNTIME, None)
    monkeypatch.setitem(sys.modules, "pycuda", made)  # a package is imported before its modules
    monkeypatch.setitem(sys.modules, DRIVER, made)
    return made


def round_trip(cuda: Cuda) -> None:
    """Up, across and down again; nothing of it is seen before the stream was waited for."""
    stream, address, other = cuda.stream(), cuda.allocate(16), cuda.allocate(16)
    there, back = cuda.pin(16), cuda.pin(16)
    there[:] = np.arange(16)
    back[:] = 77
    cuda.to_device(address, there, stream)
    cuda.on_device(other, address + 2, 12, stream)
    cuda.to_host(back[:12], other, stream)
    np.testing.assert_array_equal(back, [77] * 16)
    cuda.wait(stream)
    np.testing.assert_array_equal(back, [*range(2, 14), 77, 77, 77, 77])
    cuda.free(address)
    cuda.free(other)
    cuda.unpin(there)
    cuda.unpin(back)
    cuda.end_stream(stream)


def test_cuda_python(runtime: CudaRuntime) -> None:
    cuda = find_cuda()
    assert (cuda.name, cuda.can_capture) == ("cuda-python", True)
    assert runtime.contexts == {0}, "the context is made now"
    round_trip(cuda)
    assert runtime.left() == {}, "everything is given back"
    stream = cuda.stream()
    assert runtime.streams[stream].flags == runtime.cudaStreamNonBlocking, "no other library's work holds it up"
    address, memory = cuda.allocate(0), cuda.pin(0)
    assert address in runtime.device, "memory of no bytes has an address too, which can be given back"
    memory[:] = 1
    cuda.free(address)
    cuda.unpin(memory)


def test_every_failure_of_cuda_python_is_told(runtime: CudaRuntime) -> None:
    """One call at a time fails, in everything that makes it."""
    cuda = find_cuda()
    memory, stream, address = cuda.pin(4), cuda.stream(), cuda.allocate(4)
    cuda.begin_capture(stream)
    graph = cuda.end_capture(stream)

    def record() -> Any:
        cuda.begin_capture(stream)
        return cuda.end_capture(stream)

    uses: dict[str, list[Callable[[], object]]] = {
        "cudaSetDevice": [find_cuda, lambda: cuda.allocate(1)],
        "cudaFree": [find_cuda, lambda: cuda.free(address)],
        "cudaMalloc": [lambda: cuda.allocate(1)],
        "cudaHostAlloc": [lambda: cuda.pin(1)],
        "cudaFreeHost": [lambda: cuda.unpin(memory)],
        "cudaStreamCreateWithFlags": [cuda.stream],
        "cudaStreamDestroy": [lambda: cuda.end_stream(stream)],
        "cudaMemcpyAsync": [
            lambda: cuda.to_device(address, memory, stream),
            lambda: cuda.to_host(memory, address, stream),
            lambda: cuda.on_device(address, address, 1, stream),
        ],
        "cudaStreamSynchronize": [lambda: cuda.wait(stream)],
        "cudaStreamBeginCapture": [lambda: cuda.begin_capture(stream)],
        "cudaStreamEndCapture": [record],
        "cudaGraphInstantiate": [record],
        "cudaGraphDestroy": [record],
        "cudaGraphLaunch": [lambda: cuda.launch(graph, stream)],
        "cudaGraphExecDestroy": [lambda: cuda.end_graph(graph)],
    }
    assert {name for name, call in vars(CudaRuntime).items() if hasattr(call, "answers")} == {
        *uses,
        "cudaGetErrorString",
    }
    for name, calls in uses.items():
        for call in calls:
            runtime.fails = {name: cudaError_t.cudaErrorLaunchFailure}
            with pytest.raises(BackendError) as caught:
                call()
            assert str(caught.value) == (
                "CUDA failed: cudaErrorLaunchFailure (cudaErrorLaunchFailure). clsclip-doctor says what works here"
            ), name
    runtime.fails = {}
    assert len(runtime.graphs) == 1, "what was recorded is destroyed, but where that is what fails"
    cuda.launch(graph, stream)
    cuda.wait(stream)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("cudaErrorMemoryAllocation", r"out of memory \(cudaErrorMemoryAllocation\)\. The GPU is out of memory: free"),
        ("cudaErrorInsufficientDriver", r"CUDA driver version is insufficient .*Install or update the NVIDIA driver"),
        (
            "cudaErrorNoDevice",
            r"cudaErrorNoDevice \(cudaErrorNoDevice\)\. Install or update the NVIDIA driver; clsclip-doctor",
        ),
    ],
)
def test_failures_say_what_to_do(runtime: CudaRuntime, code: str, message: str) -> None:
    runtime.fails = {"cudaFree": cudaError_t[code]}
    with pytest.raises(BackendError, match=f"^CUDA failed: {message}"):
        find_cuda()
    runtime.fails = {}
    cuda = find_cuda()
    runtime.room = 0
    with pytest.raises(BackendError, match=r"^CUDA failed: out of memory .*lower memory_mb, or build engines for"):
        cuda.allocate(1)
    with pytest.raises(BackendError, match=r"\(cudaErrorInvalidDevice\)"):
        find_cuda(2)


def test_the_double_tells_misuse(runtime: CudaRuntime) -> None:
    """What would go unnoticed on a real GPU, or end the process."""
    cuda = find_cuda()
    stream, address, memory = cuda.stream(), cuda.allocate(8), cuda.pin(8)
    kinds = runtime.cudaMemcpyKind
    for target, source, size, kind in (
        (memory.ctypes.data, address, 8, kinds.cudaMemcpyHostToDevice),
        (address, memory.ctypes.data, 8, kinds.cudaMemcpyDeviceToHost),
        (address, memory.ctypes.data, 8, kinds.cudaMemcpyDeviceToDevice),
        (address, memory.ctypes.data, 9, kinds.cudaMemcpyHostToDevice),
        (address + 1, memory.ctypes.data, 8, kinds.cudaMemcpyHostToDevice),
        (address, address + 4, 5, kinds.cudaMemcpyDeviceToDevice),
        (address, memory.ctypes.data, 8, 1),
    ):
        with pytest.raises(MisuseError):
            runtime.cudaMemcpyAsync(target, source, size, kind, stream)
    for wrong in (
        lambda: cuda.wait(stream + 1),
        lambda: cuda.free(memory.ctypes.data),
        lambda: runtime.cudaFreeHost(address),
        lambda: cuda.launch(1, stream),
    ):
        with pytest.raises(MisuseError):
            wrong()
    with pytest.raises(AttributeError):
        runtime.cudaMallocs(8)  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        runtime.cudaMalloc()
    cuda.to_host(memory, address, stream)
    with pytest.raises(MisuseError, match="with work in it"):
        cuda.end_stream(stream)
    cuda.free(address)
    with pytest.raises(MisuseError, match="was given back"):
        cuda.wait(stream)
    assert set(memory) == {FRESH_ON_HOST}
    cuda.unpin(memory)
    assert set(memory) == {POISON}


def test_recordings(runtime: CudaRuntime) -> None:
    cuda = find_cuda()
    stream, address, memory = cuda.stream(), cuda.allocate(4), cuda.pin(4)
    memory[:] = 0
    runtime.at(address, 4)[:] = 5
    cuda.begin_capture(stream)
    cuda.to_host(memory, address, stream)
    graph = cuda.end_capture(stream)
    assert (len(runtime.graphs), len(runtime.executables)) == (0, 1), "of the two, one is needed"
    cuda.wait(stream)
    assert not memory.any(), "what is recorded does not run"
    for value in (6, 7):
        runtime.at(address, 4)[:] = value
        cuda.launch(graph, stream)
        assert (memory != value).all()
        cuda.wait(stream)
        assert (memory == value).all()
    cuda.end_graph(graph)
    assert runtime.executables == {}


@pytest.mark.parametrize("fails", ["", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_nothing_is_freed_in_a_thread_that_records(runtime: CudaRuntime, fails: str) -> None:
    """A garbage collector frees at any moment."""
    cuda = find_cuda()
    stream, late, here = cuda.stream(), [cuda.allocate(16), cuda.allocate(16)], cuda.allocate(16)
    cuda.begin_capture(stream)
    for address in late:
        cuda.free(address)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(cuda.free, here).result()
    assert list(runtime.device) == late, "another thread frees meanwhile"
    if fails:
        runtime.fails = {fails: cudaError_t.cudaErrorLaunchFailure}
        with pytest.raises(BackendError, match="cudaErrorLaunchFailure"):
            cuda.end_capture(stream)
    else:
        cuda.end_graph(cuda.end_capture(stream))
    assert not runtime.device, "but as soon as it has recorded"
    cuda.free(cuda.allocate(16))
    assert not runtime.device, "and from then on at once"


def test_every_thread_uses_the_gpu_that_was_asked_for(runtime: CudaRuntime) -> None:
    cuda = find_cuda(1)
    assert runtime.contexts == {1}

    def work() -> None:
        runtime.cudaSetDevice(0)  # as another library does at any time
        address = cuda.allocate(4)
        assert runtime.owner[address] == 1
        memory, stream = cuda.pin(4), cuda.stream()
        assert runtime.streams[stream].gpu == 1
        for call in (
            lambda: cuda.to_device(address, memory, stream),
            lambda: cuda.wait(stream),
            lambda: cuda.begin_capture(stream),
            lambda: cuda.to_host(memory, address, stream),
        ):
            runtime.cudaSetDevice(0)
            call()
        runtime.cudaSetDevice(0)
        graph = cuda.end_capture(stream)
        for call in (
            lambda: cuda.launch(graph, stream),
            lambda: cuda.end_graph(graph),
            lambda: cuda.wait(stream),
            lambda: cuda.end_stream(stream),
            lambda: cuda.free(address),
            lambda: cuda.unpin(memory),
        ):
            runtime.cudaSetDevice(0)
            call()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
    assert runtime.left() == {}


def test_pycuda(driver: PyCudaDriver) -> None:
    cuda = find_cuda(1)
    assert (cuda.name, cuda.can_capture, driver.gpu) == ("pycuda", False, 1)
    round_trip(cuda)
    assert (driver.left(), driver.depth) == ({}, 0), "every push has its pop"
    stream = cuda.stream()
    cuda.to_device(cuda.allocate(0), cuda.pin(0), stream)
    cuda.end_stream(stream)
    assert "streams" not in driver.left(), "what was in it has run"
    driver.synchronized = 0
    cuda.wait(1)
    assert driver.synchronized == 1, "another library's stream is not pycuda's to wait for: the whole device is"
    driver.full = True
    for call in (lambda: cuda.allocate(1), lambda: cuda.pin(1)):
        with pytest.raises(BackendError, match=r"^CUDA failed: .*out of memory\. The GPU is out of memory: free some"):
            call()
    assert driver.depth == 0
    for call in (
        lambda: cuda.begin_capture(7),
        lambda: cuda.end_capture(7),
        lambda: cuda.launch(7, 7),
        lambda: cuda.end_graph(7),
    ):
        with pytest.raises(BackendError, match=PYCUDA_RECORDS_NOTHING):
            call()
    driver.broken = "cuInit failed: no CUDA-capable device is detected"
    with pytest.raises(BackendError, match=r"^CUDA failed: cuInit failed: no CUDA.*\. Install or update the NVIDIA"):
        find_cuda()


def test_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (RUNTIME, DRIVER):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        BackendError, match=r"neither cuda-python nor pycuda is installed \(.*cuda.*; .*pycuda.*\)\. Run"
    ):
        find_cuda()
    assert {CudaPython.name, PyCuda.name} == {"cuda-python", "pycuda"}


@pytest.mark.skipif(bool(ask_driver().gpus), reason="there is a GPU here")
def test_the_real_one_without_a_gpu() -> None:
    pytest.importorskip(RUNTIME, reason="cuda-python is not installed")
    with pytest.raises(BackendError, match=r"CUDA failed: .*Install or update the NVIDIA driver"):
        find_cuda()
