"""How much memory this process has taken at most."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from clsclip_runtime.system import peak_memory


def peak_memory_mib() -> float | None:
    """Most memory that this process has held at one time, MiB; None where the system does not tell."""
    peak = peak_memory()
    return None if peak is None else peak / 2**20


def gpu_memory_mib() -> float | None:
    """Memory of the first GPU that is in use, by all programs, MiB; None where cuda-python is not installed."""
    try:
        runtime: Any = import_module("cuda.bindings.runtime")
    except ImportError:
        return None
    code, free, total = runtime.cudaMemGetInfo()
    return (total - free) / 2**20 if code == runtime.cudaError_t.cudaSuccess else None
