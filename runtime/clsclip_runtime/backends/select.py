"""Which engine runs: by name, or the first of them that works."""

from __future__ import annotations

import logging
from collections.abc import Callable

from clsclip_runtime.backends.base import Backend
from clsclip_runtime.bundle import DETECTOR, GATE, IMAGE_ENCODER, TEXT_ENCODER, TRUNK, Bundle
from clsclip_runtime.errors import BackendError, OptionError

_log = logging.getLogger(__name__)


def _tensorrt(threads: int | None) -> Backend:
    from clsclip_runtime.backends.tensorrt import TensorRt

    return TensorRt()


def _onnxruntime_cuda(threads: int | None) -> Backend:
    from clsclip_runtime.backends.onnxruntime_gpu import OnnxRuntimeGpu

    return OnnxRuntimeGpu("onnxruntime-cuda", threads=threads)


def _onnxruntime_tensorrt(threads: int | None) -> Backend:
    from clsclip_runtime.backends.onnxruntime_gpu import OnnxRuntimeGpu

    return OnnxRuntimeGpu("onnxruntime-tensorrt", threads=threads)


def _onnxruntime_cpu(threads: int | None) -> Backend:
    from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu

    return OnnxRuntimeCpu(threads=threads)


BACKENDS: dict[str, Callable[[int | None], Backend]] = {
    "tensorrt": _tensorrt,
    "onnxruntime-cuda": _onnxruntime_cuda,
    "onnxruntime-tensorrt": _onnxruntime_tensorrt,
    "onnxruntime-cpu": _onnxruntime_cpu,
}
"""Engine by name."""

AUTO = ("tensorrt", "onnxruntime-cuda", "onnxruntime-cpu")
"""What ``auto`` tries, in this order. ONNX Runtime's TensorRT provider builds engines when it loads, which takes
minutes, so it is only taken by name."""


def select_backend(name: str = "auto", *, threads: int | None = None) -> Backend:
    """The engine called ``name``; ``auto`` takes the first that works. See :func:`choose_backend`."""
    return choose_backend(name, threads=threads)[0]


def choose_backend(
    name: str = "auto", *, threads: int | None = None, bundle: Bundle | None = None
) -> tuple[Backend, tuple[str, ...]]:
    """The engine called ``name``, and why others were passed over; both are logged too.

    Args:
        name: ``auto`` or a key of ``BACKENDS``.
        threads: threads for one call; None lets the engine decide.
        bundle: ``auto`` passes over engines that have nothing to run it with.

    Returns:
        The engine, and one sentence for each that ``auto`` tried before it. Only ``auto`` passes over anything.

    Raises:
        OptionError: the name is unknown, or ``threads`` is not a positive whole number.
        BackendError: the engine is not installed or does not work here.
    """
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise OptionError(f"threads must be a whole number of 1 or more, or None, and it is {threads!r}")
    if name == "auto":
        return _first_that_works(threads, bundle)
    if name not in BACKENDS:
        raise OptionError(f"there is no backend {name!r}. Choose one of: auto, {', '.join(BACKENDS)}")
    return BACKENDS[name](threads), ()


def _first_that_works(threads: int | None, bundle: Bundle | None) -> tuple[Backend, tuple[str, ...]]:
    reasons: list[str] = []
    for name in AUTO:
        try:
            backend = BACKENDS[name](threads)
            if bundle is not None:
                check_bundle(backend, bundle)
        except BackendError as error:
            _log.info("backend %s does not work here: %s", name, error)
            reasons.append(f"{name}: {error}")
        else:
            _log.info("backend auto: chose %s", name)
            return backend, tuple(reasons)
    raise BackendError(f"no backend works here. {'; '.join(reasons)}")


def check_bundle(backend: Backend, bundle: Bundle) -> None:
    """BackendError if an engine that needs more than the ONNX files has none for this bundle; loads nothing."""
    check = getattr(backend, "check", None)
    if check is not None:
        names = (TEXT_ENCODER, IMAGE_ENCODER, TRUNK, GATE, DETECTOR)
        check(bundle.folder, tuple(name for name in names if name in bundle.manifest.files))
