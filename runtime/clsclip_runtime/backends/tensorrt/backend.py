"""TensorRT, in either flavour: runs the engines that ``clsclip-export --engine`` built for a bundle.

An engine is shared by all threads. Every thread has an execution context, a stream, device buffers of the engine's
largest sizes and pinned memory of its own, made when it first needs them and used again. Outputs that the next engine
reads stay on the device. Small numbers of pairs are recorded as CUDA graphs once, since for them launching kernels one
by one takes longer than running them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.arrays import Array, Arrays, join_rows
from clsclip_runtime.backends.cuda.calls import Cuda, find_cuda
from clsclip_runtime.backends.cuda.device import CudaDevice
from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.backends.tensorrt.chunks import run_in_chunks
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition, find_edition
from clsclip_runtime.backends.tensorrt.engine_files import (
    AXIS_NAMES,
    EngineFile,
    Machine,
    build_command,
    find_engine,
    this_machine,
)
from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace, passed_over
from clsclip_runtime.backends.tensorrt.runtime_cache import RuntimeCache
from clsclip_runtime.backends.tensorrt.worker import LoadedEngine, Worker, last_lines
from clsclip_runtime.errors import BackendError
from clsclip_runtime.forks import refuse_in_child
from clsclip_runtime.protocols import GraphFile

GRAPH_BUCKETS = (1, 2, 4, 8)
"""Numbers of pairs that are recorded as CUDA graphs; smaller ones are filled up to the next."""

_log = logging.getLogger(__name__)


class TensorRt:
    """Loads the engines of a bundle that fit this machine."""

    name = "tensorrt"

    def __init__(
        self,
        edition: TensorRtEdition | str | None = None,
        *,
        cuda: Cuda | None = None,
        machine: Machine | None = None,
        record_graphs: bool = True,
        place: EnginePlace | None = None,
    ) -> None:
        """Find TensorRT and CUDA.

        Args:
            flavour: one of them, or its name; None is the first that is installed.
            cuda, machine: in place of this machine's.
            record_graphs: record small numbers of pairs as CUDA graphs.
            place: where engines are loaded from; None is the user's cache.

        Raises:
            BackendError: TensorRT, a CUDA package or a GPU is missing.
        """
        problem = None if machine is not None else ask_driver().problem
        if problem is not None:  # asked first: importing TensorRT for nothing takes a second
            raise BackendError(f"TensorRT needs an NVIDIA GPU: {problem}. Use backend='onnxruntime-cpu'")
        self._flavour = edition if isinstance(edition, TensorRtEdition) else find_edition(edition)
        self._machine = machine or this_machine(self._flavour)
        self._place = place or EnginePlace()
        self._cuda = cuda or find_cuda()
        self._record = record_graphs and self._cuda.can_capture
        self._process = os.getpid()
        self._logger = _logger(self._flavour)
        self._runtime = self._flavour.module.Runtime(self._logger)

    @property
    def version(self) -> str:
        """Flavour and version, for people."""
        return f"{self._flavour.name} {self._flavour.version}"

    def load(self, file: GraphFile) -> TensorRtGraph:
        """Load the engine of an ONNX file.

        Raises:
            BackendError: there is none that fits this machine, it is damaged, or TensorRT refuses it.
        """
        refuse_in_child(self._process, self.name)
        path = file.path
        if file.digests is None:
            raise BackendError(
                f"{path} is in no bundle, and TensorRT runs engines of bundles. Use another backend; a detector can be "
                f"put into one: clsclip-export --from-bundle DIR --out NEW --detector {path.name} --engine tensorrt"
            )
        folder = self._place.readable(file.bundle)
        try:
            found, plan = find_engine(folder, path.parent, path.name, self._machine, file.digests)
        except BackendError as error:
            raise BackendError("; ".join((str(error), *passed_over(path.parent, folder)))) from error
        self._logger.lines.clear()
        # Such a plan carries the code of its own version's lean runtime. It was built by this user, or is trusted.
        self._runtime.engine_host_code_allowed = found.spec.flags.get("version_compatible") is True
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(
                f"{self.version} cannot load {found.plan}: {last_lines(self._logger)}. It was built for "
                f"{found.spec.gpu} (sm {found.spec.compute_capability}); this machine is {self._machine}. "
                f"{build_command(path.parent, self._flavour.name)}"
            )
        if not _fits(engine, found):
            raise BackendError(
                f"{found.plan.with_suffix('.json')} states other inputs and outputs than its engine has. "
                f"{build_command(path.parent, self._flavour.name)}"
            )
        if found.spec.flags.get("strip_weights"):
            self._refit(engine, file)
        _log.info("tensorrt: loaded %s for %s", found.plan.name, path.name)
        return TensorRtGraph(self._flavour, engine, found, self._cuda, self._logger, record=self._record)

    def _refit(self, engine: Any, file: GraphFile) -> None:
        """Put a graph's weights, those that were verified, into an engine that was built without."""
        path = file.path
        trt = self._flavour.module
        refitter = trt.Refitter(engine, self._logger)
        parser = trt.OnnxParserRefitter(refitter, self._logger)
        if not parser.refit_from_bytes(file.model()) or not refitter.refit_cuda_engine():
            raise BackendError(
                f"the weights of {path} do not fit its engine: {last_lines(self._logger)}. "
                f"{build_command(path.parent, self._flavour.name)}"
            )


class TensorRtGraph:
    """One engine; ``run`` may be called from several threads."""

    def __init__(
        self, edition: TensorRtEdition, engine: Any, file: EngineFile, cuda: Cuda, logger: Any, *, record: bool
    ) -> None:
        """Wrap a loaded engine; ``record`` allows CUDA graphs."""
        self._name, self._record = file.spec.graph, record
        self._input_axes, self._output_axes = file.document["axes"]["inputs"], file.document["axes"]["outputs"]
        self._limits = {axis: (bounds[0], bounds[2]) for axis, bounds in _bounds(file).items()}
        self._device = CudaDevice(cuda)
        self._cache = RuntimeCache.open(engine, file.plan) if edition.builds_without_gpu else None
        options = () if self._cache is None else (self._cache.config,)
        self._loaded: LoadedEngine | None = LoadedEngine(
            name=self._name,
            trt=edition.module,
            engine=engine,
            new_context=lambda: engine.create_execution_context(*options),
            inputs=self._input_axes,
            outputs=self._output_axes,
            limits=self._limits,
            logger=logger,
            cuda=cuda,
            device=self._device,
        )
        self._workers: list[Worker] = []
        self._local = threading.local()
        self._changed = threading.Condition()
        self._running = 0
        self._closed = False

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

    def run_on_device(self, feeds: Arrays) -> dict[str, Array]:
        """As ``run``; outputs that vary along no axis but their first stay on the device.

        Raises:
            BackendError: TensorRT or CUDA fails, or the graph is closed.
        """
        return self._run(feeds, [n for n, axes in self._output_axes.items() if axes[0] and not any(axes[1:])])

    def _run(self, feeds: Arrays, keep: Collection[str]) -> dict[str, Array]:
        with self._one_call() as loaded:
            placed = {name: _placed(loaded, name, value) for name, value in feeds.items()}
            call = self._call(self._worker(loaded), keep)
            return run_in_chunks(call, placed, self._input_axes, self._output_axes, self._limits)

    def close(self) -> None:
        """Free contexts, streams, buffers and the engine once running calls have ended; later ones are refused."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._running == 0)
            workers, self._workers = self._workers, []
        self._local = threading.local()
        for worker in workers:
            worker.close()
        self._device.rest()
        if self._cache is not None and workers:
            self._cache.save()
        self._loaded = self._cache = None

    @contextmanager
    def _one_call(self) -> Iterator[LoadedEngine]:
        """Count a call that runs; BackendError after close."""
        with self._changed:
            loaded = self._loaded
            if self._closed or loaded is None:
                raise BackendError(f"{self._name} is closed. Load it again")
            self._running += 1
        try:
            yield loaded
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _worker(self, loaded: LoadedEngine) -> Worker:
        """This thread's own."""
        worker: Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = Worker(loaded)
            with self._changed:
                self._workers.append(worker)
            self._local.worker = worker
        return worker

    def _drop(self, worker: Worker) -> None:
        """Free a worker that failed: its stream may have work in it, and its context may be of no use any more."""
        self._local.worker = None
        with self._changed:
            self._workers.remove(worker)
        with suppress(BackendError):  # the reason is known already
            worker.close()

    def _call(self, worker: Worker, keep: Collection[str]) -> Callable[[dict[str, Array]], dict[str, Array]]:
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


def _fits(engine: Any, file: EngineFile) -> bool:
    """Whether an engine has the tensors that the file beside it states, with as many axes."""
    axes = {**file.document["axes"]["inputs"], **file.document["axes"]["outputs"]}
    try:
        return all(len(tuple(engine.get_tensor_shape(name))) == len(names) for name, names in axes.items())
    except Exception:  # there is no tensor of a name; what is raised then differs between versions
        return False


def _placed(loaded: LoadedEngine, name: str, value: Any) -> Array:
    """An input as it is, known for what it is where another library has it on the device."""
    on_device = name in loaded.inputs and hasattr(value, "__cuda_array_interface__")
    return loaded.device.from_cuda_array(name, value, loaded.dtype(name)) if on_device else value


def _bounds(file: EngineFile) -> dict[str, tuple[int, int, int]]:
    return {axis: tuple(file.spec.profile[name]) for axis, name in AXIS_NAMES.items()}  # type: ignore[misc]


def _logger(edition: TensorRtEdition) -> Any:
    """A logger of TensorRT that keeps its last lines, for errors, and hands them to Python's logging."""
    trt = edition.module

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
