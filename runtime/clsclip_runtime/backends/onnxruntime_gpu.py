"""ONNX Runtime on NVIDIA GPUs, by its CUDA or its TensorRT provider.

Outputs that the next graph reads stay on the GPU, in memory of ONNX Runtime's own. It cannot pick rows of them there:
that is done by cuda-python or pycuda, and through the host where neither is installed, which is said.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from clsclip_runtime.arrays import Array, Arrays, DeviceArray, DeviceCopier, HostArray, Rows, concatenate, to_host
from clsclip_runtime.backends.cuda.calls import Cuda, find_cuda
from clsclip_runtime.backends.cuda.device import CudaDevice, is_dense
from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeGraph
from clsclip_runtime.backends.sessions import open_session
from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace
from clsclip_runtime.errors import BackendError, OptionError, OutputError
from clsclip_runtime.extras import gpu_command
from clsclip_runtime.forks import refuse_in_child
from clsclip_runtime.libraries import FATAL_ONLY, import_onnxruntime, reason_of
from clsclip_runtime.protocols import GraphFile, Weight

PROVIDERS = {"onnxruntime-cuda": "CUDAExecutionProvider", "onnxruntime-tensorrt": "TensorrtExecutionProvider"}

PROFILE = {"C": (1, 1, 4), "K": (1, 8, 64), "P": (1, 8, 32)}
"""Smallest, usual and largest along every axis, for the engines that the TensorRT provider builds; larger calls make it
build again."""

TYPES = {"tensor(float)": "f4", "tensor(float16)": "f2", "tensor(double)": "f8", "tensor(int64)": "i8"}
"""NumPy's names of the types that stay on the GPU."""

_log = logging.getLogger(__name__)


class OnnxRuntimeGpu:
    """Loads ONNX files into one of ONNX Runtime's GPU providers. Never falls back to the CPU for a whole graph."""

    def __init__(
        self,
        name: str = "onnxruntime-cuda",
        *,
        threads: int | None = None,
        device: int = 0,
        tf32: bool = False,
        profile: dict[str, tuple[int, int, int]] | None = None,
    ) -> None:
        """Find the provider.

        Args:
            name: ``onnxruntime-cuda`` or ``onnxruntime-tensorrt``.
            threads: of what runs on the CPU; None lets ONNX Runtime decide.
            device: number of the GPU.
            tf32: let FP32 products round to TF32.
            profile: sizes by axis (:data:`PROFILE`), for the TensorRT provider.

        Raises:
            OptionError: there is no such provider.
            BackendError: there is no GPU, or onnxruntime is missing, or was built without the provider.
        """
        if name not in PROVIDERS:
            raise OptionError(f"there is no provider {name!r}. Choose one of: {', '.join(PROVIDERS)}")
        problem = ask_driver().problem
        if problem is not None:
            raise BackendError(f"{name} needs an NVIDIA GPU: {problem}. Use backend='onnxruntime-cpu'")
        try:
            self._onnxruntime: Any = import_onnxruntime()
        except ImportError as error:
            raise BackendError(f"onnxruntime cannot be imported ({error}). Run: {gpu_command()}") from error
        self.name, self._provider, self._process = name, PROVIDERS[name], os.getpid()
        available = self._onnxruntime.get_available_providers()
        if self._provider not in available:
            raise BackendError(
                f"the installed onnxruntime {self._onnxruntime.__version__} has no {self._provider}, only "
                f"{', '.join(available)}. Run: {gpu_command()}"
            )
        self._device, self._tf32, self._profile = device, tf32, profile or PROFILE
        self._threads = threads
        self._cuda: Cuda | None = None
        self.notes: tuple[str, ...] = ()
        try:
            self._cuda = find_cuda(device)
        except BackendError as error:
            self.notes = (f"{name} picks rows of encoded crops on the host: {error}",)
            _log.warning("%s", self.notes[0])

    def load(self, file: GraphFile) -> OnnxRuntimeGpuGraph:
        """Load an ONNX file.

        Raises:
            BackendError: the provider cannot load it, or onnxruntime would run it on the CPU instead.
        """
        refuse_in_child(self._process, self.name)
        path = file.path
        providers: list[Any] = [("CUDAExecutionProvider", self._cuda_options())]
        if self._provider != "CUDAExecutionProvider":
            providers.insert(0, (self._provider, self._tensorrt_options(file)))
        try:
            session = open_session(self._onnxruntime, file, self._options(), providers)
        except BackendError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            raise BackendError(
                f"{self.name} cannot load {path}: {reason_of(error)}. Run clsclip-doctor, or use another backend"
            ) from error
        # A provider whose libraries are missing is dropped with no more than a line in the log.
        found = session.get_providers()
        if not found or found[0] != self._provider:
            raise BackendError(
                f"onnxruntime dropped {self._provider} and would run {path.name} by {', '.join(found)}: the CUDA or "
                "cuDNN libraries that it was built for are missing, or there is no GPU. Run: "
                "pip install 'onnxruntime-gpu[cuda,cudnn]', or use backend='onnxruntime-cpu'"
            )
        session.disable_fallback()
        copier = ThroughHost() if self._cuda is None else CudaDevice(self._cuda)
        return OnnxRuntimeGpuGraph(session, path.name, self.name, self._device, copier, file.weights)

    def _options(self) -> Any:
        options = self._onnxruntime.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        return options

    def _cuda_options(self) -> dict[str, Any]:
        return {"device_id": self._device, "use_tf32": int(self._tf32)}

    def _tensorrt_options(self, file: GraphFile) -> dict[str, Any]:
        """The profile in ONNX Runtime's words; engines are kept in the user's cache, where there is one."""
        plain = self._options()
        plain.graph_optimization_level = self._onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = open_session(self._onnxruntime, file, plain, ["CPUExecutionProvider"])
        options: dict[str, Any] = {
            "device_id": self._device,
        }
        try:
            place = EnginePlace().writable(file.bundle) / "onnxruntime"
        except (BackendError, OutputError) as error:
            self.notes = (*self.notes, f"{self.name} builds its engines again at every start: {error}")
        else:
            options |= {
                "trt_user_cache_enable": True,
                "trt_user_cache_path": str(place),
                "trt_timing_cache_enable": True,
            }
        inputs = [(value.name, list(value.shape)) for value in session.get_inputs()]
        for at, end in enumerate(("min", "opt", "max")):
            options[f"trt_profile_{end}_shapes"] = profile_shapes(inputs, self._profile, at)
        return options


def profile_shapes(inputs: list[tuple[str, list[int | str]]], profile: dict[str, tuple[int, int, int]], at: int) -> str:
    """``"pixel_values:1x3x224x224,..."``: the smallest (0), usual (1) or largest (2) shape of every input.

    Raises:
        BackendError: an input has a dynamic axis that the profile does not know.
    """
    shapes = []
    for name, axes in inputs:
        unknown = [axis for axis in axes if not isinstance(axis, int) and axis not in profile]
        if unknown:
            raise BackendError(
                f"{name} has the dynamic axis {unknown[0]}, and profiles know {', '.join(profile)}. "
                "Use backend='onnxruntime-cuda'"
            )
        sizes = [axis if isinstance(axis, int) else profile[axis][at] for axis in axes]
        shapes.append(f"{name}:{'x'.join(map(str, sizes))}")
    return ",".join(shapes)


@dataclass(frozen=True)
class _Owner:
    """An output of ONNX Runtime, and the session whose memory it lies in: the one must not go before the other."""

    value: Any
    session: Any


class ThroughHost:
    """Copies device arrays of ONNX Runtime by ONNX Runtime itself, which brings them to the host."""

    def to_host(self, array: DeviceArray) -> HostArray:
        """See :class:`clsclip_runtime.backends.cuda.device.Copier`."""
        value: Any = cast("_Owner", array.owner).value
        first = (array.address - value.data_ptr()) // max(1, array.row_bytes)
        whole: HostArray = value.numpy()
        return whole[first : first + len(array)]

    def join(self, parts: Sequence[tuple[Array, Rows]]) -> Array:
        """See :class:`clsclip_runtime.backends.cuda.device.Copier`; the result is on the host."""
        return concatenate([to_host(array)[rows] for array, rows in parts])

    def wait_for(self, stream: int) -> None:
        """Refused: ONNX Runtime does not wait for other libraries."""
        raise BackendError(
            "an array on the GPU names the stream that writes to it, and nothing here can wait for that. Run: "
            "pip install cuda-python; or synchronize first and give an array that names none"
        )


class OnnxRuntimeGpuGraph(OnnxRuntimeGraph):
    """One ONNX Runtime session on a GPU; ``run`` may be called from several threads."""

    def __init__(
        self,
        session: Any,
        name: str,
        backend: str,
        device: int,
        copier: DeviceCopier,
        weights: Sequence[Weight] = (),
    ) -> None:
        """Wrap a session; ``name`` and ``backend`` are for messages, ``copier`` is for what stays on the GPU."""
        super().__init__(session, name, weights)
        self._backend, self._device, self._copier = backend, device, copier

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run once, inputs and outputs bound; arrays that are on the GPU already are read where they are.

        Raises:
            BackendError: ONNX Runtime fails, or an array on the GPU is not contiguous.
        """
        return dict(zip(self._outputs, self._bound(feeds, "cpu").copy_outputs_to_cpu(), strict=True))

    def run_on_device(self, feeds: Arrays) -> dict[str, Array]:
        """As ``run``, with the outputs left on the GPU.

        Raises:
            BackendError: ONNX Runtime fails, or an array on the GPU is not contiguous.
        """
        binding = self._bound(feeds, "cuda")
        return dict(zip(self._outputs, map(self._kept, binding.get_outputs()), strict=True))

    def _bound(self, feeds: Arrays, place: str) -> Any:
        """A binding that has run, its outputs in ``place`` and complete."""
        try:
            binding = self._session.io_binding()
            for name, value in feeds.items():
                self._bind(binding, name, value)
            for name in self._outputs:
                binding.bind_output(name, place, self._device if place == "cuda" else 0)
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(
                f"{self._backend} failed in {self._name}: {reason_of(error)}. "
                "If memory ran out, lower memory_mb; else run clsclip-doctor"
            ) from error
        return binding

    def _kept(self, value: Any) -> Array:
        """An output where it is; of a type that is not known here, on the host."""
        dtype = TYPES.get(value.data_type())
        if dtype is None:
            on_host: HostArray = value.numpy()
            return on_host
        return DeviceArray(self._copier, _Owner(value, self._session), value.data_ptr(), value.shape(), dtype)

    def _bind(self, binding: Any, name: str, value: Any) -> None:
        interface = getattr(value, "__cuda_array_interface__", None)
        if interface is None:
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
            return
        if not is_dense(interface):
            raise BackendError(f"{name} on the GPU must be contiguous. Call .contiguous() on it first")
        if interface.get("stream"):
            self._copier.wait_for(int(interface["stream"]))
        dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
        binding.bind_input(name, "cuda", self._device, dtype, shape, int(interface["data"][0]))
