"""Load on a real server: 64 connections that ask again and again, beside the same calls in process, and LitServe.

    python -m venv build/litserve && build/litserve/bin/pip install '.[serve]' litserve
    python -m benchmarks.serving.load --litserve build/litserve/bin/python --out benchmarks/results/serving.json --fill

Client and server share the cores. So the throughput is compared with calls in process that are made while the same
client gets a stored answer, as often as the server gave one; and CPU seconds an answer, which do not depend on the
client, with those of the same calls. The exit code is 1 if a target is missed. ``--fill`` puts the figures into the
guide to serving. LitServe gets an environment of its own, because it brings another event loop.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import signal
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.run import fill
from benchmarks.serving.client import Asked, load, milliseconds, stored
from benchmarks.serving.requests import form, jpeg
from benchmarks.serving.server import LitServed, Served, Watched
from benchmarks.serving.sizing import GUIDE, sizing
from clsclip_runtime import Segmenter
from clsclip_serve.answers import document
from clsclip_serve.asked import Options

WORDS = ["dog", "boat", "fish"]
SIDE = 512
OPTIONS = ("--backend", "onnxruntime-cpu")
IMAGE = jpeg(SIDE)
KIND, BODY = form(IMAGE, WORDS)

MOST = {
    "ratio_cpu": 1.08, "healthz_p99_ms": 100.0, "growth_mib": 32.0, "refused_p99_ms": 500.0,
    "lost": 0.0, "restart_s": 3.0, "other_answers": 0.0, "exit_code": 0.0,
}  # fmt: skip
LEAST = {"ratio_throughput": 0.95}


def asked(server: Watched, connections: int, seconds: float, **more: Any) -> Asked:
    return Asked(server.host, server.port, KIND, BODY, connections, seconds, **more)


def in_process(seconds: float) -> tuple[float, float, bytes]:
    """Calls a second, CPU seconds of one, and the answer."""
    with Segmenter.load(backend="onnxruntime-cpu") as segmenter:

        def call() -> bytes:
            return json.dumps(document(segmenter(IMAGE, WORDS), Options(), "req", 0)).encode()

        for _ in range(3):
            answer = call()
        count, cpu, begun = 0, time.process_time(), time.monotonic()
        while time.monotonic() < begun + seconds:
            call()
            count += 1
        return count / (time.monotonic() - begun), (time.process_time() - cpu) / count, answer


def under_load(server: Watched, connections: int, seconds: float, **more: Any) -> dict[str, Any]:
    """What a server does under a load; its memory is looked at twenty times meanwhile."""
    single = load(asked(server, 1, min(5.0, seconds), **more))
    idle, cpu, memory = server.memory_mib, server.cpu_s, []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(seconds / 20):
            memory.append(round(server.memory_mib, 1))

    thread = threading.Thread(target=watch)
    thread.start()
    told = load(asked(server, connections, seconds, **more))
    over.set()
    thread.join()
    cpu, answers = server.cpu_s - cpu, told.counts.get("200", 0)
    half = len(memory) // 2
    return {
        "statuses": told.counts,
        "answers_per_s": told.per_s,
        "answers_per_s_of_1_connection": single.per_s,
        "answer_p50_ms": told.percentile("200", 0.5),
        "answer_p99_ms": told.percentile("200", 0.99),
        "cpu_s_per_answer": round(cpu / max(1, answers), 4),
        "client_cpu_share": round(told.cpu_s / (told.cpu_s + cpu), 3),
        "memory_mib": {"after_1_connection": round(idle, 1), "under_load": memory, "peak": round(server.peak_mib, 1)},
        "growth_mib": round(max(memory[half:]) - max(memory[:half]), 1) if half else None,
        "healthz_p99_ms": milliseconds(told.health, 0.99),
    }


def full_queue(connections: int, seconds: float) -> dict[str, Any]:
    """Beyond a queue of four."""
    with Served(*OPTIONS, "--queue", "4") as server:
        told = load(asked(server, connections, seconds))
    return {
        "statuses": told.counts,
        "refused_p50_ms": told.percentile("503", 0.5),
        "refused_p99_ms": told.percentile("503", 0.99),
        "other_answers": sum(count for status, count in told.counts.items() if status not in ("200", "503")),
        "healthz_p99_ms_when_full": milliseconds(told.health, 0.99),
    }


def ended_in_the_middle(connections: int, seconds: float) -> dict[str, Any]:
    """SIGTERM under load: what was accepted is answered; later connections are refused, which is no answer lost."""
    with Served(*OPTIONS) as server:

        def end() -> None:
            time.sleep(2 + seconds / 2)
            server.process.send_signal(signal.SIGTERM)

        told = load(asked(server, connections, seconds + 4, health=None, once=True), end)
        code = server.process.wait(60)
    fine = ("200", "503", "ConnectionRefusedError")
    return {
        "statuses": told.counts,
        "lost": sum(count for status, count in told.counts.items() if status not in fine),
        "exit_code": code,
    }


def killed() -> float:
    """Seconds from the start after kill -9 to the first answer."""
    with Served(*OPTIONS) as server:
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
    begun = time.perf_counter()
    with Served(*OPTIONS) as server:
        one = http.client.HTTPConnection(server.host, server.port, timeout=30)
        one.request("POST", "/v1/segment", BODY, {"Content-Type": KIND})
        if one.getresponse().status != 200:
            raise RuntimeError("the server that was started again does not answer")
        return round(time.perf_counter() - begun, 2)


def missed(found: Any, name: str = "") -> list[str]:
    """The targets that were not reached, wherever in the report they stand; LitServe has none."""
    if isinstance(found, dict):
        return [one for key, value in found.items() if key != "litserve" for one in missed(value, key)]
    if name in MOST and not (found is not None and found <= MOST[name]):
        return [f"{name} is {found}, and at most {MOST[name]} was wanted"]
    if name in LEAST and not found >= LEAST[name]:
        return [f"{name} is {found}, and at least {LEAST[name]} was wanted"]
    return []


def measure(seconds: float, connections: int, litserve: str | None) -> dict[str, Any]:
    alone, brief = min(seconds, 60.0), min(seconds, 20.0)
    first = in_process(alone / 2)
    with Served(*OPTIONS) as server:
        served = under_load(server, connections, seconds)
    second = in_process(alone / 2)
    per_s, cpu_s, answer = (first[0] + second[0]) / 2, (first[1] + second[1]) / 2, second[2]
    with stored(answer, connections / max(1.0, served["answers_per_s"])) as port:
        beside: list[float] = []
        same = Asked("127.0.0.1", port, KIND, BODY, connections, alone + 2, health=None)
        stored_told = load(same, lambda: beside.append(in_process(alone)[0]))
    other = None
    if litserve is not None:
        with LitServed(litserve) as server:
            other = under_load(server, connections, seconds, health="/health")
    report: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "asked": {"image": f"JPEG {SIDE}x{SIDE}", "words": WORDS, "connections": connections, "seconds": seconds},
        "in_process": {"calls_per_s": round(per_s, 2), "cpu_s_per_call": round(cpu_s, 4)},
        "in_process_beside_stored_answers": {
            "calls_per_s": round(beside[0], 2),
            "stored_answers_per_s": stored_told.per_s,
        },
        "server": served,
        "litserve": other,
        "ratio_cpu": round(served["cpu_s_per_answer"] / cpu_s, 3),
        "ratio_throughput": round(served["answers_per_s"] / beside[0], 3),
        "queue_of_4": full_queue(connections, brief),
        "sigterm": ended_in_the_middle(min(connections, 32), min(brief, 6.0)),
        "restart_s": killed(),
    }
    return {**report, "missed": missed(report)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180, help="of the load; other steps take at most 60")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--litserve", metavar="PYTHON", help="an interpreter that has litserve")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fill", action="store_true", help="put the figures into the guide")
    wanted = parser.parse_args()
    report = measure(wanted.seconds, wanted.connections, wanted.litserve)
    text = json.dumps(report, indent=1)
    print(text)
    if wanted.out is not None:
        wanted.out.parent.mkdir(parents=True, exist_ok=True)
        wanted.out.write_text(text + "\n", "utf-8")
    if wanted.fill:
        fill(GUIDE, {"sizing": sizing(report)})
    return 1 if report["missed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
