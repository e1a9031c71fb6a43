"""Servers' processes for a measurement: started on a free port, watched from outside."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

TICKS = os.sysconf("SC_CLK_TCK")
START_S = 120.0

_W = TypeVar("_W", bound="Watched")


class Watched:
    """A server's process and its children, until the block ends; ``options`` are the interpreter's arguments."""

    host = "127.0.0.1"
    port = 0

    def __init__(self, python: str, *options: str) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process; nobody reads a pipe)
        self.process = subprocess.Popen(
            [python, *options], stdout=self._log, stderr=self._log, env=environment, start_new_session=True
        )

    def __enter__(self: _W) -> _W:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> int:
        """Ask it to end, wait, and kill what is left of its own session; the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
            self._log.close()

    @property
    def told(self) -> str:
        """What it has printed."""
        self._log.flush()
        return os.pread(self._log.fileno(), 1 << 20, 0).decode("utf-8", "replace")

    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait until it is ready. RuntimeError with what it printed, if it does not come to that."""
        until = time.monotonic() + START_S
        while not ready():
            if not self.alive or time.monotonic() > until:
                told = self.told
                self.end()
                raise RuntimeError(f"the server did not start:\n{told[-2000:]}")
            time.sleep(0.02)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def _pids(self) -> list[int]:
        """Of its session, which is its own: the process and whatever it started."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                fields = _stat(int(folder.name))
                if fields and int(fields[3]) == self.process.pid:
                    found.append(int(folder.name))
        return found

    def _status(self, key: str) -> int:
        total = 0
        for pid in self._pids():
            try:
                text = Path(f"/proc/{pid}/status").read_text("utf-8")
            except OSError:
                continue
            found = re.search(rf"^{key}:\s+([0-9]+)", text, re.M)
            total += int(found[1]) if found else 0
        return total

    @property
    def memory_mib(self) -> float:
        return self._status("VmRSS") / 1024

    @property
    def peak_mib(self) -> float:
        return self._status("VmHWM") / 1024

    @property
    def threads(self) -> int:
        return self._status("Threads")

    @property
    def files(self) -> int:
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self._pids())

    @property
    def cpu_s(self) -> float:
        stats = [fields for pid in self._pids() if (fields := _stat(pid))]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS


class Served(Watched):
    """``clsclip-serve`` with some options."""

    def __init__(self, *options: str) -> None:
        super().__init__(sys.executable, "-m", "clsclip_serve.cli", "--port", "0", *options)
        self.wait(self._ready)

    def _ready(self) -> bool:
        found = re.search(r"serving on http://([0-9.]+):([0-9]+)", self.told)
        if found:
            self.host, self.port = found[1], int(found[2])
        return found is not None


class LitServed(Watched):
    """The same Segmenter behind LitServe, in an interpreter that has it."""

    def __init__(self, python: str) -> None:
        with socket.socket() as free:
            free.bind((self.host, 0))
            self.port = free.getsockname()[1]
        super().__init__(python, "-m", "benchmarks.serving.lit", str(self.port))
        self.wait(self._ready)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.port}/health", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` behind the name; none if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return []
