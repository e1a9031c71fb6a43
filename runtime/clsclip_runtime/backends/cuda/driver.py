"""Which GPUs are here, asked of the CUDA driver itself: needs no package, and never starts a context."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name, compute capability such as ``9.0``, and memory in bytes."""

    name: str
    compute_capability: str
    memory: int


@dataclass(frozen=True)
class Driver:
    """What the CUDA driver says.

    Attributes:
        cuda: newest CUDA that it supports, such as ``13.0``; None where there is no driver.
        gpus: in the driver's order.
        problem: why there is no usable GPU; None where there is one.
    """

    cuda: str | None
    gpus: tuple[Gpu, ...]
    problem: str | None


def ask_driver() -> Driver:
    """What the CUDA driver of this machine says; never raises."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return Driver(None, (), f"no NVIDIA driver is installed ({_LIBRARY} is not found)")
    try:
        return _ask(library)
    except (AttributeError, _CudaError) as error:
        return Driver(None, (), f"the NVIDIA driver does not answer: {error}")


class _CudaError(Exception):
    """The driver answered with an error."""


def _ask(library: Any) -> Driver:
    _call(library, "cuInit", 0)
    version, count = ctypes.c_int(), ctypes.c_int()
    _call(library, "cuDriverGetVersion", ctypes.byref(version))
    _call(library, "cuDeviceGetCount", ctypes.byref(count))
    gpus = tuple(_gpu(library, index) for index in range(count.value))
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Driver(cuda, gpus, None if gpus else "the NVIDIA driver finds no GPU")


def _gpu(library: Any, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _call(library, "cuDeviceGet", ctypes.byref(device), index)
    _call(library, "cuDeviceGetName", name, len(name), device)
    _call(library, "cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    _call(library, "cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    return Gpu(name.value.decode("utf-8", "replace"), f"{major.value}.{minor.value}", memory.value)


def _call(library: Any, name: str, *arguments: Any) -> None:
    code = getattr(library, name)(*arguments)
    if code:
        raise _CudaError(f"{name} gave CUDA error {code}")
