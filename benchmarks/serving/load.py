"""Load on a real server: 64 connections that ask again and again, beside the same calls in process.

    python -m benchmarks.serving.load --seconds 180 --out build/load.json

Client and server share the cores. So the throughput is compared with calls in process that are made while the same
client runs against a server that returns a stored answer; and CPU seconds an answer, which do not depend on the client,
with those of the same calls.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.serving.hostile import form, jpeg
from benchmarks.serving.server import Served
from clsclip_runtime import Segmenter
from clsclip_serve.answers import document
from clsclip_serve.asked import Options

WORDS = ["dog", "boat", "fish"]
SIDE = 512


def client(host: str, port: int, connections: int, seconds: float, out: Any) -> None:
    """Ask by many connections until the time is over; puts statuses, CPU seconds and waits of ``/healthz``."""
    kind, body = form(jpeg(SIDE), WORDS)
    until, statuses, health = time.monotonic() + seconds, Counter[str](), list[float]()

    def ask() -> None:
        one = http.client.HTTPConnection(host, port, timeout=120)
        while time.monotonic() < until:
            try:
                one.request("POST", "/v1/segment", body, {"Content-Type": kind})
                answer = one.getresponse()
                answer.read()
                statuses[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                statuses[type(error).__name__] += 1
                one.close()

    def watch() -> None:
        while time.monotonic() < until:
            begun = time.perf_counter()
            one = http.client.HTTPConnection(host, port, timeout=30)
            one.request("GET", "/healthz")
            one.getresponse().read()
            one.close()
            health.append(time.perf_counter() - begun)
            time.sleep(0.1)

    threads = [threading.Thread(target=ask) for _ in range(connections)] + [threading.Thread(target=watch)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    out.put((dict(statuses), time.process_time(), health))


def load(host: str, port: int, connections: int, seconds: float) -> tuple[dict[str, int], float, list[float]]:
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(target=client, args=(host, port, connections, seconds, out))
    process.start()
    found: tuple[dict[str, int], float, list[float]] = out.get()
    process.join()
    return found


def in_process(seconds: float, image: bytes) -> tuple[int, float]:
    """How many calls are made in a time, and the CPU seconds of one."""
    with Segmenter.load(backend="onnxruntime-cpu") as segmenter:
        for _ in range(3):
            json.dumps(document(segmenter(image, WORDS), Options(), "req", 0))
        count, cpu, until = 0, time.process_time(), time.monotonic() + seconds
        while time.monotonic() < until:
            result = segmenter(image, WORDS)
            json.dumps(document(result, Options(), "req", 0))
            count += 1
        return count, (time.process_time() - cpu) / count


def beside_stored(seconds: float, image: bytes, connections: int, answer: bytes) -> float:
    """Calls a second in process while the client runs against a stored answer."""
    context = multiprocessing.get_context("spawn")
    place = context.Queue()
    stored = context.Process(target=_stored, args=(answer, place), daemon=True)
    stored.start()
    port = place.get()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(load("127.0.0.1", port, connections, seconds)))
    thread.start()
    count, _ = in_process(seconds, image)
    thread.join()
    stored.terminate()
    return count / seconds


def _stored(answer: bytes, place: Any) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(0.5)  # as often as the real one answers: 64 connections would take every core else
            self._send()

        def _send(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place.put(server.server_port)
    server.serve_forever()


def restart(options: tuple[str, ...]) -> float:
    """Seconds from the start after kill -9 to the first answer."""
    with Served(*options) as served:
        os.kill(served.process.pid, signal.SIGKILL)
        served.process.communicate()
    begun = time.perf_counter()
    with Served(*options) as served:
        one = http.client.HTTPConnection(served.host, served.port, timeout=30)
        kind, body = form(jpeg(SIDE), WORDS)
        one.request("POST", "/v1/segment", body, {"Content-Type": kind})
        assert one.getresponse().status == 200
        return time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    image, options = jpeg(SIDE), ("--backend", "onnxruntime-cpu")
    alone = min(asked.seconds, 60.0)
    calls, cpu_in_process = in_process(alone, image)
    with Served(*options) as served:
        load(served.host, served.port, 4, min(5.0, asked.seconds))
        memory, cpu = served.memory_mib, served.cpu_s
        statuses, client_cpu, health = load(served.host, served.port, asked.connections, asked.seconds)
        answers = statuses.get("200", 0)
        cpu, memory_after = served.cpu_s - cpu, served.memory_mib
    with Served(*options, "--queue", "4") as served:
        full, _, full_health = load(served.host, served.port, asked.connections, min(20.0, asked.seconds))
    beside = beside_stored(alone, image, asked.connections, b"{}")
    report = {
        "in_process": {"calls_per_s": round(calls / alone, 2), "cpu_s_per_call": round(cpu_in_process, 4)},
        "in_process_beside_client_per_s": round(beside, 2),
        "server": {
            "statuses": statuses,
            "answers_per_s": round(answers / asked.seconds, 2),
            "cpu_s_per_answer": round(cpu / max(1, answers), 4),
            "client_cpu_share": round(client_cpu / (client_cpu + cpu), 3),
            "memory_mib": [round(memory, 1), round(memory_after, 1)],
            "healthz_p99_ms": round(1000 * sorted(health)[int(0.99 * (len(health) - 1))], 1),
        },
        "ratio_cpu": round(cpu / max(1, answers) / cpu_in_process, 3),
        "ratio_throughput": round(answers / asked.seconds / beside, 3),
        "queue_of_4": {"statuses": full, "healthz_p99_ms": round(1000 * sorted(full_health)[-1], 1)},
        "restart_s": round(restart(options), 2),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
