"""The isolated process: it opens the bundle by itself, loads graphs and runs them, until its parent hangs up."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from clsclip_runtime import system
from clsclip_runtime.errors import BundleError, ClsclipRuntimeError, one_line
from clsclip_runtime.isolated.wire import WireError, receive, send
from clsclip_runtime.protocols import Backend, Graph, GraphFile, notes_of

_REASON_CHARACTERS = 2000


class Server:
    """Answers requests; each is over before the next begins."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes], memory_bytes: int, seconds: int) -> None:
        """Take two pipes, and the limits of the process."""
        self._requests, self._answers = requests, answers
        self._memory_bytes, self._seconds = memory_bytes, seconds
        self._backend: Backend | None = None
        self._bundle: Any = None
        self._graphs: list[Graph] = []

    def serve(self) -> None:
        """Answer every request until there are no more."""
        while True:
            try:
                message, arrays = receive(self._requests, self._memory_bytes)
            except WireError:
                return
            system.allow_seconds(self._seconds)
            try:
                answer, outputs = self._answer(message, arrays)
            except ClsclipRuntimeError as error:
                answer, outputs = {"error": type(error).__name__, "reason": str(error)[:_REASON_CHARACTERS]}, {}
            except Exception as error:  # whatever a library raises is told by the parent
                answer, outputs = {"error": "", "reason": one_line(error)[:_REASON_CHARACTERS]}, {}
            try:
                send(self._answers, answer, outputs)
            except WireError:
                return

    def _answer(self, message: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if message["do"] == "start":
            self._start(message)
            notes = notes_of(self._backend) if self._backend is not None else ()
            return {"notes": notes, "fast_mb": getattr(self._backend, "fast_mb", None)}, {}
        if message["do"] == "describe":
            return self._describe(message), {}
        if message["do"] == "load":
            return self._load(message, arrays), {}
        return {}, self._graphs[message["graph"]].run(arrays)

    def _start(self, message: dict[str, Any]) -> None:
        from clsclip_runtime.backends.select import make_backend
        from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace
        from clsclip_runtime.bundle.opening import Bundle

        if message["bundle"] is not None:
            self._bundle = Bundle.open(message["bundle"], to_load=True)
            self._bundle.wait_until_verified()
            if self._bundle.fingerprint != message["fingerprint"]:
                raise BundleError(f"{message['bundle']} has changed while it was loaded. Load it again")
        folder = message["engines"]
        place = None if folder is None else EnginePlace(Path(folder), message["trust_engines"])
        self._backend = make_backend(message["backend"], message["threads"], message["options"], place=place)

    @staticmethod
    def _describe(message: dict[str, Any]) -> dict[str, Any]:
        from clsclip_runtime.detectors import read_spec

        spec, notes = read_spec(message["file"], names=message["names"], output_format=message["format"])
        return {"spec": asdict(spec), "notes": notes}

    def _load(self, message: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
        if self._backend is None:
            raise WireError("a graph before the backend")
        in_bundle, name = message["in_bundle"], message["file"]
        file = self._bundle.graph(name) if in_bundle else GraphFile.whole(Path(name), arrays["model"].tobytes())
        graph = self._backend.load(file)
        self._graphs.append(graph)
        return {"inputs": list(graph.inputs), "outputs": list(graph.outputs), "notes": notes_of(self._backend)}


def main(memory_mb: int, seconds: int) -> None:
    """Serve the parent: requests come by standard input, answers go by what was standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if not system.confine(memory_mb << 20):
        sys.exit(1)
    Server(sys.stdin.buffer, answers, memory_mb << 20, seconds).serve()
    os._exit(0)  # what the graphs have left behind need not be taken down in order
