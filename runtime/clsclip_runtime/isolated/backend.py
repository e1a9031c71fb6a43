"""A backend whose graphs live in a process of their own, with limits and without the user's environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime import errors, system
from clsclip_runtime.arrays import Arrays, to_host
from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.errors import BackendError, OptionError, one_line
from clsclip_runtime.isolated.wire import WireError, receive, send
from clsclip_runtime.protocols import GraphFile

ENVIRONMENT = (
    *("CLSCLIP_CACHE", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES"),
    *("OMP_NUM_THREADS", "XDG_CACHE_HOME"),
)
"""Variables that the process gets; no others, so that it does not know the user's tokens and proxies."""

_MIB = 1 << 20
_WEIGHTS_MANY_TIMES = 3
_END_SECONDS = 5


@dataclass(frozen=True)
class Isolation:
    """Limits of an isolated process.

    Attributes:
        memory_mb: of its address space, MiB. None is 4096 and three times the bundle's size: a graph is held twice
            while it is loaded.
        seconds: that a call may take, loading included; then the process is ended.

    Raises:
        OptionError: a value makes no sense.
    """

    memory_mb: int | None = None
    seconds: int = 120

    def __post_init__(self) -> None:
        given = {"seconds": self.seconds} | ({} if self.memory_mb is None else {"memory_mb": self.memory_mb})
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{name} of an isolated process must be a whole number of 1 or more, not {value!r}")

    def memory_of(self, files_bytes: int) -> int:
        """Count the MiB of address space for graphs in files of so many bytes."""
        if self.memory_mb is not None:
            return self.memory_mb
        return 4096 + _WEIGHTS_MANY_TIMES * files_bytes // _MIB


class IsolatedBackend:
    """Loads graphs into a process of its own. That process runs one call at a time, whatever the threads here do."""

    def __init__(
        self,
        bundle: Bundle | None,
        name: str,
        threads: int | None,
        options: Mapping[str, Any],
        *,
        isolation: Isolation,
        place: EnginePlace | None = None,
        files_bytes: int = 0,
    ) -> None:
        """Start the process, which opens the bundle once more.

        Args:
            bundle: whose graphs are loaded; None for those of a detector's file alone.
            name, threads, options, place: of the backend there, as in ``make_backend``.
            isolation: its limits.
            files_bytes: of graphs that are in no bundle.

        Raises:
            BackendError: the backend does not work here, or the process has ended.
            OptionError: this system has no limits for processes.
        """
        self.name = name
        self._folder = Path() if bundle is None else bundle.folder
        files_bytes += 0 if bundle is None else sum(one.bytes for one in bundle.manifest.files.values())
        self._child = _Child(isolation.memory_of(files_bytes), isolation.seconds)
        weakref.finalize(self, self._child.end)
        start = {
            "do": "start",
            "bundle": None if bundle is None else os.fspath(bundle.folder),
            "fingerprint": None if bundle is None else bundle.fingerprint,
            "backend": name,
            "threads": threads,
            "options": dict(options),
            "engines": None if place is None or place.folder is None else os.path.abspath(place.folder),  # noqa: PTH100
            "trust_engines": place is not None and place.trusted,
        }
        answer, _ = self._child.ask(start, {}, "starting")
        self.notes = self._notes(answer)
        fast_mb = answer.get("fast_mb")
        self.fast_mb = fast_mb if type(fast_mb) is int and fast_mb > 0 else None

    def load(self, file: GraphFile) -> IsolatedGraph:
        """Load an ONNX file in the process.

        Raises:
            BackendError: the backend there cannot load it, or the process has ended.
        """
        inside = file.path.relative_to(self._folder).as_posix() if file.bundle else None
        name = inside or os.path.abspath(file.path)  # noqa: PTH100
        message = {"do": "load", "file": name, "in_bundle": bool(file.bundle)}
        # What is in no bundle was walked here, and is what the process loads.
        parts = {} if inside else {"model": np.frombuffer(file.model(), np.uint8)}
        answer, _ = self._child.ask(message, parts, f"loading {file.path.name}")
        self.notes = self._notes(answer)
        return IsolatedGraph(self._child, file.path.name, _names(answer, "inputs"), _names(answer, "outputs"))

    def describe_detector(
        self, path: Path, names: Sequence[str] | None, output_format: str
    ) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """What ``detectors.read_spec`` finds of a detector's file, in the process: the spec's values, and notes.

        Raises:
            BackendError: the process has ended.
            DetectorError, OptionError: as there.
        """
        named = None if names is None else list(names)
        message = {"do": "describe", "file": os.path.abspath(path), "names": named, "format": output_format}  # noqa: PTH100
        answer, _ = self._child.ask(message, {}, f"reading {path.name}")
        spec = answer.get("spec")
        return spec if isinstance(spec, dict) else {}, self._notes(answer)

    def close(self) -> None:
        """End the process; its graphs are closed with it."""
        self._child.end()

    @staticmethod
    def _notes(answer: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(one_line(note) for note in _names(answer, "notes"))


class IsolatedGraph:
    """A graph in an isolated process. Safe to run from several threads, one after the other."""

    def __init__(self, child: _Child, name: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        """Stand for the graph that ``child`` loaded last."""
        self._child, self._name, self._number = child, name, child.count_graph()
        self.inputs, self.outputs = inputs, outputs

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run once.

        Raises:
            BackendError: the engine there fails, the process has ended, or it took too long.
        """
        arrays = {name: to_host(value) for name, value in feeds.items()}
        return self._child.ask({"do": "run", "graph": self._number}, arrays, f"running {self._name}")[1]


class _Child:
    """The process, and who talks to it."""

    def __init__(self, memory_mb: int, seconds: int) -> None:
        if not system.can_confine():
            raise OptionError("isolated needs limits for processes, which this system does not have. Leave it out")
        self._memory_mb, self._seconds = memory_mb, seconds
        self._lock, self._owner = threading.Lock(), os.getpid()
        self._graphs = 0
        self._too_long = False
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; from clsclip_runtime.isolated.child import main; "
            f"main({memory_mb}, {seconds})"
        )
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
            )
        except OSError as error:
            raise BackendError(f"no isolated process can be started: {error.strerror or error}") from error

    def count_graph(self) -> int:
        """The number of the graph that was loaded last."""
        self._graphs += 1
        return self._graphs - 1

    def ask(
        self, message: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], doing: str
    ) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Send a request and wait for its answer.

        Raises:
            BackendError: the process has ended, or took too long, or the engine there fails.
            BundleError, OptionError: as the process says.
        """
        if os.getpid() != self._owner:
            raise BackendError("an isolated process belongs to the process that started it. Load it again after a fork")
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise BackendError("the isolated process has no pipes")
        with self._lock:
            watch = threading.Timer(self._seconds, self._took_too_long)
            watch.daemon = True
            watch.start()
            try:
                send(stdin, message, arrays)
                answer, found = receive(stdout, self._memory_mb * _MIB)
            except WireError as error:
                self.end()
                raise BackendError(self._ended(doing)) from error
            finally:
                watch.cancel()
        if "error" in answer:
            kind = getattr(errors, str(answer["error"]), BackendError) if answer["error"] in errors.__all__ else None
            raise (kind or BackendError)(one_line(str(answer.get("reason"))))
        return answer, found

    def _took_too_long(self) -> None:
        self._too_long = True
        self._process.kill()

    def _ended(self, doing: str) -> str:
        """Why the process has ended, in a sentence."""
        code = self._process.returncode
        if self._too_long:
            how = f"took more than {self._seconds} seconds and was ended"
        elif code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            how = f"was ended by {name}"
        else:
            how = f"ended with exit code {code}"
        return (
            f"the isolated process {how} while {doing}; it may use {self._memory_mb:,} MiB. Nothing else is harmed. "
            "What it loaded is damaged or made to do this: get it from a source you trust, or give more: "
            "isolated=Isolation(memory_mb=..., seconds=...)"
        )

    def end(self) -> None:
        """End the process and collect it; a forked child leaves it to its parent."""
        process = self._process
        if os.getpid() != self._owner:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still to be written has no reader
                    continue
        try:
            process.wait(0.2 if process.poll() is None else 0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_SECONDS)


def _names(answer: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of texts in an answer; other things count as none."""
    found = answer.get(key)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()
