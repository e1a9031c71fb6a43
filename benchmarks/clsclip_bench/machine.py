"""What was measured on: machine, versions, date."""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.libraries import installed
from clsclip_runtime.version import __version__

PACKAGES = (
    *("numpy", "Pillow", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13"),
    *("torch", "transformers", "ultralytics", "ultralytics-opencv-headless"),
)


def machine() -> dict[str, Any]:
    """Processor, cores that this program may use, memory in GiB, GPUs, system and Python."""
    driver = ask_driver()
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "gpus": [asdict(gpu) for gpu in driver.gpus],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of what is installed."""
    found = {name: version for name in PACKAGES if (version := installed(name)) is not None}
    return {"clsclip": __version__, **found}


def now() -> str:
    """The date and time, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def load_average() -> float | None:
    """Programs that wanted to run in the last minute, on average; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    if sys.platform == "win32":
        return None
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
