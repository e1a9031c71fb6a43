"""How much memory this process has taken at most."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def peak_memory_mib() -> float | None:
    """Most memory that this process has held at one time, MiB; None where the system does not tell.

    On Linux not by ``getrusage``: a process begins there with the peak of the one that started it.
    """
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:
        return _of_rusage()
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return _of_rusage()


def _of_rusage() -> float | None:
    try:
        resource: Any = import_module("resource")
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (2**20 if sys.platform == "darwin" else 2**10)


def gpu_memory_mib() -> float | None:
    """Memory of the first GPU that is in use, by all programs, MiB; None where cuda-python is not installed."""
    try:
        runtime: Any = import_module("cuda.bindings.runtime")
    except ImportError:
        return None
    code, free, total = runtime.cudaMemGetInfo()
    return (total - free) / 2**20 if code == runtime.cudaError_t.cudaSuccess else None
