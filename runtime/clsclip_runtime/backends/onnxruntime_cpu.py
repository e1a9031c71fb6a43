"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.arrays import Arrays
from clsclip_runtime.backends.sessions import open_session
from clsclip_runtime.errors import BackendError
from clsclip_runtime.extras import onnxruntime_command
from clsclip_runtime.forks import leave_in_parent
from clsclip_runtime.libraries import FATAL_ONLY, import_onnxruntime, reason_of
from clsclip_runtime.protocols import PROCESSOR_MB, GraphFile


class OnnxRuntimeCpu:
    """Loads ONNX files into ONNX Runtime's CPU provider."""

    name = "onnxruntime-cpu"
    loads_in_parallel = True
    fast_mb = PROCESSOR_MB

    def __init__(self, *, threads: int | None = None) -> None:
        """``threads`` for one call; None lets ONNX Runtime take one per core."""
        try:
            onnxruntime: Any = import_onnxruntime()
        except ImportError as error:
            raise BackendError(f"onnxruntime cannot be imported ({error}). Run: {onnxruntime_command()}") from error
        self._onnxruntime, self._threads = onnxruntime, threads

    def _options(self) -> Any:
        options = self._onnxruntime.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        # Calls differ in their number of pairs, and planning memory for each shape adds half to the peak (measured).
        # The arena does not, and saves 5 to 20 % of a call; it keeps what memory.py estimates until the session ends.
        options.enable_mem_pattern = False
        # Threads that wait in a loop take cores from the next graph's: 6 to 23 % of a call (measured, two cores).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        return options

    def load(self, file: GraphFile) -> OnnxRuntimeGraph:
        """Load a graph. BackendError where ONNX Runtime cannot."""
        path = file.path
        shared: list[Any] = []
        # ONNX Runtime's errors share no base class of their own.
        try:
            session = open_session(self._onnxruntime, file, self._options(), ["CPUExecutionProvider"], shared)
        except BackendError:
            raise
        except Exception as error:
            if "NOT_IMPLEMENTED" in str(error) and file.precision == "bf16":
                raise BackendError(
                    f"{path.parent} is in bf16, and onnxruntime has no bf16 kernels for CPUs. "
                    "Export it with --fp16 or --fp32, or use a GPU backend or openvino"
                ) from error
            raise BackendError(
                f"onnxruntime cannot load {path}: {reason_of(error)}. Export the bundle again, or upgrade onnxruntime"
            ) from error
        return OnnxRuntimeGraph(session, path.name, shared)


class OnnxRuntimeGraph:
    """One ONNX Runtime session; ``run`` may be called from several threads."""

    def __init__(self, session: Any, name: str, weights: Sequence[Any] = ()) -> None:
        """Wrap a session; ``name`` is for messages, ``weights`` are memory that it reads as long as it lives."""
        self._session, self._weights = session, weights
        leave_in_parent(session)
        self._name = name
        self._inputs = tuple(value.name for value in session.get_inputs())
        self._outputs = tuple(value.name for value in session.get_outputs())

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self._outputs

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """Run once; BackendError with ONNX Runtime's reason when it fails."""
        try:
            values = self._session.run(None, dict(feeds))
        except Exception as error:
            raise BackendError(
                f"onnxruntime failed in {self._name}: {reason_of(error)}. "
                "If memory ran out, lower memory_mb; else export the bundle again"
            ) from error
        return dict(zip(self._outputs, values, strict=True))
