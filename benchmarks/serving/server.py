"""A server's process for a measurement: started on a free port, watched from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Served:
    """``clsclip-serve`` with some options, until the block ends."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "clsclip_serve.cli", "--port", "0", "--batch", "1", *options]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"serving on http://([0-9.]+):([0-9]+)", line):
                self.host, self.port = found[1], int(found[2])
                self.address = f"http://{self.host}:{self.port}"
                return
        raise RuntimeError("the server did not start")

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def _status(self, key: str) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        found = re.search(rf"^{key}:\s+([0-9]+)", text, re.M)
        assert found is not None
        return int(found[1])

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
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
