"""How much of a call an engine takes: its graphs are timed where they are run, whoever runs them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from clsclip_runtime.protocols import Backend, GraphFile


class EngineClock:
    """Seconds spent inside graphs, by file. Safe to share between threads."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._lock = threading.Lock()
        self._inside = threading.local()
        self.seconds: dict[str, float] = {}

    def take(self) -> dict[str, float]:
        """Seconds by file since the last time this was asked."""
        with self._lock:
            seconds, self.seconds = self.seconds, {}
        return seconds

    def watch(self, backend: Backend) -> Backend:
        """Time every graph that ``backend`` loads from now on; returns the backend.

        The objects stay what they are: a wrapper around them would hide what they offer beside the protocol.
        """
        load, read = backend.load, getattr(backend, "read", None)

        def timed_load(file: GraphFile) -> Any:
            return self._watched(load(file), file)

        def timed_read(file: GraphFile) -> Callable[[], Any]:
            compile_copy = read(file)  # type: ignore[misc]
            return lambda: self._watched(compile_copy(), file)

        _replace(backend, "load", timed_load)
        if read is not None:  # what loads graphs in two steps is asked for both
            _replace(backend, "read", timed_read)
        return backend

    def _watched(self, graph: Any, file: GraphFile) -> Any:
        for name in dir(graph):
            if name.startswith("run") and callable(getattr(graph, name)):
                setattr(graph, name, self._timed(file.path.name, getattr(graph, name)))
        return graph

    def _timed(self, file: str, method: Any) -> Any:
        def timed(*arguments: Any, **options: Any) -> Any:
            if getattr(self._inside, "running", False):  # one method that calls another is timed once
                return method(*arguments, **options)
            self._inside.running = True
            start = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                self._inside.running = False
                with self._lock:
                    self.seconds[file] = self.seconds.get(file, 0.0) + time.perf_counter() - start

        return timed


def _replace(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)
