"""The client of the load: a process of its own, whose threads ask again and again over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REFUSED_S = 0.25
"""How long a client waits after a 503; the server asks for longer."""


@dataclass(frozen=True)
class Asked:
    """What is asked, and how.

    Attributes:
        host, port: of the server.
        kind, body: the request's content type and body.
        connections: how many ask at the same time.
        seconds: for which they do.
        health: the route that is asked ten times a second beside them; none is not asked.
        once: a connection for every request, as clients without a pool do.
    """

    host: str
    port: int
    kind: str
    body: bytes
    connections: int
    seconds: float
    health: str | None = "/healthz"
    once: bool = False


@dataclass
class Told:
    """What came back: seconds of the answers by status (or by the name of an error), waits of the health route, and
    from the first request to the last answer the client's CPU seconds and the seconds."""

    waits: dict[str, list[float]] = field(default_factory=dict)
    health: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers of code 200 a second; those that waited when the time was over count, as do the seconds they took."""
        return round(len(self.waits.get("200", [])) / self.seconds, 2)

    @property
    def counts(self) -> dict[str, int]:
        return {status: len(waits) for status, waits in sorted(self.waits.items())}

    def percentile(self, status: str, share: float) -> float | None:
        """Milliseconds; None if there was no such answer."""
        return milliseconds(self.waits.get(status, []), share)


def milliseconds(seconds: list[float], share: float) -> float | None:
    return round(1000 * sorted(seconds)[int(share * (len(seconds) - 1))], 1) if seconds else None


def ask(asked: Asked) -> Told:
    """Ask by threads until the time is over."""
    told, lock, cpu, begun = Told(), threading.Lock(), time.process_time(), time.monotonic()
    until = begun + asked.seconds

    def one() -> None:
        connection = http.client.HTTPConnection(asked.host, asked.port, timeout=120)
        headers = {"Content-Type": asked.kind} | ({"Connection": "close"} if asked.once else {})
        while (start := time.monotonic()) < until:
            try:
                connection.request("POST", "/v1/segment", asked.body, headers)
                answer = connection.getresponse()
                answer.read()
                status = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
                connection.close()
            with lock:
                told.waits.setdefault(status, []).append(time.monotonic() - start)
            if status == "ConnectionRefusedError":
                return
            if status == "503":
                time.sleep(REFUSED_S)

    def watch() -> None:
        while time.monotonic() < until:
            start = time.perf_counter()
            with contextlib.closing(http.client.HTTPConnection(asked.host, asked.port, timeout=30)) as connection:
                connection.request("GET", asked.health or "")
                connection.getresponse().read()
            told.health.append(time.perf_counter() - start)
            time.sleep(0.1)

    threads = [threading.Thread(target=one) for _ in range(asked.connections)]
    threads += [threading.Thread(target=watch)] if asked.health else []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.cpu_s, told.seconds = time.process_time() - cpu, time.monotonic() - begun
    return told


def _ask(asked: Asked, out: Any) -> None:
    out.put(ask(asked))


def load(asked: Asked, meanwhile: Callable[[], object] = lambda: None) -> Told:
    """What a client's process was told; ``meanwhile`` is called here, once it runs."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(target=_ask, args=(asked, out))
    process.start()
    meanwhile()
    told: Told = out.get()
    process.join()
    return told


@contextlib.contextmanager
def stored(answer: bytes, wait_s: float) -> Iterator[int]:
    """A server's process that gives a stored answer after some seconds; its port."""
    context = multiprocessing.get_context("spawn")
    place = context.Queue()
    process = context.Process(target=_stored, args=(answer, wait_s, place), daemon=True)
    process.start()
    try:
        yield place.get()
    finally:
        process.terminate()
        process.join()


def _stored(answer: bytes, wait_s: float, place: Any) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(wait_s)
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place.put(server.server_port)
    server.serve_forever()
