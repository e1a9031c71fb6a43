"""TensorRT, in either flavour: runs the engines that ``clsclip-export --engine`` put beside a bundle.

An engine is shared by all threads. Every thread has an execution context, a stream, device buffers of the engine's
largest sizes and pinned memory of its own, made when it first needs them and used again. Outputs that the next engine
reads stay on the device. Small numbers of pairs are recorded as CUDA graphs once, since for them launching kernels one
by one takes longer than running them.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.backends.base import Arrays
from clsclip_runtime.backends.chunks import run_in_chunks
from clsclip_runtime.backends.cuda import Bytes, Cuda, find_cuda
from clsclip_runtime.backends.device import Array, CudaDevice, DeviceArray, join_rows
from clsclip_runtime.engines.files import EngineFile, Machine, find_engine, graph_digests
from clsclip_runtime.engines.flavour import Flavour, find_flavour
from clsclip_runtime.engines.gpu import ask_driver, this_machine
from clsclip_runtime.engines.runtime_cache import RuntimeCache
from clsclip_runtime.errors import BackendError

GRAPH_BUCKETS = (1, 2, 4, 8)
"""Numbers of pairs that are recorded as CUDA graphs; smaller ones are filled up to the next."""

AXIS_NAMES = {"C": "crops", "K": "classes", "P": "pairs"}

ALIGNMENT = 256
"""Bytes that every address given to TensorRT must be a multiple of."""

_log = logging.getLogger(__name__)


class TensorRt:
    """Loads the engines of a bundle that fit this machine."""

    name = "tensorrt"

    def __init__(
        self,
        flavour: Flavour | str | None = None,
        *,
        cuda: Cuda | None = None,
        machine: Machine | None = None,
        record_graphs: bool = True,
    ) -> None:
        """Find TensorRT and CUDA.

        Args:
            flavour: one of them, or its name; None is the first that is installed.
            cuda, machine: in place of this machine's.
            record_graphs: record small numbers of pairs as CUDA graphs.

        Raises:
            BackendError: TensorRT, a CUDA package or a GPU is missing.
        """
        problem = None if machine is not None else ask_driver().problem
        if problem is not None:  # asked first: importing TensorRT for nothing takes a second
            raise BackendError(f"TensorRT needs an NVIDIA GPU: {problem}. Use backend='onnxruntime-cpu'")
        self._flavour = flavour if isinstance(flavour, Flavour) else find_flavour(flavour)
        self._machine = machine or this_machine(self._flavour)
        self._cuda = cuda or find_cuda()
        self._record = record_graphs and self._cuda.can_capture
        self._logger = _logger(self._flavour)
        self._runtime = self._flavour.module.Runtime(self._logger)

    @property
    def version(self) -> str:
        """Flavour and version, for people."""
        return f"{self._flavour.name} {self._flavour.version}"

    def load(self, path: Path) -> TensorRtGraph:
        """Load the engine of the ONNX file at ``path``.

        Raises:
            BackendError: there is none that fits this machine, it is damaged, or TensorRT refuses it.
        """
        found = find_engine(path.parent, path.name, self._machine, graph_digests(path))
        self._logger.lines.clear()
        if found.spec.flags.get("version_compatible"):
            # Such a plan carries the code of its own version's lean runtime; it is as trusted as the bundle.
            self._runtime.engine_host_code_allowed = True
        engine = self._runtime.deserialize_cuda_engine(found.plan.read_bytes())
        if engine is None:
            raise BackendError(
                f"{self.version} cannot load {found.plan}: {_last_lines(self._logger)}. It was built for "
                f"{found.spec.gpu} (sm {found.spec.compute_capability}); this machine is {self._machine}. Run: "
                f"clsclip-export --from-bundle {path.parent} --engine {self._flavour.name}"
            )
        if found.spec.flags.get("strip_weights"):
            self._refit(engine, path)
        _log.info("tensorrt: loaded %s for %s", found.plan.name, path.name)
        return TensorRtGraph(self._flavour, engine, found, self._cuda, self._logger, record=self._record)

    def _refit(self, engine: Any, path: Path) -> None:
        """Put the ONNX file's weights into an engine that was built without."""
        trt = self._flavour.module
        refitter = trt.Refitter(engine, self._logger)
        parser = trt.OnnxParserRefitter(refitter, self._logger)
        if not parser.refit_from_file(str(path)) or not refitter.refit_cuda_engine():
            raise BackendError(
                f"the weights of {path} do not fit its engine: {_last_lines(self._logger)}. Run: "
                f"clsclip-export --from-bundle {path.parent} --engine {self._flavour.name}"
            )


class TensorRtGraph:
    """One engine; ``run`` may be called from several threads."""

    def __init__(
        self, flavour: Flavour, engine: Any, file: EngineFile, cuda: Cuda, logger: Any, *, record: bool
    ) -> None:
        """Wrap a loaded engine; ``record`` allows CUDA graphs."""
        self._trt, self._engine, self._cuda, self._logger = flavour.module, engine, cuda, logger
        self._device = CudaDevice(cuda)
        self._name, self._record = file.spec.graph, record
        self._input_axes, self._output_axes = file.document["axes"]["inputs"], file.document["axes"]["outputs"]
        self._limits = {axis: (bounds[0], bounds[2]) for axis, bounds in _bounds(file).items()}
        self._workers: list[_Worker] = []
        self._local = threading.local()
        self._changed = threading.Condition()
        self._running = 0
        self._closed = False
        self._cache = RuntimeCache.open(engine, file.plan) if flavour.builds_without_gpu else None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(self._input_axes)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(self._output_axes)

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run once, in several calls where ``feeds`` is larger than the engine's profile.

        Inputs that expose ``__cuda_array_interface__`` (our own, torch, cupy, pycuda) are never copied to the host.

        Raises:
            BackendError: TensorRT or CUDA fails, or the graph is closed.
        """
        return self._run(feeds, ())  # type: ignore[return-value]  # nothing is kept

    def run_kept(self, feeds: Arrays) -> dict[str, Array]:
        """As ``run``; outputs that vary along no axis but their first stay on the device.

        Raises:
            BackendError: TensorRT or CUDA fails, or the graph is closed.
        """
        return self._run(feeds, [n for n, axes in self._output_axes.items() if axes[0] and not any(axes[1:])])

    def _run(self, feeds: Arrays, keep: Collection[str]) -> dict[str, Array]:
        with self._one_call():
            worker = self._worker()
            placed = {name: self._placed(name, value) for name, value in feeds.items()}
            call = self._call(worker, keep)
            return run_in_chunks(call, placed, self._input_axes, self._output_axes, self._limits)

    def _placed(self, name: str, value: Any) -> Array:
        on_device = name in self._input_axes and hasattr(value, "__cuda_array_interface__")
        return self._device.adopt(name, value, self._dtype(name)) if on_device else value

    def _dtype(self, name: str) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        return dtype

    def close(self) -> None:
        """Free contexts, streams, buffers and the engine once running calls have ended; later ones are refused."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._running == 0)
            workers, self._workers = self._workers, []
        self._local = threading.local()  # its worker knows the graph: nobody would free the two before a collection
        for worker in workers:
            worker.close()
        self._device.rest()
        if self._cache is not None and workers:
            self._cache.save()
        self._engine = self._cache = None

    def _new_context(self) -> Any:
        if self._cache is not None:
            return self._engine.create_execution_context(self._cache.config)
        return self._engine.create_execution_context()

    @contextmanager
    def _one_call(self) -> Iterator[None]:
        """Count a call that runs; BackendError after close."""
        with self._changed:
            if self._closed:
                raise BackendError(f"{self._name} is closed. Load it again")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _worker(self) -> _Worker:
        """This thread's own."""
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = _Worker(self)
            with self._changed:
                self._workers.append(worker)
            self._local.worker = worker
        return worker

    def _drop(self, worker: _Worker) -> None:
        """Free a worker that failed: its stream may have work in it, and its context may be of no use any more."""
        self._local.worker = None
        with self._changed:
            self._workers.remove(worker)
        with suppress(BackendError):  # the reason is known already
            worker.close()

    def _call(self, worker: _Worker, keep: Collection[str]) -> Callable[[dict[str, Array]], dict[str, Array]]:
        """The worker's call; pairs are filled up to a number that is recorded as a CUDA graph."""

        def call(feeds: dict[str, Array], *, record: bool = False) -> dict[str, Array]:
            try:
                return worker.call(feeds, keep, record=record)
            except BackendError:
                self._drop(worker)
                raise

        def padded(feeds: dict[str, Array]) -> dict[str, Array]:
            pairs = next((len(value) for name, value in feeds.items() if self._input_axes[name][0] == "P"), 0)
            bucket = next((size for size in GRAPH_BUCKETS if pairs <= size <= self._limits["P"][1]), 0) if pairs else 0
            if not bucket:
                return call(feeds)
            rows = np.minimum(np.arange(bucket), pairs - 1)
            filled = {n: join_rows([(v, rows)]) if self._input_axes[n][0] == "P" else v for n, v in feeds.items()}
            return {name: value[:pairs] for name, value in call(filled, record=True).items()}

        return padded if self._record and not keep else call


@dataclass
class _Buffer:
    """Device memory and pinned host memory of one tensor at its largest."""

    address: int
    host: Bytes


class _Worker:
    """What one thread needs to run an engine."""

    def __init__(self, graph: TensorRtGraph) -> None:
        self._graph, self._cuda, self._trt = graph, graph._cuda, graph._trt
        self._context = graph._new_context()
        if self._context is None:
            raise BackendError(
                f"TensorRT made no execution context for {graph._name}: {_last_lines(graph._logger)}. "
                "This usually means too little GPU memory: free some, or build an engine for fewer pairs"
            )
        self._stream = self._cuda.stream()
        self._buffers: dict[str, _Buffer] = {}
        self._recorded: Any = None
        self._last: tuple[Any, ...] | None = None

    def _buffer(self, name: str) -> _Buffer:
        """The worker's own memory for a tensor; some never need it, since they stay where they are."""
        if name not in self._buffers:
            size = self._most_bytes(name)
            address = self._cuda.allocate(size)
            try:
                self._buffers[name] = _Buffer(address, self._cuda.pin(size))
            except BackendError:
                self._cuda.free(address)
                raise
        return self._buffers[name]

    def _most_bytes(self, name: str) -> int:
        graph = self._graph
        axes = graph._input_axes.get(name) or graph._output_axes[name]
        shape = graph._engine.get_tensor_shape(name)
        most = [graph._limits[axis][1] if axis is not None else size for size, axis in zip(shape, axes, strict=True)]
        return math.prod(most) * graph._dtype(name).itemsize

    def call(self, feeds: Mapping[str, Array], keep: Collection[str] = (), *, record: bool = False) -> dict[str, Array]:
        """One call within the profile, over when it returns.

        Args:
            feeds: inputs, on the host or the device.
            keep: outputs that stay on the device.
            record: allow it to run as a CUDA graph, which knows the worker's own memory alone; keeps nothing.
        """
        for name, value in feeds.items():
            self._check(self._context.set_input_shape(name, value.shape), f"the shape {value.shape} of {name}")
            address = self._input(name, value, own=record)
            self._check(self._context.set_tensor_address(name, address), f"the address of {name}")
        kept: dict[str, Array] = {}
        staged: dict[str, npt.NDArray[Any]] = {}
        for name in self._graph.outputs:
            shape, dtype = tuple(self._context.get_tensor_shape(name)), self._graph._dtype(name)
            if name in keep:
                kept[name] = made = self._graph._device.empty(shape, dtype)
                address = made.address
            else:
                buffer = self._buffer(name)
                address = buffer.address
                staged[name] = buffer.host[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
            self._check(self._context.set_tensor_address(name, address), f"the address of {name}")
        self._execute(tuple((name, value.shape) for name, value in feeds.items()) if record else None)
        for name, value in staged.items():
            self._cuda.to_host(value.reshape(-1).view(np.uint8), self._buffers[name].address, self._stream)
        self._cuda.wait(self._stream)
        # The next call writes over the pinned memory.
        return {name: kept[name] if name in kept else staged[name].copy() for name in self._graph.outputs}

    def _input(self, name: str, value: Array, *, own: bool) -> int:
        """Where TensorRT finds an input: where it is, or in the worker's ``own`` memory that it is copied to."""
        if isinstance(value, DeviceArray):
            if not own and value.address % ALIGNMENT == 0:
                return value.address
            buffer = self._buffer(name)
            self._cuda.on_device(buffer.address, value.address, value.nbytes, self._stream)
            return buffer.address
        buffer = self._buffer(name)
        array = np.ascontiguousarray(value, dtype=self._graph._dtype(name))
        staged = buffer.host[: array.nbytes]
        staged[:] = array.reshape(-1).view(np.uint8)
        self._cuda.to_device(buffer.address, staged, self._stream)
        return buffer.address

    def _execute(self, key: tuple[Any, ...] | None) -> None:
        """Enqueue the engine. A shape that comes twice in a row is recorded, and launched while it goes on coming.

        One recording is kept: another shape changes the context that it was made with.
        """
        if key is None or key != self._last:
            self._forget()
            self._enqueue()  # TensorRT prepares a new shape at its first call, which cannot be recorded
        else:
            if self._recorded is None:
                self._recorded = self._capture()
            self._cuda.launch(self._recorded, self._stream)
        self._last = key

    def _forget(self) -> None:
        recorded, self._recorded = self._recorded, None
        if recorded is not None:
            self._cuda.end_graph(recorded)

    def _capture(self) -> Any:
        self._cuda.begin_capture(self._stream)
        try:
            self._enqueue()
        except BackendError:
            self._cuda.end_graph(self._cuda.end_capture(self._stream))
            raise
        return self._cuda.end_capture(self._stream)

    def _enqueue(self) -> None:
        self._check(self._context.execute_async_v3(self._stream), "the call")

    def _check(self, fine: bool, what: str) -> None:
        if not fine:
            raise BackendError(
                f"TensorRT refused {what} in {self._graph._name}: {_last_lines(self._graph._logger)}. "
                "Build its engine again, for larger sizes if they are the reason"
            )

    def close(self) -> None:
        """Free all; only a call that failed can have left work in the stream."""
        self._cuda.wait(self._stream)
        self._forget()
        for buffer in self._buffers.values():
            self._cuda.free(buffer.address)
            self._cuda.unpin(buffer.host)
        self._buffers.clear()
        self._context = None
        self._cuda.end_stream(self._stream)


def _bounds(file: EngineFile) -> dict[str, tuple[int, int, int]]:
    return {axis: tuple(file.spec.profile[name]) for axis, name in AXIS_NAMES.items()}  # type: ignore[misc]


def _logger(flavour: Flavour) -> Any:
    """A logger of TensorRT that keeps its last lines, for errors, and hands them to Python's logging."""
    trt = flavour.module

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            name = str(severity).rpartition(".")[2]
            if "ERROR" in name:
                self.lines = [*self.lines[-5:], " ".join(msg.split())]
                _log.error("tensorrt: %s", msg)
            elif name == "WARNING":
                _log.warning("tensorrt: %s", msg)

    return Logger()


def _last_lines(logger: Any) -> str:
    return "; ".join(logger.lines) or "it gave no reason"
