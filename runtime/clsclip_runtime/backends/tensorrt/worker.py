"""What one thread needs to run a TensorRT engine: a context, a stream and memory of its own, and the order of calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.arrays import Array, DeviceArray
from clsclip_runtime.backends.cuda.calls import Bytes, Cuda
from clsclip_runtime.backends.cuda.device import CudaDevice
from clsclip_runtime.errors import BackendError

ALIGNMENT = 256
"""Bytes that every address given to TensorRT must be a multiple of."""


@dataclass(frozen=True, eq=False)
class LoadedEngine:
    """An engine in TensorRT, and what is known of it.

    Attributes:
        name: of its ONNX file, for messages.
        trt: TensorRT's module, of either flavour.
        engine: TensorRT's own object.
        new_context: makes an execution context of it; None where TensorRT cannot.
        inputs, outputs: names of every tensor's axes, None for fixed ones.
        limits: the fewest and the most that a call takes along every axis.
        logger: keeps TensorRT's last lines.
        cuda: copies between host and device.
        device: makes the arrays that stay.
    """

    name: str
    trt: Any
    engine: Any
    new_context: Callable[[], Any]
    inputs: Mapping[str, Sequence[str | None]]
    outputs: Mapping[str, Sequence[str | None]]
    limits: Mapping[str, tuple[int, int]]
    logger: Any
    cuda: Cuda
    device: CudaDevice

    def dtype(self, name: str) -> np.dtype[Any]:
        """Of a tensor."""
        dtype: np.dtype[Any] = np.dtype(self.trt.nptype(self.engine.get_tensor_dtype(name)))
        return dtype

    def most_bytes(self, name: str) -> int:
        """Of a tensor at its largest."""
        axes = self.inputs.get(name) or self.outputs[name]
        shape = self.engine.get_tensor_shape(name)
        most = [shape[at] if axis is None else self.limits[axis][1] for at, axis in enumerate(axes)]
        return math.prod(most) * self.dtype(name).itemsize


@dataclass
class _Buffer:
    """Device memory and pinned host memory of one tensor at its largest."""

    address: int
    host: Bytes


class Worker:
    """What one thread needs to run an engine."""

    def __init__(self, loaded: LoadedEngine) -> None:
        """Make a context and a stream; memory is taken when it is needed. BackendError where TensorRT cannot."""
        self._loaded, self._cuda = loaded, loaded.cuda
        self._context = loaded.new_context()
        if self._context is None:
            raise BackendError(
                f"TensorRT made no execution context for {loaded.name}: {last_lines(loaded.logger)}. "
                "This usually means too little GPU memory: free some, or build an engine for fewer pairs"
            )
        self._stream = self._cuda.stream()
        self._buffers: dict[str, _Buffer] = {}
        self._recorded: Any = None
        self._last: tuple[Any, ...] | None = None

    def _buffer(self, name: str) -> _Buffer:
        """The worker's own memory for a tensor; some never need it, since they stay where they are."""
        if name not in self._buffers:
            size = self._loaded.most_bytes(name)
            address = self._cuda.allocate(size)
            try:
                self._buffers[name] = _Buffer(address, self._cuda.pin(size))
            except BackendError:
                self._cuda.free(address)
                raise
        return self._buffers[name]

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
        for name in self._loaded.outputs:
            shape, dtype = tuple(self._context.get_tensor_shape(name)), self._loaded.dtype(name)
            if name in keep:
                kept[name] = made = self._loaded.device.empty(shape, dtype)
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
        return {name: kept[name] if name in kept else staged[name].copy() for name in self._loaded.outputs}

    def _input(self, name: str, value: Array, *, own: bool) -> int:
        """Where TensorRT finds an input: where it is, or in the worker's ``own`` memory that it is copied to."""
        if isinstance(value, DeviceArray):
            if not own and value.address % ALIGNMENT == 0:
                return value.address
            buffer = self._buffer(name)
            self._cuda.on_device(buffer.address, value.address, value.nbytes, self._stream)
            return buffer.address
        buffer = self._buffer(name)
        array = np.ascontiguousarray(value, dtype=self._loaded.dtype(name))
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
                f"TensorRT refused {what} in {self._loaded.name}: {last_lines(self._loaded.logger)}. "
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


def last_lines(logger: Any) -> str:
    """What TensorRT last said was wrong."""
    return "; ".join(logger.lines) or "it gave no reason"
