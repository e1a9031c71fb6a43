"""Which engine runs: by name, or the first of them that works."""

from __future__ import annotations

import logging
from collections.abc import Callable

from clsclip_runtime.backends.base import Backend
from clsclip_runtime.errors import BackendError, OptionError

_log = logging.getLogger(__name__)


def _onnxruntime_cpu(threads: int | None) -> Backend:
    from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu

    return OnnxRuntimeCpu(threads=threads)


BACKENDS: dict[str, Callable[[int | None], Backend]] = {"onnxruntime-cpu": _onnxruntime_cpu}
"""Engine by name, in the order in which ``auto`` tries them."""


def select_backend(name: str = "auto", *, threads: int | None = None) -> Backend:
    """The engine called ``name``; ``auto`` takes the first that works and logs which one that was.

    Args:
        name: ``auto`` or a key of ``BACKENDS``.
        threads: threads for one call; None lets the engine decide.

    Raises:
        OptionError: the name is unknown, or ``threads`` is not a positive whole number.
        BackendError: the engine is not installed or does not work here.
    """
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise OptionError(f"threads must be a whole number of 1 or more, or None, and it is {threads!r}")
    if name == "auto":
        return _first_that_works(threads)
    if name not in BACKENDS:
        raise OptionError(f"there is no backend {name!r}. Choose one of: auto, {', '.join(BACKENDS)}")
    return BACKENDS[name](threads)


def _first_that_works(threads: int | None) -> Backend:
    reasons = []
    for name, make in BACKENDS.items():
        try:
            backend = make(threads)
        except BackendError as error:
            _log.info("backend %s does not work here: %s", name, error)
            reasons.append(f"{name}: {error}")
        else:
            _log.info("backend auto: chose %s", name)
            return backend
    raise BackendError(f"no backend works here. {'; '.join(reasons)}")
