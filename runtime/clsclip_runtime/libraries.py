"""Libraries that do more than they are asked: imported so that they send nothing and write nothing, and their errors.

ONNX Runtime and OpenVINO report their use to their makers and keep files in the user's home for it. Here both are told
not to, unless the user has set it otherwise: ``ORT_DISABLE_TELEMETRY=0``, and OpenVINO's ``opt_in_out --opt_in``.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from clsclip_runtime.caches import users_folder
from clsclip_runtime.errors import one_line
from clsclip_runtime.paths import expanded

FATAL_ONLY = 4
"""ONNX Runtime's severity at which it logs nothing that is an exception too: its lines hold names out of files, raw."""

QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # open_clip's and tokenizers' hub client
    "YOLO_OFFLINE": "true",  # ultralytics
}
"""Variables of the environment that are set where the user has not set them."""

_OPENVINO_REPORTS = "openvino_telemetry"


def be_quiet() -> None:
    """Set :data:`QUIET` for libraries that are imported from now on."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def import_onnxruntime() -> Any:
    """ONNX Runtime, told to report nothing.

    Raises:
        ImportError: it is not installed, or only a part of it is there.
    """
    loaded = "onnxruntime" in sys.modules
    be_quiet()
    found = import_module("onnxruntime")
    if not hasattr(found, "InferenceSession"):
        # Another package of the same module was removed, and has taken the files that both had.
        raise ImportError("its files are incomplete: two packages share them, and one was removed")
    if loaded and os.environ["ORT_DISABLE_TELEMETRY"] not in ("", "0") and hasattr(found, "disable_telemetry_events"):
        found.disable_telemetry_events()  # the variable was not there when it was imported
    return found


def import_openvino() -> Any:
    """OpenVINO, without its package for reports.

    Raises:
        ImportError: it is not installed.
    """
    be_quiet()
    hidden = _OPENVINO_REPORTS not in sys.modules and not _openvino_may_report()
    if hidden:
        sys.modules[_OPENVINO_REPORTS] = None  # type: ignore[assignment]  # which makes its import fail
    try:
        return import_module("openvino")
    finally:
        if hidden:
            del sys.modules[_OPENVINO_REPORTS]


def import_matplotlib() -> Any:
    """Matplotlib, drawing into files, its own files in this project's cache folder.

    Raises:
        ImportError: it is not installed.
    """
    if "MPLCONFIGDIR" not in os.environ and "matplotlib" not in sys.modules:
        os.environ["MPLCONFIGDIR"] = _matplotlib_folder()
    found = import_module("matplotlib")
    found.use("Agg")
    return found


def installed(name: str) -> str | None:
    """Version of an installed package; it is not imported."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and seldom asked

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def reason_of(error: BaseException, most: int = 400) -> str:
    """What a library's exception says, on one line; of a long one the end, where the reason stands."""
    text = one_line(error) or type(error).__name__
    return text if len(text) <= most else f"... {text[-most:]}"


def _openvino_may_report() -> bool:
    """Whether the user has allowed OpenVINO's reports, by its own command."""
    folder = os.environ.get("LOCALAPPDATA", "") if os.name == "nt" else str(expanded("~"))
    consent = Path(folder) / ("Intel Corporation" if os.name == "nt" else "intel") / _OPENVINO_REPORTS
    try:
        return consent.read_text("utf-8").strip() == "1"
    except (OSError, ValueError):
        return False


def _matplotlib_folder() -> str:
    """A folder in this project's cache; where there is none, one that goes with the process."""
    folder = users_folder()
    if folder is not None:
        own = folder / "matplotlib"
        with suppress(OSError):
            own.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(own, os.W_OK):
                return str(own)
    scratch = mkdtemp(prefix="clsclip-matplotlib-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return scratch
