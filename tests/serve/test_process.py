"""The command: it serves, is asked to stop in the middle of requests, and loses none of them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from clsclip_serve import connections
from clsclip_serve.cli import main
from clsclip_serve.server import _Server
from tests.serve.test_api import image

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


def start(bundle: Path | None, *options: str) -> tuple[subprocess.Popen[str], str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    model = [] if bundle is None else ["--model", str(bundle)]
    command = [sys.executable, "-m", "clsclip_serve.cli", *model, "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths})
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"serving on (http://\S+)", line):
            return process, found[1]
    raise AssertionError("".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_loses_no_accepted_request(bundle: Path, number: signal.Signals) -> None:
    process, address = start(bundle, "--backend", "onnxruntime-cpu", "--threads", "1")
    assert address.startswith("http://127.0.0.1:")

    def ask(_: int) -> int:
        form = {"classes": ["red", "green"]}
        try:
            return httpx.post(
                f"{address}/v1/segment", files={"image": ("a", image())}, data=form, timeout=30
            ).status_code
        except httpx.ConnectError:
            return 0  # it listens no more; a connection that was made is answered

    try:
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask, number) for number in range(40)]
            assert answers[4].result(30) == 200
            process.send_signal(number)
            codes = [one.result(30) for one in answers]
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert set(codes) <= {200, 503, 0}, codes
    assert process.returncode == 0
    assert codes.count(200) >= 5


@pytest.mark.slow
def test_quiet_clients_are_told_and_others_are_served(bundle: Path) -> None:
    """Half a head, nothing at all, a body that does not come, and one that is refused while it still comes."""
    process, address = start(bundle, "--backend", "onnxruntime-cpu", "--threads", "1", "--upload-timeout", "1",
                             "--max-upload-mb", "1")  # fmt: skip
    host, port = address.removeprefix("http://").split(":")
    head = b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    sent = {"": b"408", "POST /v1": b"408", "slow": b"408", "large": b"413"}
    try:
        opened = {}
        for name in sent:
            one = opened[name] = socket.create_connection((host, int(port)), 30)
            if name == "slow":
                one.sendall(head + b"Content-Length: 100\r\n\r\n{")
            elif name == "large":
                one.sendall(head + b"Content-Length: 3000000\r\n\r\n" + bytes(2_900_000))
                time.sleep(0.5)
                one.sendall(bytes(100_000))  # it would be reset by now
            else:
                one.sendall(name.encode())
        assert httpx.get(f"{address}/healthz").status_code == 200
        for name, code in sent.items():
            answer = b""
            while b'"status"' not in answer.replace(b" ", b"") and (part := opened[name].recv(65536)):
                answer += part
            assert answer.startswith(b"HTTP/1.1 " + code), name
            assert b"problem+json" in answer and b"detail" in answer, name
            opened[name].close()
    finally:
        process.kill()
        process.communicate()


def test_who_is_in_the_backlog_when_the_server_ends_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LAST_S", 0.2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def run() -> bytes:
        config = uvicorn.Config(app, port=0, lifespan="off", http=connections.WatchedProtocol, log_level="error")
        config.load()
        server = _Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 10) as one:  # nothing is awaited: the loop accepts nobody
            one.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.shutdown()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 10)
            return one.recv(1000)

    answer = asyncio.run(run())
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"ok")


@pytest.mark.slow
def test_what_is_no_http_is_told_and_not_reset(bundle: Path) -> None:
    process, address = start(bundle, "--backend", "onnxruntime-cpu", "--threads", "1")
    host, port = address.removeprefix("http://").split(":")
    line = b"POST /v1/segment HTTP/1.1\r\nHost: a\r\n"
    sent = {
        "many heads": line + b"X-A: b\r\n" * 200_000 + b"\r\n",
        "a long head": line + b"X-A: " + b"b" * 5_000_000 + b"\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
        "chunks": line + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    }
    try:
        for name, data in sent.items():
            with socket.create_connection((host, int(port)), 30) as one:
                one.sendall(data)  # all of it is read
                answer = b""
                while part := one.recv(65536):
                    answer += part
            assert answer.startswith(b"HTTP/1.1 400 ") and b"problem+json" in answer, name
            assert answer.count(b"HTTP/1.1") == 1 and b"no HTTP that can be read" in answer, name
        with socket.create_connection((host, int(port)), 30) as one:  # it sends no more, and listens
            one.sendall(line + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
            one.shutdown(socket.SHUT_WR)
            assert b"the body ended before" in one.recv(65536)
        with socket.create_connection((host, int(port)), 30) as one:  # it leaves in the middle of a body
            one.sendall(line + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        time.sleep(0.3)
        assert httpx.get(f"{address}/healthz").status_code == 200
        assert 'code="499"' in httpx.get(f"{address}/metrics").text
        process.terminate()
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in told


def test_bad_options_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "none")]) == 1
    assert "no such bundle" in capsys.readouterr().err
    for batch in ("0", "many", "-1"):
        assert main(["--batch", batch]) == 2
        assert "batch must be" in capsys.readouterr().err
    assert main(["--label-studio", "nowhere"]) == 2
    assert "label_studio must be an address" in capsys.readouterr().err
    assert main(["--queue", "0"]) == 2
    assert "queue must be" in capsys.readouterr().err
    (tmp_path / "keys").write_text("short\n")
    assert main(["--api-keys", str(tmp_path / "keys")]) == 2
    assert "fewer than 16" in capsys.readouterr().err
