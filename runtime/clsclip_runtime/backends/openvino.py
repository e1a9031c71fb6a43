"""OpenVINO, on the CPU or another device of Intel's.

Dynamic axes stay dynamic: a graph that was reshaped to fixed sizes is no faster (measured), and every size would need
a graph of its own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.arrays import Arrays
from clsclip_runtime.errors import BackendError, OptionError
from clsclip_runtime.extras import install_command
from clsclip_runtime.forks import IdleThreads, OwnLock, leave_in_parent
from clsclip_runtime.libraries import import_openvino, reason_of
from clsclip_runtime.protocols import PROCESSOR_MB, GraphFile, Weight

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""What is computed where the graph states FP32 or half, in OpenVINO's words. Quantised graphs state their own INT8."""


def process_core() -> Any:
    """OpenVINO's core, one for the process and kept until it ends. ImportError or RuntimeError where there is none.

    A core's CPU plugin puts a stack for signal handlers in place of the one before, and puts that back when it goes.
    When the first of two cores goes first, the second puts back a stack that is freed, and the next signal that Python
    handles (Ctrl-C, the end of a child) ends the process (seen with 2026.4).
    """
    return _core_of(os.getpid())


@cache
def _core_of(process: int) -> Any:
    """The core of one process: a forked child has its own beside its parent's, whose threads are not there."""
    core = import_openvino().Core()
    leave_in_parent(core)
    return core


class OpenVino:
    """Loads ONNX files into OpenVINO."""

    loads_in_parallel = True  # OpenVINO states that its core may compile in several threads; a third less time to load

    def __init__(self, precision: str = "fp32", *, threads: int | None = None, device: str = "CPU") -> None:
        """Find OpenVINO and the device.

        One stream is used: a call has all threads. Several streams gained 4 % with 20 pairs, and their first calls were
        not always right.

        Args:
            precision: ``fp32``, or ``bf16`` to round what the graph states as FP32; OpenVINO itself would round
                wherever the CPU has instructions for it, and here it never does so unasked.
            threads: of all calls together; None lets OpenVINO take one per core.
            device: such as ``CPU`` or ``GPU.0``.

        Raises:
            OptionError: there is no such precision.
            BackendError: OpenVINO is missing or broken, or has no such device, or that cannot compute so.
        """
        if precision not in PRECISIONS:
            raise OptionError(f"OpenVINO's precision must be {' or '.join(PRECISIONS)}, and it is {precision!r}")
        self.name = "openvino" if precision == "fp32" else f"openvino ({precision})"
        try:
            core = process_core()
        except ImportError as error:
            raise BackendError(f"OpenVINO is not installed ({error}). Run: {install_command('openvino')}") from error
        except RuntimeError as error:
            raise BackendError(
                f"OpenVINO does not start: {reason_of(error)}. Run: pip install --force-reinstall openvino"
            ) from error
        self._device = device
        self.fast_mb = PROCESSOR_MB if device.startswith("CPU") else None
        self._check_device(core, precision)
        self._options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        if device.startswith("CPU"):
            # Programs that each pin their threads to the first cores would share those and leave the others idle.
            self._options["ENABLE_CPU_PINNING"] = False
            if threads is not None:
                self._options["INFERENCE_NUM_THREADS"] = threads

    def _check_device(self, core: Any, precision: str) -> None:
        available = core.available_devices
        if self._device not in available and self._device.partition(".")[0] not in available:
            raise BackendError(
                f"OpenVINO has no device {self._device!r} here, only {', '.join(available) or 'none'}. Install its "
                "driver, or use device='CPU'"
            )
        able = core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in able:
            raise BackendError(
                f"{self.name}: this {self._device} has no instructions for BF16, only for {', '.join(able)}. "
                "Use backend='openvino'"
            )

    def load(self, file: GraphFile) -> OpenVinoGraph:
        """Load a graph.

        Raises:
            BackendError: OpenVINO does not know an operator, or cannot compile it.
        """
        return self.read(file)()

    def read(self, file: GraphFile) -> Callable[[], OpenVinoGraph]:
        """Copy a graph and its weights into OpenVINO; what is returned compiles the copy, once. BackendError as `load`.

        Compiling copies weights once more, so whoever frees the file's memory in between needs a third less of it.
        """
        path, model = file.path, file.model(_in_memory)
        _threads.check(self.name)
        try:
            copy = [process_core().read_model(model)]
            watch = watch_model(copy[0])
            weights = file.weights if _reads_in_place(copy[0], file.weights) else ()
        except Exception as error:  # the Python binding has others than RuntimeError
            raise self._refusal(path, error) from error

        def compile_copy() -> OpenVinoGraph:
            try:
                compiled = process_core().compile_model(copy.pop(), self._device, self._options)
            except Exception as error:
                raise self._refusal(path, error) from error
            return OpenVinoGraph(compiled, path.name, watch, weights)

        return compile_copy

    def _refusal(self, path: Path, error: Exception) -> BackendError:
        return BackendError(
            f"OpenVINO cannot load {path}: {_reason(error)}. Export the bundle again, upgrade openvino, or use "
            "backend='onnxruntime-cpu'"
        )


_threads = IdleThreads()


class OpenVinoGraph:
    """One compiled graph; ``run`` may be called from several threads, each of which gets a request of its own."""

    def __init__(self, compiled: Any, name: str, watch: Watch | None = None, weights: Sequence[Weight] = ()) -> None:
        """Wrap a compiled model.

        Args:
            compiled: it.
            name: for messages.
            watch: what OpenVINO itself would say nothing of.
            weights: memory that it may read while it lives.
        """
        self._watch = watch or Watch()
        self._compiled: Any = compiled
        self._weights = weights
        leave_in_parent(compiled)
        _threads.take(compiled)
        self._name = name
        self._types = {_port_name(port): port.element_type.to_dtype() for port in compiled.inputs}
        own = compiled.outputs[: len(compiled.outputs) - self._watch.extra_outputs]
        self._outputs = tuple(_port_name(port) for port in own)
        # Requests that nobody uses: as many are made as calls ever ran at the same time.
        self._idle: deque[Any] = deque()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(self._types)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self._outputs

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run once.

        Raises:
            BackendError: the graph is closed, an input is missing or of another type, or OpenVINO fails.
        """
        compiled = self._compiled
        if compiled is None:
            raise BackendError(f"{self._name} is closed. Load it again: Segmenter.load(...)")
        arrays = self._checked(feeds)
        try:
            request = self._request(compiled)
            request.infer(list(arrays.values()), share_inputs=True)
            # Copies in any case: the next call writes into the same memory.
            found = [request.get_output_tensor(at).data.copy() for at in range(len(self._outputs))]
            hidden = range(len(self._outputs), len(self._outputs) + self._watch.extra_outputs)
            damaged = any(np.isnan(request.get_output_tensor(at).data).any() for at in hidden)
        except (RuntimeError, ValueError) as error:
            raise BackendError(
                f"OpenVINO failed in {self._name}: {_reason(error)}. "
                "If memory ran out, lower the limit memory_mb; else export the bundle again"
            ) from error
        if damaged:
            raise BackendError(
                f"{self._name} computes NaN, which OpenVINO makes a number where the graph cuts its output to a range: "
                "the bundle's weights are damaged. Get the bundle again, or export it again"
            )
        self._idle.append(request)
        if self._compiled is None:  # closed meanwhile
            self._idle.clear()
        return dict(zip(self._outputs, found, strict=True))

    def _request(self, compiled: Any) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
            leave_in_parent(request)
            return request

    def close(self) -> None:
        """Free it; calls that have begun end."""
        self._compiled = None
        self._idle.clear()

    def _checked(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Inputs in the graph's order. OpenVINO itself would convert types in silence."""
        if set(feeds) != set(self._types):
            raise BackendError(
                f"{self._name} takes {', '.join(self._types)}, and was given {', '.join(feeds) or 'nothing'}. "
                "Export the bundle again"
            )
        for name, dtype in self._types.items():
            if feeds[name].dtype != dtype:
                raise BackendError(
                    f"{self._name} takes {name} as {dtype}, and was given {feeds[name].dtype}. Export the bundle again"
                )
        for name, rows in self._watch.rows.items():
            values = np.asarray(feeds[name])
            if values.size and not (values.min() >= 0 and values.max() < rows):
                raise BackendError(
                    f"{self._name} was given {name} up to {values.max()}, and it has {rows} rows for them: the "
                    "bundle's files do not belong together. Get the bundle again, or export it again"
                )
        return {name: np.ascontiguousarray(feeds[name]) for name in self._types}


@dataclass(frozen=True)
class Watch:
    """What OpenVINO would do without a word, and what is looked at because of it.

    Attributes:
        extra_outputs: values before they are cut to a range, as further outputs at the end: NaN is none after it.
        rows: by input, how many rows its numbers choose from: beyond them, zeros would be taken.
    """

    extra_outputs: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)


_CUTS = ("Clamp", "Relu", "Minimum", "Maximum")
_SAME = ("Convert", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity")
"""Operators that cut values to a range, and that leave them as they are, in OpenVINO's words."""


def watch_model(model: Any) -> Watch:
    """Add outputs to an OpenVINO model for what is lost at its end, and find the inputs that choose rows."""
    hidden = []
    for result in model.get_results():
        value, cuts = result.input_value(0), False
        while (kind := value.get_node().get_type_name()) in (*_CUTS, *_SAME):
            cuts = cuts or kind in _CUTS
            given = value.get_node().input_values()
            # A Clip is Minimum(highest, Maximum(lowest, values)): the values are what is not constant.
            value = next((one for one in given if not _is_constant(one.get_node())), given[0])
        if cuts and value.get_element_type().is_real():
            hidden.append(value)
    if hidden:
        model.add_outputs(hidden)
    rows: dict[str, int] = {}
    for parameter in model.get_parameters():
        readers = [reader for port in parameter.outputs() for reader in port.get_target_inputs()]
        while readers:
            reader = readers.pop()
            node = reader.get_node()
            kind = node.get_type_name()
            if kind == "Convert":
                readers += [one for port in node.outputs() for one in port.get_target_inputs()]
            elif kind == "Gather" and reader.get_index() == 1 and _is_constant(node.input_value(0).get_node()):
                size = node.input_value(0).get_partial_shape()[0].get_length()
                name = parameter.friendly_name
                rows[name] = min(size, rows.get(name, size))
    return Watch(len(hidden), rows)


def _is_constant(node: Any) -> bool:
    """Whether a node gives weights, in whatever precision they are kept."""
    while node.get_type_name() in ("Convert", "Multiply", "Subtract", "FakeQuantize"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def _in_memory(weight: Weight) -> dict[str, str]:
    """Where a weight is, as OpenVINO's reader of ONNX takes it: an address in this process.

    The mark of the place is written here alone: a file that had it would not have come so far.
    """
    return {
        "location": "*/_ORT_MEM_ADDR_/*",
        "offset": str(weight.data.ctypes.data),
        "length": str(weight.data.nbytes),
    }


_constants_lock = OwnLock()


def _reads_in_place(model: Any, weights: Sequence[Weight]) -> bool:
    """Whether a model reads weights where they lie. OpenVINO 2026 copies them, so that ours need not be held."""
    places = [(one.data.ctypes.data, one.data.nbytes) for one in weights]
    # Two threads that ask for their first constant at once may wait for each other for ever: one in the binding's
    # setup, for the interpreter, and one in the interpreter, for that setup.
    with _constants_lock:
        for operation in model.get_ops():
            if operation.get_type_name() == "Constant":
                address = operation.data.ctypes.data
                if any(start <= address < start + size for start, size in places):
                    return True
    return False


def _port_name(port: Any) -> str:
    """Its name in the ONNX file: OpenVINO may add those of tensors that it has joined with it."""
    own = port.node.friendly_name
    for name in sorted(port.names):
        if own in (name, f"{name}/sink_port_0"):
            return str(name)
    return str(port.any_name)


def _reason(error: Exception) -> str:
    """OpenVINO's message without the places in its own sources that it begins with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return reason_of(RuntimeError(" ".join(told or lines)))
