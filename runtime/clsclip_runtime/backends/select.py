"""Which engine runs: by name, or the first of them that works."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from clsclip_runtime.errors import BackendError, OptionError
from clsclip_runtime.protocols import Backend
from clsclip_runtime.renamed import sentence

if TYPE_CHECKING:
    from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace

_log = logging.getLogger(__name__)

Used = TypeVar("Used")
Make: TypeAlias = Callable[[str, "int | None", Mapping[str, Any]], Backend]

TENSORRT = "tensorrt"
"""The backend that runs engines."""


def _tensorrt(threads: int | None, place: EnginePlace | None = None) -> Backend:
    from clsclip_runtime.backends.tensorrt.backend import TensorRt

    return TensorRt(place=place)


def _onnxruntime_cuda(threads: int | None) -> Backend:
    from clsclip_runtime.backends.onnxruntime_gpu import OnnxRuntimeGpu

    return OnnxRuntimeGpu("onnxruntime-cuda", threads=threads)


def _onnxruntime_tensorrt(threads: int | None) -> Backend:
    from clsclip_runtime.backends.onnxruntime_gpu import OnnxRuntimeGpu

    return OnnxRuntimeGpu("onnxruntime-tensorrt", threads=threads)


def _openvino(threads: int | None, precision: str = "fp32", device: str = "CPU") -> Backend:
    from clsclip_runtime.backends.openvino import OpenVino

    return OpenVino(precision, threads=threads, device=device)


def _onnxruntime_cpu(threads: int | None) -> Backend:
    from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu

    return OnnxRuntimeCpu(threads=threads)


BACKENDS: dict[str, Callable[..., Backend]] = {
    "tensorrt": _tensorrt,
    "onnxruntime-cuda": _onnxruntime_cuda,
    "onnxruntime-tensorrt": _onnxruntime_tensorrt,
    "openvino": _openvino,
    "onnxruntime-cpu": _onnxruntime_cpu,
}
"""Backend by name: threads, and options of its own as keywords."""

MOST_THREADS = 1024
"""Of an engine: more than machines have. Engines fail on far more, each in a way of its own."""

AUTO = ("tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime-cpu")
"""What ``auto`` tries, in this order; see also :func:`passed_over`. ONNX Runtime's TensorRT provider builds engines
when it loads, which takes minutes, so it is only taken by name."""

OPENVINO_WINS_ON = ("x86_64", "amd64")
"""Processors on which OpenVINO was measured beside ONNX Runtime (benchmarks/README.md): at ViT-B/16's size 1.2 times as
fast in FP32 and 1.4 to 1.7 times in INT8. It takes 0.3 s more to load."""


def passed_over(name: str) -> str | None:
    """Why ``auto`` does not even try an engine that may work; None where it does."""
    processor = platform.machine().lower()
    if name == "openvino" and processor not in OPENVINO_WINS_ON:
        return f"it was measured on x86-64 alone, and this is {processor or 'unknown'}. Ask for it by name"
    return None


def make_backend(
    name: str, threads: int | None, options: Mapping[str, Any], *, place: EnginePlace | None = None
) -> Backend:
    """Make the backend called ``name``.

    Args:
        name: a key of ``BACKENDS``.
        threads: threads for one call; None lets the backend decide.
        options: of that backend alone.
        place: where TensorRT's engines are; None is the user's cache.

    Raises:
        BackendError: it is not installed or does not work here.
        OptionError: an option has a value that makes no sense.
    """
    placed = {} if place is None or name != TENSORRT else {"place": place}
    return BACKENDS[name](threads, **options, **placed)


def select_backend(
    name: str = "auto", *, threads: int | None = None, options: Mapping[str, Any] | None = None
) -> Backend:
    """The backend called ``name``; ``auto`` takes the first that can be made. See :func:`choose_backend`."""
    return choose_backend(name, lambda backend: backend, threads=threads, options=options)[0]


def choose_backend(
    name: str,
    use: Callable[[Backend], Used],
    *,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    make: Make = make_backend,
) -> tuple[Used, tuple[str, ...]]:
    """Use the backend called ``name``; ``auto`` takes the first that can be made and used, and logs which that was.

    Args:
        name: ``auto`` or a key of ``BACKENDS``.
        use: what is done with a backend, such as loading a bundle; a BackendError of it makes ``auto`` try the next.
        threads: threads for one call; None lets the backend decide.
        options: of that backend alone, such as ``{"precision": "bf16"}`` of ``openvino``.
        make: makes a backend, from its name, threads and options.

    Returns:
        What ``use`` gave, and one sentence for each backend that ``auto`` passed over. Nothing else passes over any.

    Raises:
        OptionError: the name or an option is unknown, or a value makes no sense.
        BackendError: the backend is not installed or does not work here.
    """
    whole = isinstance(threads, int) and not isinstance(threads, bool)
    if threads is not None and not (whole and 1 <= threads <= MOST_THREADS):
        raise OptionError(f"threads must be a whole number of 1 to {MOST_THREADS}, or None, and it is {threads!r}")
    if name == "auto":
        if options:
            raise OptionError(
                f"backend options ({', '.join(options)}) are one backend's own. Name it: backend='openvino'"
            )
        return _first_that_works(use, threads, make)
    if name not in BACKENDS:
        unknown = f"there is no backend {name!r}. Choose one of: auto, {', '.join(BACKENDS)}"
        raise OptionError(sentence("backends", name) or unknown)
    known = [one for one in signature(BACKENDS[name]).parameters if one not in ("threads", "place")]
    for option in options or {}:
        if option not in known:
            raise OptionError(f"backend {name!r} has no option {option!r}. It has: {', '.join(known) or 'none'}")
    return use(make(name, threads, options or {})), ()


def _first_that_works(use: Callable[[Backend], Used], threads: int | None, make: Make) -> tuple[Used, tuple[str, ...]]:
    reasons: list[str] = []
    for name in AUTO:
        reason = passed_over(name)
        if reason is not None:
            _log.info("backend %s is passed over: %s", name, reason)
            reasons.append(f"{name}: {reason}")
            continue
        try:
            used = use(make(name, threads, {}))
        except BackendError as error:
            _log.info("backend %s does not work here: %s", name, error)
            reasons.append(f"{name}: {error}")
        else:
            _log.info("backend auto: chose %s", name)
            return used, tuple(reasons)
    raise BackendError(f"no backend works here. {'; '.join(reasons)}")
