"""OpenVINO, on the CPU or another device of Intel's.

Dynamic axes stay dynamic: a graph that was reshaped to fixed sizes is no faster (measured), and every size would need
a graph of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.backends.base import Arrays
from clsclip_runtime.backends.onnxruntime_cpu import one_line
from clsclip_runtime.bundle import IMAGE_ENCODER, STEM, TEXT_ENCODER, TRUNK, file_sha256
from clsclip_runtime.errors import BackendError, OptionError
from clsclip_runtime.external_data import NotOnnxError, external_locations

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""What is computed where the graph states FP32 or half, in OpenVINO's words. Quantised graphs state their own INT8."""

HINTS = ("latency", "throughput")

_CUT_ALONG = {
    TRUNK: ("crop_index", "class_index"),
    IMAGE_ENCODER: ("pixel_values",),
    STEM: ("pixel_values",),
    TEXT_ENCODER: ("token_ids",),
}
"""Graphs of a bundle whose outputs lie along the first axis of some inputs, so that a call may be cut there: by pairs,
crops or words. Detectors are not among them: their outputs may number the pictures of a call."""

_NO_RULE = re.compile(r"No conversion rule found for operations:\s*(.+)")


@lru_cache(maxsize=1)
def process_core() -> Any:
    """OpenVINO's core, one for the process and kept until it ends. ImportError or RuntimeError where there is none.

    A core's CPU plugin puts a stack for signal handlers in place of the one before, and puts that back when it goes.
    When the first of two cores goes first, the second puts back a stack that is freed, and the next signal that Python
    handles (Ctrl-C, the end of a child) ends the process (seen with 2026.4).
    """
    return import_module("openvino").Core()


class OpenVino:
    """Loads ONNX files into OpenVINO."""

    loads_in_parallel = True  # OpenVINO states that its core may compile in several threads; a third less time to load

    def __init__(
        self,
        precision: str = "fp32",
        *,
        threads: int | None = None,
        hint: str = "latency",
        device: str = "CPU",
        cache: Path | None = None,
    ) -> None:
        """Find OpenVINO and the device.

        Args:
            precision: ``fp32``, or ``bf16`` to round what the graph states as FP32; OpenVINO itself would round
                wherever the CPU has instructions for it, and here it never does so unasked.
            threads: of all calls together; None lets OpenVINO take one per core.
            hint: ``latency`` gives one call all threads; ``throughput`` shares them among calls of several threads, and
                cuts a large call into as many: cores that need not wait for each other do 4 % more with 20 pairs
                (measured, two cores), and half as much with a single one.
            device: such as ``CPU`` or ``GPU.0``.
            cache: folder in which compiled graphs are kept, for devices that take long to compile: on a CPU it saves
                nothing (measured). They are as large as the weights. None keeps nothing.

        Raises:
            OptionError: there is no such precision or hint.
            BackendError: OpenVINO is missing or broken, or has no such device, or that cannot compute so.
        """
        if precision not in PRECISIONS:
            raise OptionError(f"OpenVINO computes in {' or '.join(PRECISIONS)}, and not in {precision!r}")
        if hint not in HINTS:
            raise OptionError(f"OpenVINO's hint is {' or '.join(HINTS)}, and not {hint!r}")
        own = ("" if precision == "fp32" else f"-{precision}") + ("" if hint == "latency" else f"-{hint}")
        self.name = f"openvino{own}"
        try:
            self._core = process_core()
        except ImportError as error:
            raise BackendError(f"OpenVINO is not installed ({error}). Run: pip install openvino") from error
        except RuntimeError as error:
            raise BackendError(
                f"OpenVINO does not start: {one_line(error)}. Run: pip install --force-reinstall openvino"
            ) from error
        self._device, self._cache = device, cache
        self._check_device(precision)
        self._options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "PERFORMANCE_HINT": hint.upper(),
        }
        if device.startswith("CPU"):
            # Programs that each pin their threads to the first cores would share those and leave the others idle.
            self._options["ENABLE_CPU_PINNING"] = False
            if threads is not None:
                self._options["INFERENCE_NUM_THREADS"] = threads

    def _check_device(self, precision: str) -> None:
        available = self._core.available_devices
        if self._device not in available and self._device.partition(".")[0] not in available:
            raise BackendError(
                f"OpenVINO has no device {self._device!r} here, only {', '.join(available) or 'none'}. Install its "
                "driver, or use device='CPU'"
            )
        able = self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in able:
            raise BackendError(
                f"{self.name}: this {self._device} has no instructions for BF16, only for {', '.join(able)}. "
                "Use backend='openvino'"
            )

    def load(self, path: Path) -> OpenVinoGraph:
        """Load the ONNX file at ``path``, with its external data.

        Raises:
            BackendError: it is no ONNX file, OpenVINO does not know an operator, or cannot compile it.
        """
        try:
            locations = external_locations(
                path
            )  # other files than ONNX make all of OpenVINO's readers complain on stderr
            options = self._options | self._cache_option(path, locations)
            compiled = self._core.compile_model(str(path), self._device, options)
        except NotOnnxError as error:
            raise BackendError(f"{path} is not an ONNX file ({error}). Get it again, or export it again") from error
        except OSError as error:
            raise BackendError(f"cannot read {path}: {error.strerror or error}") from error
        except RuntimeError as error:
            raise self._refusal(path, error) from error
        return OpenVinoGraph(compiled, path.name)

    def _cache_option(self, path: Path, locations: Iterable[str]) -> dict[str, str]:
        """A folder for this very graph: OpenVINO's own key does not see the weights beside it (checked with 2026.4)."""
        if self._cache is None:
            return {}
        files = [path, *(path.parent / location for location in sorted(locations))]
        digest = hashlib.sha256("".join(file_sha256(file) for file in files).encode()).hexdigest()
        return {"CACHE_DIR": str(self._cache / digest[:32])}

    def _refusal(self, path: Path, error: Exception) -> BackendError:
        unknown = _NO_RULE.search(str(error))
        if unknown is not None:
            return BackendError(
                f"OpenVINO does not know the operators {unknown.group(1).strip()} of {path.name}. "
                "Use backend='onnxruntime-cpu', or upgrade openvino"
            )
        return BackendError(
            f"OpenVINO cannot load {path}: {_reason(error)}. Export the bundle again, upgrade openvino, or use "
            "backend='onnxruntime-cpu'"
        )


class OpenVinoGraph:
    """One compiled graph; ``run`` may be called from several threads, each of which gets a request of its own."""

    def __init__(self, compiled: Any, name: str) -> None:
        """Wrap a compiled model; ``name`` is for messages."""
        self._compiled: Any = compiled
        self._name = name
        self._types = {_port_name(port): port.element_type.to_dtype() for port in compiled.inputs}
        self._outputs = tuple(_port_name(port) for port in compiled.outputs)
        self._streams = int(compiled.get_property("NUM_STREAMS"))
        own = _CUT_ALONG.get(name, ())
        self._cut = own if set(own) <= set(self._types) else ()
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
        parts = self._parts(self._checked(feeds))
        requests: list[Any] = []
        try:
            for _ in parts:
                requests.append(self._request(compiled))
            _infer_all(requests, parts)
            # Copies in any case: the next call writes into the same memory.
            outputs = [[request.get_output_tensor(at).data for request in requests] for at in range(len(self._outputs))]
            found = [own[0].copy() if len(own) == 1 else np.concatenate(own) for own in outputs]
        except (RuntimeError, ValueError) as error:
            raise BackendError(
                f"OpenVINO failed in {self._name}: {_reason(error)}. "
                "If memory ran out, lower memory_mb; else export the bundle again"
            ) from error
        self._idle.extend(requests)
        if self._compiled is None:  # closed meanwhile
            self._idle.clear()
        return dict(zip(self._outputs, found, strict=True))

    def _request(self, compiled: Any) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return compiled.create_infer_request()

    def _parts(self, arrays: dict[str, npt.NDArray[Any]]) -> list[list[npt.NDArray[Any]]]:
        """The inputs of as many calls as run side by side, or of one where there is too little to share."""
        count = max(1, min(self._streams, len(arrays[self._cut[0]]))) if self._cut else 1
        cut = {name: np.array_split(arrays[name], count) for name in self._cut}
        return [[cut[name][at] if name in cut else array for name, array in arrays.items()] for at in range(count)]

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
        return {name: np.ascontiguousarray(feeds[name]) for name in self._types}


def _infer_all(requests: list[Any], parts: list[list[npt.NDArray[Any]]]) -> None:
    """Run them side by side. RuntimeError if one fails, and then too none runs on: the inputs are the caller's."""
    if len(requests) == 1:
        requests[0].infer(parts[0], share_inputs=True)
        return
    with ExitStack() as waiting:  # waits for all that were started, whatever happens to one of them
        for request, part in zip(requests, parts, strict=True):
            request.start_async(part, share_inputs=True)
            waiting.callback(request.wait)


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
    return one_line(RuntimeError(" ".join(told or lines)))
