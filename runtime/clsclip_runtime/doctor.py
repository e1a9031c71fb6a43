"""What works on this machine, tried and not guessed: backends, GPU, TensorRT, a bundle and its engines."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np

from clsclip_runtime.backends import select
from clsclip_runtime.backends.cuda.driver import Driver, ask_driver
from clsclip_runtime.backends.select import AUTO, BACKENDS
from clsclip_runtime.backends.tensorrt.edition import EDITIONS, TensorRtEdition, find_edition
from clsclip_runtime.backends.tensorrt.engine_files import Machine, engine_files, misfit, read_plan
from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace, cached_files, passed_over
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.caches import bytes_of, users_folder
from clsclip_runtime.errors import BackendError, BundleError, ClsclipRuntimeError
from clsclip_runtime.extras import gpu_command
from clsclip_runtime.libraries import installed
from clsclip_runtime.paths import CACHE_VARIABLE
from clsclip_runtime.text.cache import word_files
from clsclip_runtime.version import __version__

OK, FAIL, INFO = "ok", "fail", "info"

GROUPS = ("machine", "cache", "TensorRT", "bundle", "engines", "backends")
"""In this order."""

BUILDS_WHEN_LOADED = ("onnxruntime-tensorrt",)
"""Backends that take minutes to load a bundle, and so are not tried on one."""

_COMMAND = "Run: "


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        group: one of :data:`GROUPS`.
        name: of what was looked at.
        state: :data:`OK`, :data:`FAIL`, or :data:`INFO` for what is neither.
        detail: what was found.
        fix: the command that fixes it; None where nothing is to be fixed, or no command would.
    """

    group: str
    name: str
    state: str
    detail: str
    fix: str | None = None


def examine(path: str | os.PathLike[str] | None = None) -> Iterator[Finding]:
    """Look at everything, one finding at a time.

    Args:
        path: of the bundle; None is the embedded one.
    """
    driver = ask_driver()
    yield from machine(driver)
    yield from cache()
    editions: list[TensorRtEdition] = []
    for name in EDITIONS:
        finding, edition = tensorrt(name)
        yield finding
        editions += [] if edition is None else [edition]
    yield cuda_package()
    try:
        bundle = Bundle.open(path)
    except BundleError as error:
        yield failed("bundle", str(path or "embedded"), error)
        return
    yield Finding(
        "bundle", bundle.manifest.name, OK, f"{bundle.folder}, {bundle.manifest.precision}, every file verified"
    )
    yield from engines(bundle, editions, driver)
    for name in BACKENDS:
        yield backend(name, bundle)


def machine(driver: Driver) -> Iterator[Finding]:
    """Python, packages, driver and GPUs."""
    packages = [
        f"{name} {found}"
        for name in ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch")
        if (found := installed(name))
    ]
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    yield Finding("machine", f"clsclip {__version__}", INFO, f"{system}, {', '.join(packages)}")
    yield from shared_folders()
    if driver.problem is not None:
        yield Finding("machine", "GPU", INFO, f"none: {driver.problem}")
        return
    numbers = f"CUDA up to {driver.cuda}" + (f", driver {found}" if (found := driver_version()) else "")
    for gpu in driver.gpus:
        capability = f"compute capability {gpu.compute_capability}"
        yield Finding("machine", gpu.name, OK, f"{gpu.memory / 2**30:.0f} GiB, {capability}, {numbers}")


def shared_folders() -> Iterator[Finding]:
    """Packages that write into one folder, so that which of them is imported is chance."""
    known = packages_distributions()
    for module in ("onnxruntime", "cv2"):
        names = sorted(set(known.get(module, [])))
        if len(names) < 2:
            continue
        kept = next((name for name in names if name.endswith(("-gpu", "-headless"))), names[0])
        detail = f"{' and '.join(names)} write into one folder, and neither works reliably"
        again = f"pip uninstall -y {' '.join(names)} && pip install --no-deps {kept}"
        fix = gpu_command() if kept == "onnxruntime-gpu" else again
        yield Finding("machine", module, FAIL, detail, fix)


KEPT: dict[str, Callable[[Path], list[Path]]] = {"words": word_files, "engines": cached_files}
"""What the user's cache keeps that grows, and the files of each."""


def cache() -> Iterator[Finding]:
    """Where the user's cache lies, and how much it keeps."""
    folder = users_folder()
    for name, files in KEPT.items():
        if folder is None:
            yield Finding("cache", name, INFO, f"none is kept ({CACHE_VARIABLE}=off, or no home folder)")
        else:
            yield Finding("cache", name, INFO, f"{folder / name}, {bytes_of(files(folder)) / 2**20:.1f} MiB")


def tensorrt(name: str) -> tuple[Finding, TensorRtEdition | None]:
    """Whether one flavour of TensorRT is here."""
    try:
        edition = find_edition(name)
    except BackendError as error:
        return failed("TensorRT", name, error, INFO), None
    builds = "builds engines here, GPU or not" if edition.builds_without_gpu else "builds engines where there is a GPU"
    return Finding("TensorRT", name, OK, f"{edition.version}, {builds}"), edition


def cuda_package() -> Finding:
    """Which package calls CUDA for the TensorRT backend."""
    for name in ("cuda-bindings", "cuda-python", "pycuda"):
        found = installed(name)
        if found:
            return Finding("TensorRT", "CUDA package", OK, f"{name} {found}")
    return Finding(
        "TensorRT", "CUDA package", INFO, "neither cuda-python nor pycuda is installed", "pip install cuda-python"
    )


def engines(bundle: Bundle, editions: list[TensorRtEdition], driver: Driver) -> Iterator[Finding]:
    """Every engine of a bundle: whole or not, and whether it fits."""
    first = driver.gpus[0] if driver.gpus else None
    machines = [
        Machine(one.name, one.version, first.name if first else None, first.compute_capability if first else None)
        for one in editions
    ]
    for note in passed_over(bundle.folder):
        yield Finding("engines", "in the bundle", INFO, note)
    try:
        folder = EnginePlace().readable(bundle.fingerprint)
    except BackendError as error:
        yield failed("engines", "none", error, INFO)
        return
    none = True
    for engine in engine_files(folder):
        none = False
        if isinstance(engine, BackendError):
            yield failed("engines", "damaged", engine)
            continue
        name = f"{engine.spec.graph} {engine.spec.precision}"
        here = next((one for one in machines if one.edition == engine.spec.edition), None)
        if here is None:
            missing = f"{engine.plan.name} needs {engine.spec.edition} {engine.spec.version}, which is not installed"
            yield Finding("engines", name, FAIL, missing)
            continue
        try:
            reason = misfit(engine, here, bundle.digests(engine.spec.graph))
            read_plan(engine)
        except ClsclipRuntimeError as error:
            yield failed("engines", name, error)
            continue
        again = f"clsclip-export --from-bundle {bundle.folder} --engine {here.edition}"
        if reason is not None:
            yield Finding("engines", name, FAIL, reason, again)
        elif first is None:
            yield Finding("engines", name, INFO, f"{engine.plan.name} is whole; whether it runs, only a GPU tells")
        else:
            yield Finding("engines", name, OK, f"{engine.plan.name} fits {here}")
    if none:
        yield Finding("engines", "none", INFO, "the TensorRT backend needs some", _build_command(bundle, editions))


def backend(name: str, bundle: Bundle) -> Finding:
    """Whether one backend runs the bundle: it segments a picture, if that does not take minutes."""
    from clsclip_runtime.segmenter import Segmenter

    tries = name in AUTO and select.passed_over(name) is None
    preferred = " (auto tries it)" if tries else " (only by name)"
    try:
        engine = BACKENDS[name](None)
        if name in BUILDS_WHEN_LOADED:
            return Finding("backends", name, OK, f"is there; builds its own engines when it loads{preferred}")
        size = bundle.manifest.image.size
        with Segmenter(bundle, engine, word_cache=False) as segmenter:  # the text encoder is to run
            start = time.perf_counter()
            segmenter(np.full((size, size, 3), 127, np.uint8), "thing", presence_threshold=0)
            took = (time.perf_counter() - start) * 1000
    except ClsclipRuntimeError as error:
        return failed("backends", name, error)
    return Finding("backends", name, OK, f"segmented a picture in {took:.0f} ms, the first call{preferred}")


def failed(group: str, name: str, error: Exception, state: str = FAIL) -> Finding:
    """A finding of an error: the command in its message is what fixes it."""
    text, _, command = str(error).partition(_COMMAND)
    return Finding(group, name, state, text.strip().rstrip("."), command.strip() or None)


def driver_version() -> str | None:
    """The NVIDIA driver's own version, by nvidia-smi where that is there."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def _build_command(bundle: Bundle, editions: list[TensorRtEdition]) -> str:
    edition = editions[0].name if editions else "tensorrt"
    return f"clsclip-export --from-bundle {bundle.folder} --engine {edition}"
