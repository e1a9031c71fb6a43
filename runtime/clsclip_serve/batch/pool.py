"""Processes that make rows. One that dies, or takes too long, is replaced, and its images are done by others."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from clsclip_runtime import errors
from clsclip_runtime.documents import DATA_FILE, parse_json
from clsclip_runtime.errors import BackendError, one_line
from clsclip_serve.batch.job import Job
from clsclip_serve.batch.rows import Rows
from clsclip_serve.batch.schema import error_row
from clsclip_serve.batch.sources import Chunk, Reader

TRIES = 2
"""Processes that an image may take with it."""

_TICK_S, _GRACE_S = 0.5, 20.0
_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass
class _Worker:
    process: Any
    pipe: Any
    """Our end; its class is the system's own."""
    ready: bool = False
    left: deque[str] = field(default_factory=deque)
    chunk: Chunk = field(default_factory=lambda: Chunk(()))
    since: float = field(default_factory=time.monotonic)
    """When it began with the image that it is at."""


class ProcessPool:
    """Rows from processes of this machine.

    Attributes:
        notes: processes that died.
    """

    def __init__(self, job: Job, reader: Reader, workers: int, *, seconds: float = 600.0) -> None:
        """Nothing is started yet.

        Args:
            job, reader: what every process does.
            workers: processes.
            seconds: that loading the model, or an image, may take; a process that takes longer is ended.
        """
        self._job, self._reader, self._count, self._seconds = job, reader, workers, seconds
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._died: Counter[str] = Counter()
        self._failed_starts, self._model = 0, ""
        self.notes: list[str] = []

    def rows(self, chunks: Sequence[Chunk], stop: Any) -> Iterator[dict[str, Any] | None]:
        """The rows of all chunks as they come; None now and then, while none comes.

        Args:
            chunks: to do.
            stop: an event: once it is set no chunk is begun, and those that were begun are given.

        Raises:
            ClsclipRuntimeError: a process cannot load the model.
            BackendError: processes die before they have loaded it.
        """
        waiting = deque(chunks)
        ends: float | None = None
        try:
            for _ in range(min(self._count, len(chunks))):
                self._start()
            while True:
                if stop.is_set():
                    waiting.clear()
                    ends = ends or time.monotonic() + _GRACE_S
                for worker in self._workers:
                    if worker.ready and not worker.left and waiting:
                        self._hand(worker, waiting.popleft())
                busy = any(worker.left for worker in self._workers)
                if not waiting and (not busy or (ends is not None and time.monotonic() > ends)):
                    return
                yield from self._some(waiting)
        finally:
            self.close()

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._workers = []

    def _start(self) -> None:
        here, there = self._context.Pipe()
        text = json.dumps([self._job.to_json(), self._reader.root, self._reader.columns])
        process = self._context.Process(target=work, args=(there, text), name="clsclip-batch", daemon=True)
        process.start()
        there.close()
        self._workers.append(_Worker(process, here))

    def _hand(self, worker: _Worker, chunk: Chunk) -> None:
        worker.chunk, worker.left, worker.since = chunk, deque(chunk.names), time.monotonic()
        message = json.dumps([chunk.names, chunk.file, chunk.group, chunk.rows])
        try:
            worker.pipe.send_bytes(message.encode())
        except OSError:
            return  # it has died, which is seen next

    def _some(self, waiting: deque[Chunk]) -> Iterator[dict[str, Any] | None]:
        """Whatever the processes say within a moment."""
        pipes = {worker.pipe: worker for worker in self._workers}
        said = wait(list(pipes), _TICK_S)
        if not said:
            yield None
        for pipe in said:
            worker = pipes[pipe]
            try:
                message = parse_json(worker.pipe.recv_bytes(), DATA_FILE)
            except (EOFError, OSError):
                yield from self._dead(worker, waiting, "")
                continue
            if "error" in message and "path" not in message:
                kind = getattr(errors, message["kind"], BackendError)
                raise kind(message["error"])
            if "path" not in message:
                worker.ready, worker.since = True, time.monotonic()
                self._model = message["ready"]
                self._failed_starts = 0
                continue
            worker.left.popleft()
            worker.since = time.monotonic()
            yield message
        for worker in list(self._workers):
            late = time.monotonic() - worker.since > self._seconds
            if late and (worker.left or not worker.ready):
                worker.process.kill()
                yield from self._dead(worker, waiting, f"took more than {self._seconds:.0f} seconds")

    def _dead(self, worker: _Worker, waiting: deque[Chunk], reason: str) -> Iterator[dict[str, Any]]:
        """Replace a process; the image that it was at is tried once more, alone, and then has an error."""
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        how = reason or _how(worker.process.exitcode)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= TRIES * self._count:
                raise BackendError(f"the processes end while they load the model: the last {how}. Give fewer --workers")
        if worker.left:
            at = worker.left[0]
            self._died[at] += 1
            rest = worker.chunk.without(set(worker.chunk.names) - set(worker.left))
            others = rest.without({at})
            if others.names:
                waiting.appendleft(others)
            if self._died[at] < TRIES:
                waiting.append(rest.without(set(others.names)))
            else:
                text = f"the process that segmented it {how}, {TRIES} times"
                yield error_row(at, self._model, text)
            self.notes.append(f"a process {how} at {at}")
        if waiting:
            self._start()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was ended by {name}"
    return f"ended with exit code {code}"


def work(pipe: Connection, text: str) -> None:
    """What a process does until its pipe is closed: by its parent, or by its parent's end."""
    for number in _STOPS:  # the parent is told too, and says when to end
        signal.signal(number, signal.SIG_IGN)
    job, root, columns = parse_json(text)
    try:
        try:
            rows = Rows(Job.from_json(job), Reader(root, None if columns is None else tuple(columns)))
        except Exception as error:
            _send(pipe, {"kind": type(error).__name__, "error": one_line(error) or type(error).__name__})
            return
        _send(pipe, {"ready": rows.model})
        while True:
            names, file, group, numbers = parse_json(pipe.recv_bytes(), DATA_FILE)
            for row in rows.of_chunk(Chunk(tuple(names), file, group, tuple(numbers))):
                _send(pipe, row)
    except (EOFError, OSError):
        return


def _send(pipe: Connection, message: dict[str, Any]) -> None:
    pipe.send_bytes(json.dumps(message).encode())
