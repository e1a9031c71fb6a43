"""A case's process, seen from the one that measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from clsclip_bench.case import Spec, Workload
from clsclip_runtime.documents import parse_json
from clsclip_runtime.errors import ClsclipRuntimeError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_CACHE_VARIABLE = "CLSCLIP_CACHE"
_SECONDS_TO_END = 10


def variables_of(threads: int | None, cache: Path | None = None) -> dict[str, str]:
    """Environment variables of cases.

    Args:
        threads: of libraries that are told so; None is their own choice.
        cache: folder of encoded words, so that a run leaves nothing in the user's own; None leaves that as it is.
    """
    variables = {} if threads is None else dict.fromkeys(_THREAD_VARIABLES, str(threads))
    if cache is not None and _CACHE_VARIABLE not in os.environ:
        variables[_CACHE_VARIABLE] = str(cache)
    return variables


class CaseError(ClsclipRuntimeError):
    """A case could not do its work; the message is its reason."""


class CaseProcess:
    """One case in a process of its own; a context manager that ends it."""

    def __init__(self, spec: Spec, variables: Mapping[str, str] | None = None) -> None:
        """Start the process; nothing is loaded yet. ``variables`` are added to the environment."""
        self.spec = spec
        environment = {**os.environ, **(variables or {})}
        # Factories may lie beside the program that measures; its own search path holds there as well.
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clsclip_bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent, which keeps what was measured
        )

    def load(self) -> float:
        """Load the case; seconds that it took, imports included. CaseError if it cannot."""
        return float(self.ask("load", spec=self.spec.to_json())["seconds"])

    def prepare(self, workload: Workload) -> None:
        """Make the inputs of a workload."""
        self.ask("prepare", workload={"crops": workload.crops, "classes": workload.classes})

    def round(self, seconds: float = 0.0) -> list[dict[str, float]]:
        """Call until ``seconds`` have passed, once at least; figures of every call, ``whole`` in seconds."""
        calls: list[dict[str, float]] = self.ask("round", seconds=seconds)["calls"]
        return calls

    def facts(self) -> dict[str, Any]:
        """What is known of the last call."""
        return self.ask("facts")

    def logits(self, path: Path) -> bool:
        """Write the last call's logits to ``path`` (``.npy``); False where there are none."""
        return self.ask("logits", path=str(path))["shape"] is not None

    def memory(self) -> dict[str, float | None]:
        """Peak memory so far: ``mib``, and ``gpu_mib`` on a GPU; None where it is not known."""
        return self.ask("memory")

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            CaseError: the case raised an error, or its process ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None or stdin.closed:
            raise CaseError(f"the process of {self.spec.name} was closed")
        try:
            stdin.write(json.dumps({"do": do, **details}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except (OSError, ValueError) as error:
            raise CaseError(f"{self.spec.name} does not answer ({error}). {self._last_words()}") from error
        if not line:
            raise CaseError(f"the process of {self.spec.name} ended. {self._last_words()}")
        answer: dict[str, Any] = parse_json(line)
        if "error" in answer:
            raise CaseError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process, whatever it does."""
        process = self._process
        process.kill()
        process.wait(_SECONDS_TO_END)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was not sent yet is not needed any more
                    continue
        self._errors.close()

    def __enter__(self) -> CaseProcess:
        """The process itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    def _last_words(self) -> str:
        """The end of what it wrote to standard error, and how it ended."""
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            code = None
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        reason = "it ran out of memory, or was killed" if code == -9 else f"exit code {code}"
        return f"{reason}: {lines[-1][:300]}" if lines else f"({reason})"
