"""The server as replicas of Ray Serve: one is killed in the middle, and no answer is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from clsclip_runtime import Segmenter
from clsclip_serve.options import ServerOptions
from tests.serve.test_api import WORDS
from tests.serve.test_api import image as drawn

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
COUNT = int(os.environ.get("CLSCLIP_RAY_REQUESTS", "300"))


@pytest.fixture(scope="module")
def address(cluster: None, bundle: Path) -> Any:
    from ray import serve

    from clsclip_serve.ray import app

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    made = app(str(bundle), "onnxruntime-cpu", min_replicas=2, max_replicas=2, options=ServerOptions(queue=16))
    serve.run(made, name="clsclip", route_prefix="/")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def ask(address: str, words: list[str], image: bytes | None = None) -> httpx.Response:
    files = {"image": ("a.png", drawn() if image is None else image)}
    return httpx.post(f"{address}/v1/segment", files=files, data={"classes": words}, timeout=60)


def test_it_is_the_same_application(address: str, segmenter: Segmenter) -> None:
    answer = ask(address, WORDS)
    assert answer.status_code == 200, answer.text
    wanted = segmenter(drawn(), WORDS).to_json()["classes"]
    found = answer.json()["classes"]
    assert [{key: value for key, value in one.items() if key != "mask"} for one in found] == wanted
    assert answer.headers["x-request-id"] == answer.json()["id"]
    wrong = ask(address, WORDS, b"no image")
    assert wrong.status_code == 400 and wrong.json()["detail"]
    assert ask(address, ["a" * 100_000]).status_code in (400, 413)
    assert httpx.get(f"{address}/v1/nothing").status_code == 404
    assert httpx.get(f"{address}/readyz").json() == {"status": "ready"}
    assert httpx.get(f"{address}/v2/models/clsclip").json()["name"] == "clsclip"


def replicas() -> list[int]:
    """Processes of replicas."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ServeReplica:clsclip" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_replica_is_killed(address: str, segmenter: Segmenter, capsys: Any) -> None:
    wanted = json.dumps(ask(address, WORDS).json()["classes"])
    killed = threading.Event()
    done: list[int] = []

    def one(number: int) -> tuple[int, str]:
        if number == COUNT // 2:
            os.kill(replicas()[0], signal.SIGKILL)
            killed.set()
        answer = ask(address, WORDS)
        done.append(answer.status_code)
        return answer.status_code, answer.text

    begun = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(COUNT)))
    seconds = time.monotonic() - begun
    assert killed.is_set() and len(done) == COUNT
    codes = Counter(code for code, _ in answers)
    for code, text in answers:
        assert code == 200 or (500 <= code < 600 and text.strip()), (code, text[:200])
        assert code != 200 or json.dumps(json.loads(text)["classes"]) == wanted
    assert codes[200] > COUNT * 0.7, codes
    assert ask(address, WORDS).status_code == 200
    with capsys.disabled():
        print(f"\n{COUNT} requests in {seconds:.1f} s: {dict(codes)}")


def test_a_flood_is_refused_with_a_reason(address: str) -> None:
    with ThreadPoolExecutor(150) as pool:
        answers = list(pool.map(lambda _: ask(address, WORDS), range(300)))
    codes = Counter(one.status_code for one in answers)
    assert set(codes) <= {200, 503} and codes[200] > 30, codes
    assert all(one.text.strip() for one in answers)
