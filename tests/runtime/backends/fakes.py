"""A GPU that is not there: the product's own CUDA calls on a made-up runtime, and a TensorRT that runs ONNX files."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from clsclip_runtime.arrays import DeviceArray
from clsclip_runtime.backends.cuda.calls import CudaPython
from clsclip_runtime.backends.cuda.device import CudaDevice
from clsclip_runtime.backends.tensorrt.backend import AXIS_NAMES
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition
from clsclip_runtime.backends.tensorrt.engine_files import EngineSpec, Machine
from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace
from clsclip_runtime.bundle import Bundle
from tests.runtime.tiny_bundle import make_bundle, paint

from .cuda.cuda_runtime import CudaRuntime

WORDS = ["red", "green", "blue", "yellow", "white", "dining table", "a", "picture", "of"]
VERSION = "10.16.1.11"
MACHINE = Machine("tensorrt", VERSION, "NVIDIA H200", "9.0")
RUNTIME = "cuda.bindings.runtime"

PROFILE = {"crops": [1, 1, 2], "classes": [1, 2, 5], "pairs": [1, 4, 6]}


def scene(number: int = 0) -> npt.NDArray[np.uint8]:
    """A picture with something red, the further to the right the higher its number, and something green."""
    return paint({"red": (slice(1, 4), slice(1 + number, 5)), "green": (slice(5, 7), slice(2, 4))})


class FakeCuda(CudaPython):
    """CUDA by cuda-python on a made-up GPU; counts what is called and what crosses."""

    name = "fake"

    def __init__(self, memory: int = 1 << 30) -> None:
        self.runtime = CudaRuntime(memory)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, RUNTIME, self.runtime)
            super().__init__()
        self.calls: list[str] = []
        self.crossed: Counter[str] = Counter()
        self.device, self.pinned, self.streams = self.runtime.device, self.runtime.pinned, self.runtime.streams
        self.graphs = self.runtime.executables
        self.at, self.submit, self.left = self.runtime.at, self.runtime.submit, self.runtime.left

    @property
    def room(self) -> int:
        """Bytes of device memory."""
        return self.runtime.room

    @room.setter
    def room(self, size: int) -> None:
        self.runtime.room = size

    def to_device(self, address: int, memory: npt.NDArray[np.uint8], stream: int) -> None:
        self.calls.append("to_device")
        self.crossed["to_device"] += memory.nbytes
        super().to_device(address, memory, stream)

    def to_host(self, memory: npt.NDArray[np.uint8], address: int, stream: int) -> None:
        self.crossed["to_host"] += memory.nbytes
        super().to_host(memory, address, stream)

    def on_device(self, target: int, source: int, size: int, stream: int) -> None:
        self.calls.append("on_device")
        super().on_device(target, source, size, stream)

    def wait(self, stream: int) -> None:
        self.calls.append("wait")
        super().wait(stream)

    def begin_capture(self, stream: int) -> None:
        self.calls.append("begin_capture")
        super().begin_capture(stream)

    def launch(self, graph: Any, stream: int) -> None:
        self.calls.append("launch")
        super().launch(graph, stream)


def upload(device: CudaDevice, array: npt.NDArray[Any]) -> DeviceArray:
    """A copy of ``array`` on the made-up GPU; not counted as having crossed."""
    there, cuda = device.empty(array.shape, array.dtype), device._cuda
    assert isinstance(cuda, FakeCuda)
    cuda.at(there.address, array.nbytes)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return there


class FakeTensorRt:
    """The module ``tensorrt``, as far as the runtime uses it; engines run their ONNX file on the CPU."""

    __version__ = VERSION

    class ILogger:
        def __init__(self) -> None:
            """Nothing."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.refuses: set[str] = set()
        self.damaged: set[str] = set()
        """Outputs whose last row becomes NaN."""
        self.contexts: list[Context] = []
        self.refitted: list[bytes] = []
        self.cached: list[bytes] = []
        self.logger: Any = None
        fake = self

        class Runtime:
            def __init__(self, logger: Any) -> None:
                fake.logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
                if "deserialize" in fake.refuses:
                    fake.logger.log("Severity.ERROR", "Serialization (\n The engine plan file is not compatible)")
                    return None
                return Engine(fake, Path(plan[64:].decode()))

        class Refitter:
            def __init__(self, engine: Engine, logger: Any) -> None:
                self.engine = engine

            def refit_cuda_engine(self) -> bool:
                return "refit" not in fake.refuses

        class OnnxParserRefitter:
            def __init__(self, refitter: Refitter, logger: Any) -> None:
                """Nothing."""

            def refit_from_bytes(self, model: bytes) -> bool:
                fake.refitted.append(model)
                return True

        self.Runtime, self.Refitter, self.OnnxParserRefitter = Runtime, Refitter, OnnxParserRefitter

    def nptype(self, kind: Any) -> Any:
        return kind

    def edition(self, name: str = "tensorrt") -> TensorRtEdition:
        return TensorRtEdition(name, self, VERSION)


class Engine:
    """Runs an ONNX file; shapes as TensorRT gives them, -1 where they vary."""

    def __init__(self, fake: FakeTensorRt, path: Path) -> None:
        self.fake = fake
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        graph = onnx.load(path, load_external_data=False).graph
        self.values = {value.name: value.type.tensor_type for value in [*graph.input, *graph.output]}
        self.inputs, self.outputs = [v.name for v in graph.input], [v.name for v in graph.output]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(axis.dim_value or -1 for axis in self.values[name].shape.dim)

    def get_tensor_dtype(self, name: str) -> Any:
        return onnx.helper.tensor_dtype_to_np_dtype(self.values[name].elem_type)

    def create_execution_context(self, config: Any = None) -> Context | None:
        if "context" in self.fake.refuses:
            return None
        self.fake.contexts.append(Context(self))
        return self.fake.contexts[-1]

    def create_runtime_config(self) -> Engine:
        return self

    def create_runtime_cache(self) -> Engine:
        return self

    def set_runtime_cache(self, cache: Any) -> bool:
        return cache is self

    def deserialize(self, content: bytes) -> bool:
        self.fake.cached.append(content)
        return content == b"compiled"

    def serialize(self) -> bytes:
        return b"compiled"


class Context:
    """An execution context that insists on the order of calls, and belongs to one thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.fake = engine, engine.fake
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.calls: list[str] = []
        self.thread = threading.get_ident()

    def _note(self, call: str) -> bool:
        assert threading.get_ident() == self.thread, "a context is used by one thread"
        self.calls.append(call)
        if call in self.fake.refuses:
            self.fake.logger.log("Severity.ERROR", f"{call}: API Usage Error")
            return False
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        fixed = self.engine.get_tensor_shape(name)
        assert len(shape) == len(fixed)
        assert all(b in (-1, a) for a, b in zip(shape, fixed, strict=True))
        bounds = PROFILE[AXIS_NAMES[self.engine.values[name].shape.dim[0].dim_param]]
        if not bounds[0] <= shape[0] <= bounds[2]:
            self.fake.logger.log("Severity.ERROR", f"{name} {shape} is outside of the profile")
            return False
        self.shapes[name] = shape
        return self._note("set_input_shape")

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert self.fake.cuda.at(address, 1) is not None, "not an address on the device"
        assert address % 256 == 0, "TensorRT wants aligned addresses"
        self.addresses[name] = address
        return self._note("set_tensor_address")

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = {}
        for at in self.engine.inputs:
            for axis, size in zip(self.engine.values[at].shape.dim, self.shapes[at], strict=True):
                if axis.dim_param:
                    sizes[axis.dim_param] = size
        return tuple(sizes.get(axis.dim_param, axis.dim_value) for axis in self.engine.values[name].shape.dim)

    def execute_async_v3(self, stream: int) -> bool:
        assert set(self.shapes) == set(self.engine.inputs), "every input has a shape"
        assert set(self.addresses) == {*self.engine.inputs, *self.engine.outputs}, "every tensor has an address"
        if not self._note("execute_async_v3"):
            return False
        shapes, addresses = dict(self.shapes), dict(self.addresses)
        self.fake.cuda.submit(stream, lambda: self._run(shapes, addresses))
        return True

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        cuda, feeds = self.fake.cuda, {}
        for name in self.engine.inputs:
            dtype = self.engine.get_tensor_dtype(name)
            size = int(np.prod(shapes[name])) * np.dtype(dtype).itemsize
            feeds[name] = cuda.at(addresses[name], size).view(dtype).reshape(shapes[name]).copy()
        for name, value in zip(self.engine.outputs, self.engine.session.run(None, feeds), strict=True):
            if name in self.fake.damaged:
                value[-1] = np.nan
            cuda.at(addresses[name], value.nbytes)[:] = value.reshape(-1).view(np.uint8)


def make_engine_bundle(folder: Path) -> Path:
    """The tiny bundle with an engine for every graph; its trunk reads two of the encoder's outputs."""
    make_bundle(folder, trunk_takes_patch_features=True)
    for name in ("text_encoder", "image_encoder", "presence", "trunk"):
        write_engine(folder / f"{name}.onnx")
    return folder


def engines_of(bundle: Path) -> Path:
    """Where the user's cache keeps the engines of a bundle; made where it is absent."""
    return EnginePlace().writable(Bundle.open(bundle).fingerprint)


def write_engine(path: Path, machine: Machine = MACHINE, **changes: Any) -> Path:
    """A finished engine of the ONNX file at ``path`` for ``machine``; ``changes`` are of its spec."""
    graph = onnx.load(path, load_external_data=False).graph
    axes = {
        kind: {value.name: [axis.dim_param or None for axis in value.type.tensor_type.shape.dim] for value in values}
        for kind, values in (("inputs", graph.input), ("outputs", graph.output))
    }
    fields: dict[str, Any] = {
        "graph": path.name,
        "onnx": dict(Bundle.open(path.parent).digests(path.name)),
        "precision": "fp32",
        "profile": PROFILE,
        "edition": machine.edition,
        "version": machine.version,
        "gpu": machine.gpu,
        "compute_capability": machine.compute_capability,
        "flags": {},
    }
    spec = EngineSpec(**(fields | changes))
    plan = bytearray(64)
    plan[:4] = b"ftrt"
    plan[24:28] = bytes(int(part) for part in spec.version.split("."))
    plan += str(path).encode()
    folder = engines_of(path.parent)
    (folder / f"{spec.key}.plan").write_bytes(plan)
    document = {
        "schema_version": 1,
        "key": spec.key,
        "spec": asdict(spec),
        "plan_sha256": hashlib.sha256(plan).hexdigest(),
        "plan_bytes": len(plan),
        "axes": axes,
    }
    (folder / f"{spec.key}.json").write_text(json.dumps(document), "utf-8")
    return folder / f"{spec.key}.plan"
