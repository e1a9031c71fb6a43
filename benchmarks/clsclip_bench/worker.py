"""The process of one case: ``python -m clsclip_bench.worker``, told what to do by lines of JSON.

It is alone in its process from before the first import, so what it measures of loading and memory is its own. An answer
is one line of JSON; whatever libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import IO, Any

from clsclip_bench.case import Case, Spec, Workload
from clsclip_bench.memory import gpu_memory_mib, peak_memory_mib
from clsclip_runtime.documents import parse_json


class Worker:
    """Answers requests about one case."""

    def __init__(self) -> None:
        """Nothing is loaded yet."""
        self._case: Case | None = None
        self._on_gpu = False
        self._gpu_before: float | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request asks."""
        do = request["do"]
        if do == "load":
            return self._load(Spec(**request["spec"]))
        if self._case is None:
            raise RuntimeError(f"{do} before load")
        if do == "prepare":
            self._case.prepare(Workload(**request["workload"]))
            return {}
        if do == "round":
            return self._round(self._case, request["seconds"])
        if do == "facts":
            return self._case.facts()
        if do == "logits":
            return self._logits(self._case, request["path"])
        if do == "memory":
            return self._memory()
        raise RuntimeError(f"unknown request {do!r}")

    def _load(self, spec: Spec) -> dict[str, Any]:
        self._on_gpu = spec.device == "gpu"
        if self._on_gpu:
            self._gpu_before = gpu_memory_mib()
        start = time.perf_counter()
        self._case = spec.make()
        self._case.load()
        return {"seconds": time.perf_counter() - start}

    def _round(self, case: Case, seconds: float) -> dict[str, Any]:
        """Call until ``seconds`` have passed, once at least."""
        calls: list[dict[str, float]] = []
        begin = time.perf_counter()
        while not calls or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            figures = case.call()
            calls.append({**figures, "whole": time.perf_counter() - start})
        return {"calls": calls}

    def _logits(self, case: Case, path: str) -> dict[str, Any]:
        import numpy as np

        logits = case.logits()
        if logits is None:
            return {"shape": None}
        np.save(path, np.asarray(logits, np.float32), allow_pickle=False)
        return {"shape": list(logits.shape)}

    def _memory(self) -> dict[str, Any]:
        used = gpu_memory_mib() if self._on_gpu else None
        known = used is not None and self._gpu_before is not None
        return {"mib": peak_memory_mib(), "gpu_mib": used - self._gpu_before if known else None}  # type: ignore[operator]


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer every line until there are no more."""
    worker = Worker()
    for line in requests:
        try:
            answer = worker.answer(parse_json(line))
        except Exception as error:  # whatever a case raises is the row's reason, told by the parent
            answer = {"error": reason_of(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def reason_of(error: Exception) -> str:
    """An error on one line; its type is told where the message is not one of ours, which speak for themselves."""
    text = " ".join(str(error).split())
    ours = any(base.__name__ == "ClsclipRuntimeError" for base in type(error).__mro__)
    return text if ours and text else f"{type(error).__name__}: {text}"


def _end_with(parent: int) -> None:
    """End this process, whatever it does, when its parent is gone: a call may take hours, and nobody waits for it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Serve the parent; standard output is its alone."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
