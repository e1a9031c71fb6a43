"""ONNX Runtime's GPU providers, by a made-up onnxruntime that computes on the CPU."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from clsclip_runtime import BackendError, OptionError, Segmenter
from clsclip_runtime.arrays import DeviceArray, to_host
from clsclip_runtime.backends import onnxruntime_gpu
from clsclip_runtime.backends.cuda.device import CudaDevice
from clsclip_runtime.backends.cuda.driver import Driver, Gpu
from clsclip_runtime.backends.onnxruntime_gpu import (
    PROFILE,
    OnnxRuntimeGpu,
    OnnxRuntimeGpuGraph,
    ThroughHost,
    profile_shapes,
)
from clsclip_runtime.bundle import Bundle
from clsclip_runtime.bundle.graph_file import read_graph
from tests.runtime.backends.fakes import FakeCuda, upload
from tests.runtime.graphs import unwalked
from tests.runtime.tiny_bundle import GRID, SIZE, make_bundle, paint

H100 = Driver("13.0", (Gpu("NVIDIA H100", "9.0", 80 << 30),), None)
BOTH = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class Value:
    """An OrtValue in the made-up GPU's memory, which goes with it."""

    def __init__(self, module: SimpleNamespace, array: np.ndarray[Any, Any]) -> None:
        self.array, self.address = array, module.cuda.allocate(array.nbytes)
        self.memory = module.cuda.at(self.address, array.nbytes)
        self.memory[:] = array.reshape(-1).view(np.uint8)
        weakref.finalize(self, module.cuda.free, self.address)

    def data_ptr(self) -> int:
        return self.address

    def data_type(self) -> str:
        return {"f": "tensor(float)", "i": "tensor(int64)", "b": "tensor(bool)"}[self.array.dtype.kind]

    def shape(self) -> list[int]:
        return list(self.array.shape)

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.memory.view(self.array.dtype).reshape(self.array.shape).copy()


class Binding:
    """I/O binding as ONNX Runtime has it; outputs are of no use before they were waited for."""

    def __init__(self, session: Session) -> None:
        self.session, self.feeds = session, {}
        self.outputs: list[tuple[str, str]] = []
        self.values: list[Any] | None = None

    def bind_cpu_input(self, name: str, array: np.ndarray[Any, Any]) -> None:
        assert array.flags.c_contiguous
        self.session.module.cuda.crossed["to_device"] += array.nbytes
        self.feeds[name] = array

    def bind_input(self, name: str, device: str, number: int, dtype: Any, shape: Any, address: int) -> None:
        assert (device, number) == ("cuda", 0)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.feeds[name] = self.session.module.cuda.at(address, size).view(dtype).reshape(shape)

    def bind_output(self, name: str, device: str, number: int) -> None:
        assert number == 0
        self.outputs.append((name, device))

    def synchronize_outputs(self) -> None:
        self.values = list(self.session.inner.run([name for name, _ in self.outputs], self.feeds))

    def copy_outputs_to_cpu(self) -> list[Any]:
        assert self.values is not None
        assert {device for _, device in self.outputs} == {"cpu"}
        self.session.module.cuda.crossed["to_host"] += sum(value.nbytes for value in self.values)
        return self.values

    def get_outputs(self) -> list[Value]:
        assert self.values is not None
        assert {device for _, device in self.outputs} == {"cuda"}
        return [Value(self.session.module, value) for value in self.values]


class Session:
    """An InferenceSession that says that it runs where the module says."""

    def __init__(self, module: Any, model: bytes, options: Any, providers: list[Any]) -> None:
        assert isinstance(model, bytes), "a path would lead to other files"
        self.module, self.providers = module, providers
        self.inner = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        module.sessions.append(self)

    def get_inputs(self) -> Any:
        return self.inner.get_inputs()

    def get_outputs(self) -> Any:
        return self.inner.get_outputs()

    def get_providers(self) -> list[str]:
        return list(self.module.gives)

    def disable_fallback(self) -> None:
        self.module.fallback = False

    def io_binding(self) -> Binding:
        return Binding(self)

    def run_with_iobinding(self, binding: Binding) -> None:
        if self.module.fails:
            raise RuntimeError(self.module.fails)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    fake = SimpleNamespace(__version__="1.32.0", sessions=[], gives=BOTH[1:], fails="", fallback=True)
    fake.cuda = FakeCuda()
    fake.get_available_providers = lambda: BOTH
    fake.SessionOptions = onnxruntime.SessionOptions
    fake.GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel
    fake.OrtValue = onnxruntime.OrtValue
    fake.InferenceSession = lambda model, sess_options=None, providers=(): Session(
        fake, model, sess_options, list(providers)
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setattr(onnxruntime_gpu, "ask_driver", lambda: H100)
    monkeypatch.setattr(onnxruntime_gpu, "find_cuda", lambda device: fake.cuda)
    return fake


def no_cuda(device: int) -> FakeCuda:
    raise BackendError("neither cuda-python nor pycuda is installed (no such module). Run: pip install cuda-python")


def test_segments_as_the_cpu_does(tmp_path: Path, module: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "tiny.clsclip")
    scene = paint({"red": (slice(1, 4), slice(1, 5))})
    with Segmenter.load(bundle, "onnxruntime-cuda") as segmenter:
        found = segmenter(scene, ["red", "green"], presence_threshold=0)
    assert (found.backend, found.backend_notes) == ("onnxruntime-cuda", ())
    assert not module.fallback, "ONNX Runtime's own fallback is off"
    assert module.sessions[0].providers == [("CUDAExecutionProvider", {"device_id": 0, "use_tf32": 0})]
    monkeypatch.undo()
    with Segmenter.load(bundle, "onnxruntime-cpu") as segmenter:
        expected = segmenter(scene, ["red", "green"], presence_threshold=0)
    np.testing.assert_array_equal(found.masks, expected.masks)


def test_arrays_on_the_gpu_are_bound_where_they_are(tmp_path: Path, module: SimpleNamespace) -> None:
    path = make_bundle(tmp_path / "tiny.clsclip") / "image_encoder.onnx"
    graph = OnnxRuntimeGpu().load(read_graph(path))
    pixels = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    expected = graph.run({"pixel_values": pixels})
    there = upload(CudaDevice(module.cuda), pixels)
    interface = there.__cuda_array_interface__
    found = graph.run({"pixel_values": SimpleNamespace(__cuda_array_interface__=interface)})  # type: ignore[dict-item]
    np.testing.assert_array_equal(found["stem_tokens"], expected["stem_tokens"])
    stream, written = module.cuda.stream(), []
    module.cuda.submit(stream, lambda: written.append(True))
    graph.run({"pixel_values": SimpleNamespace(__cuda_array_interface__=interface | {"stream": stream})})  # type: ignore[dict-item]
    assert written, "who writes to it is waited for"
    strided = SimpleNamespace(__cuda_array_interface__=interface | {"strides": (1, 2, 3, 4)})
    with pytest.raises(BackendError, match="must be contiguous"):
        graph.run({"pixel_values": strided})  # type: ignore[dict-item]
    module.fails = "CUDA failure 2:\n out of memory"
    with pytest.raises(
        BackendError, match=r"onnxruntime-cuda failed in image_encoder\.onnx: CUDA failure 2: out of memory"
    ):
        graph.run({"pixel_values": pixels})


def test_what_stays_on_the_gpu(tmp_path: Path, module: SimpleNamespace) -> None:
    """The encoder's outputs do; rows of them are picked there; and the rest crosses as the CPU's own would."""
    bundle = make_bundle(tmp_path / "tiny.clsclip", trunk_takes_patch_features=True)
    crossed, image = module.cuda.crossed, paint({"red": (slice(1, 4), slice(1, 5))})
    with Segmenter.load(bundle, "onnxruntime-cuda") as segmenter:
        features = segmenter.set_image(image)
        assert all(isinstance(array, DeviceArray) for array in features.arrays.values())
        assert crossed == {"to_device": 3 * SIZE * SIZE * 4, "to_host": 3 * 4}, "pixels, and image_features"
        crossed.clear()
        found = segmenter.predict(["red", "green"], presence_threshold=0)
        logits, tokens = 2 * GRID * GRID * 4, 2 * 3 * 4
        assert crossed["to_host"] == 2 * tokens + 2 * 4 + logits, "what words became, their presence, their masks"
        assert crossed["to_device"] < 2 * logits
        moved = segmenter.predict(["red", "green"], image=features.to_host(), presence_threshold=0)
        np.testing.assert_array_equal(found.pairs.logits, moved.pairs.logits)
        crossed.clear()
        boxes = [[0, 0, 20, 20], [2, 20, 30, 31], [2, 2, 10, 28]]
        closer = segmenter(image, ["red"], regions=boxes)
        assert len(closer.pairs) == 2, "the second crop shows no red, and is left out: its neighbours are copied"
        assert crossed["to_host"] == 3 * 3 * 4 + 3 * 4 + len(closer.pairs) * GRID * GRID * 4
        del features, moved
    assert module.cuda.left() == {}


def test_rows_are_picked_on_the_host_without_a_cuda_package(
    tmp_path: Path, module: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(onnxruntime_gpu, "find_cuda", no_cuda)
    backend = OnnxRuntimeGpu()
    graph = backend.load(read_graph(make_bundle(tmp_path / "tiny.clsclip") / "image_encoder.onnx"))
    assert "onnxruntime-cuda picks rows of encoded crops on the host: neither cuda-python" in caplog.text
    pixels = np.random.default_rng(0).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    expected = graph.run({"pixel_values": pixels})["stem_tokens"]
    kept = graph.run_on_device({"pixel_values": pixels})["stem_tokens"]
    assert isinstance(kept, DeviceArray)
    np.testing.assert_array_equal(kept.to_host(), expected)
    np.testing.assert_array_equal(kept[1:].to_host(), expected[1:])
    rows = np.array([2, 0, 2])
    taken = kept.take(rows)
    assert isinstance(taken, np.ndarray)
    np.testing.assert_array_equal(taken, expected[rows])
    np.testing.assert_array_equal(to_host(kept[1:].take(np.array([1]))), expected[2:])
    written_elsewhere = SimpleNamespace(__cuda_array_interface__=kept.__cuda_array_interface__ | {"stream": 1})
    with pytest.raises(BackendError, match=r"names the stream that writes to it.*pip install cuda-python"):
        graph.run({"pixel_values": written_elsewhere})  # type: ignore[dict-item]


def test_values_of_the_real_onnxruntime(tmp_path: Path) -> None:
    """Its OrtValues, of the CPU's memory: as large and as typed as they say, and there when their session is gone."""
    path = make_bundle(tmp_path / "tiny.clsclip") / "image_encoder.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    expected = session.run(["stem_tokens"], {"pixel_values": pixels})[0]
    binding = session.io_binding()
    binding.bind_cpu_input("pixel_values", pixels)
    binding.bind_output("stem_tokens", "cpu", 0)
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    graph = OnnxRuntimeGpuGraph(session, path.name, "onnxruntime-cuda", 0, ThroughHost())
    array = graph._kept(binding.get_outputs()[0])
    del session, binding, graph
    gc.collect()
    assert isinstance(array, DeviceArray)
    assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(array[1:].to_host(), expected[1:])
    np.testing.assert_array_equal(to_host(array.take(np.array([2, 0]))), expected[[2, 0]])


def test_a_session_lives_as_long_as_what_lies_in_its_memory(tmp_path: Path, module: SimpleNamespace) -> None:
    graph = OnnxRuntimeGpu().load(read_graph(make_bundle(tmp_path / "tiny.clsclip") / "image_encoder.onnx"))
    array = graph.run_on_device({"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)})["stem_tokens"]
    session = weakref.ref(module.sessions.pop())
    del graph
    gc.collect()
    assert session() is not None
    assert isinstance(array[:1], DeviceArray)
    del array
    gc.collect()
    assert session() is None
    assert module.cuda.left() == {}


def test_outputs_of_other_types_come_to_the_host(module: SimpleNamespace, tmp_path: Path) -> None:
    graph = OnnxRuntimeGpu().load(read_graph(make_bundle(tmp_path / "tiny.clsclip") / "image_encoder.onnx"))
    there = graph._kept(Value(module, np.arange(4)))
    assert isinstance(there, DeviceArray)
    assert there.dtype == np.int64
    here = graph._kept(Value(module, np.array([True, False])))
    assert isinstance(here, np.ndarray)
    np.testing.assert_array_equal(here, [True, False])


def test_tensorrt_provider_gets_the_profile(tmp_path: Path, module: SimpleNamespace, user_cache: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "tiny.clsclip"))
    module.gives = BOTH
    OnnxRuntimeGpu("onnxruntime-tensorrt").load(bundle.graph("trunk.onnx"))
    (first, options), second = module.sessions[-1].providers
    assert (first, second[0]) == tuple(BOTH[:2])
    assert options["trt_profile_opt_shapes"] == "stem_tokens:1x65x3,text_tokens:8x3,crop_index:8,class_index:8"
    assert options["trt_profile_max_shapes"].endswith("class_index:32")
    assert options["trt_user_cache_path"] == str(user_cache / "engines" / bundle.fingerprint / "onnxruntime")
    with pytest.raises(BackendError, match="dynamic axis batch"):
        profile_shapes([("x", ["batch", 3])], PROFILE, 0)


def test_a_dropped_provider_is_an_error(tmp_path: Path, module: SimpleNamespace) -> None:
    path = make_bundle(tmp_path / "tiny.clsclip") / "trunk.onnx"
    module.gives = BOTH[2:]
    with pytest.raises(BackendError, match=r"dropped CUDAExecutionProvider and would run trunk\.onnx by CPUExecution"):
        OnnxRuntimeGpu().load(read_graph(path))
    module.gives = BOTH[1:]
    with pytest.raises(BackendError, match="dropped TensorrtExecutionProvider"):
        OnnxRuntimeGpu("onnxruntime-tensorrt").load(read_graph(path))
    (tmp_path / "bad.onnx").write_bytes(b"x")
    with pytest.raises(BackendError, match=r"onnxruntime-cuda cannot load .*bad\.onnx"):
        OnnxRuntimeGpu().load(unwalked(tmp_path / "bad.onnx"))


def test_what_is_missing_is_told(module: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="Choose one of: onnxruntime-cuda, onnxruntime-tensorrt"):
        OnnxRuntimeGpu("cuda")
    module.get_available_providers = lambda: BOTH[2:]
    with pytest.raises(
        BackendError, match=r"1\.32\.0 has no CUDAExecutionProvider, only CPU.*pip install --no-deps onnxruntime-gpu"
    ):
        OnnxRuntimeGpu()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"cannot be imported.*pip install --no-deps onnxruntime-gpu"):
        OnnxRuntimeGpu()
    monkeypatch.setattr(onnxruntime_gpu, "ask_driver", lambda: Driver(None, (), "no driver"))
    with pytest.raises(BackendError, match="onnxruntime-cuda needs an NVIDIA GPU: no driver"):
        OnnxRuntimeGpu()
