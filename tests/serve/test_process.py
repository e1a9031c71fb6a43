"""The command: it serves, is asked to stop in the middle of requests, and loses none of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from clsclip_serve.cli import main
from tests.serve.test_api import image

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


def start(bundle: Path | None, *options: str) -> tuple[subprocess.Popen[str], str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    model = [] if bundle is None else ["--model", str(bundle)]
    command = [sys.executable, "-m", "clsclip_serve.cli", *model, "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths})
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://\S+", line)
    assert found is not None, line + process.stderr.read()
    return process, found[0]


@pytest.mark.slow
def test_sigterm_loses_no_accepted_request(bundle: Path) -> None:
    process, address = start(bundle, "--backend", "onnxruntime-cpu", "--threads", "1")
    assert address.startswith("http://127.0.0.1:")

    def ask(number: int) -> int:
        form = {"classes": ["red", "green"]}
        try:
            return httpx.post(
                f"{address}/v1/segment", files={"image": ("a", image())}, data=form, timeout=30
            ).status_code
        except httpx.TransportError:
            return 0  # it listens no more, and had not taken the connection

    try:
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask, number) for number in range(40)]
            assert answers[4].result(30) == 200
            process.send_signal(signal.SIGTERM)
            codes = [one.result(30) for one in answers]
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert set(codes) <= {200, 503, 0}, codes
    assert process.returncode == 0
    assert codes.count(200) >= 5


def test_bad_options_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "none")]) == 1
    assert "no such bundle" in capsys.readouterr().err
    assert main(["--queue", "0"]) == 2
    assert "queue must be" in capsys.readouterr().err
    (tmp_path / "keys").write_text("short\n")
    assert main(["--api-keys", str(tmp_path / "keys")]) == 2
    assert "fewer than 16" in capsys.readouterr().err
