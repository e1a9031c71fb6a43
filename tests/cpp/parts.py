"""Parts of the C++ runtime as a program that answers questions, for tests that compare them with Python."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "runtime" / "cpp" / "tests" / "parts"


class PartsError(Exception):
    """What the library threw.

    Attributes:
        kind: the error's class, such as "BundleError".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Parts:
    """The running program. Not to be shared between threads."""

    def __init__(self, program: list[str]) -> None:
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def __call__(self, do: str, **arguments: Any) -> Any:
        """The answer to a question. Raises PartsError when the library refuses it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"clsclip-parts ended while it was asked {do!r}: exit code {self._process.wait()}"
        reply = json.loads(line)
        if "error" in reply:
            raise PartsError(reply["error"], reply["message"])
        return reply["answer"]

    def close(self) -> None:
        """End the program; what its sanitizers found is an error."""
        self._process.communicate(timeout=60)
        assert self._process.returncode == 0


def build() -> list[str]:
    """Build the program in ``build/cpp-parts`` and return its command; skips where it cannot be built.

    CLSCLIP_PARTS is another command, such as ``qemu-aarch64 build/other/clsclip-parts``.
    """
    if "CLSCLIP_PARTS" in os.environ:
        return shlex.split(os.environ["CLSCLIP_PARTS"])
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"the C++ runtime cannot be built here: there is no {tool}")
    folder = ROOT / "build" / "cpp-parts"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        _run("cmake", "-S", str(SOURCE), "-B", str(folder), "-DCLSCLIP_WERROR=ON", may_lack="nlohmann_json")
        _run("cmake", "--build", str(folder), "--parallel", "2", "--target", "clsclip-parts")
    return [str(folder / "clsclip-parts")]


def _run(*command: str, may_lack: str | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and may_lack and may_lack in done.stderr:
        pytest.skip(f"the C++ runtime cannot be built here: {may_lack} is not installed")
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
