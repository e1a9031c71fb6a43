"""A real Triton, and clsclip-serve, by one client: the same answers as the runtime's.

The environment variable CLSCLIP_TRITON names a virtual environment with nvidia-pytriton, tritonclient[http], numpy<2
and what ``clsclip[serve]`` needs. The wheel's server has the Python backend alone, so models of ONNX Runtime are played
by stand-ins in Python that run the same files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsclip_export.triton import Repository, write_repository
from clsclip_runtime import Segmenter
from clsclip_runtime.bundle.opening import EMBEDDED
from clsclip_runtime.results.codecs.coco_rle import encode_rle
from tests.serve.test_process import start

ENVIRONMENT = os.environ.get("CLSCLIP_TRITON", "")
ROOT = Path(__file__).parents[2]
WORDS = (
    *("dog", "fish", "pizza", "boat", "bottle", "cat", "tree", "car", "bird", "apple"),
    *("snake", "folder", "horse", "sheep", "cup", "ball", "key", "book", "clock", "shoe"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ENVIRONMENT, reason="there is no Triton here: see CLSCLIP_TRITON"),
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # pycocotools and numpy 2
]

PATIENT = (
    *("--allow-gpu-metrics=false", "--model-load-thread-count=1"),
    "--backend-config=python,stub-timeout-seconds=120",  # of a busy machine
)

STAND_IN = """
import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, args):
        file = Path(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        self.batched = json.loads(args["model_config"])["max_batch_size"] > 0
        self.names = [one.name for one in self.session.get_outputs()]

    def execute(self, requests):
        answers = []
        for request in requests:
            feeds = {one.name(): one.as_numpy() for one in request.inputs()}
            found = self.session.run(self.names, feeds)
            answers.append(utils.InferenceResponse([utils.Tensor(n, a) for n, a in zip(self.names, found)]))
        return answers
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def triton(repository: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """A server of a repository: its address, and that of its metrics."""
    (site,) = Path(ENVIRONMENT).glob("lib/python3*/site-packages")
    python = subprocess.run(
        [f"{ENVIRONMENT}/bin/python", "-c", "import sys, sysconfig; print(sysconfig.get_config_var('LIBDIR'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    version = re.search(r"python(3\.\d+)", str(site))
    assert version is not None
    carried, backend = site / "pytriton/tritonserver", folder / "backends/python"
    shutil.copytree(carried / "backends/python", backend)
    shutil.copy(carried / f"python_backend_stubs/{version[1]}/triton_python_backend_stub", backend)
    (site / "clsclip.pth").write_text(f"{ROOT / 'runtime'}\n")  # what pip install would do
    ports = [free_port() for _ in range(3)]
    command = [carried / "bin/tritonserver", "--model-repository", repository, "--backend-directory", backend.parent]
    for name, port in zip(("http", "grpc", "metrics"), ports, strict=True):
        command += [f"--{name}-address", "127.0.0.1", f"--{name}-port", str(port)]
    libraries = f"{python.stdout.strip()}:{site / 'nvidia_pytriton.libs'}"
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [*map(str, command), *PATIENT],
        stdout=log, stderr=log, env=os.environ | {"LD_LIBRARY_PATH": libraries, "PYTHONPATH": ""},
    )  # fmt: skip
    try:
        until = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/v2/health/ready", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-4000:]
                time.sleep(0.2)
        yield f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[2]}/metrics"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            log.close()


def repository(out: Path, layout: str, **more: Any) -> Path:
    write_repository(EMBEDDED, out, Repository(layout, environment=Path(ENVIRONMENT), **more))
    for config in out.glob("*/config.pbtxt"):
        text = config.read_text()
        if 'backend: "onnxruntime"' in text:
            text = text.replace('backend: "onnxruntime"', 'backend: "python"')
            config.write_text(
                text + f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{ENVIRONMENT}" }} }}\n'
            )
            (config.parent / "1/model.py").write_text(STAND_IN)
    return out


def load(url: str, images: Path, out: Path, requests: int, clients: int) -> Any:
    script = ROOT / "tests/serve/triton_load.py"
    arguments = [url, images, ",".join(WORDS), requests, clients, out]
    subprocess.run(
        [f"{ENVIRONMENT}/bin/python", script, *map(str, arguments)], check=True, timeout=900,
        env=os.environ | {"PYTHONPATH": ""},
    )  # fmt: skip
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name in ("cluttered.png", "tiny.png"):
        shutil.copy(ROOT / "examples" / name, folder)
    (folder / "bad.png").write_bytes((folder / "tiny.png").read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def expected(images: Path) -> Iterator[Callable[[str, list[str]], tuple[list[str], list[float]]]]:
    with Segmenter.load(None, "onnxruntime-cpu", word_cache=False) as segmenter:
        features = {path.name: segmenter.set_image(path) for path in images.iterdir() if path.name != "bad.png"}

        def ask(name: str, words: list[str]) -> tuple[list[str], list[float]]:
            result = segmenter.predict(words, image=features[name])
            masks = [encode_rle(one.rle())["counts"] if one.area else "" for one in result]
            return masks, [float("nan") if one.presence is None else one.presence for one in result]

        yield ask


def compare(found: Any, expected: Any) -> None:
    checked = 0
    for answer in found["answers"]:
        if answer["file"] == "bad.png":
            assert "damaged" in answer["error"] and answer["status"] == "400", answer
            continue
        masks, presence = expected(answer["file"], answer["words"])
        assert answer["masks"] == masks, (answer["file"], answer["words"])
        assert np.allclose(answer["presence"], presence, atol=1e-5)
        checked += 1
    assert checked > len(found["answers"]) // 2


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir() if "triton" in path.name}


COUNT = int(os.environ.get("CLSCLIP_TRITON_REQUESTS", "120"))


@pytest.mark.parametrize("layout", ["python", "graphs"])
def test_layouts(layout: str, images: Path, expected: Any, tmp_path: Path, capsys: Any) -> None:
    before = shared_memory()
    with triton(repository(tmp_path / "repository", layout, queue=1000), tmp_path) as (url, metrics):
        found = load(url, images, tmp_path / "answers.json", COUNT, 16)
        told = urllib.request.urlopen(metrics).read().decode()
    compare(found, expected)
    counts = {
        name: float(value)
        for name, value in re.findall(r'nv_inference_(\w+)\{model="clsclip",version="1"\} (\S+)', told)
    }
    assert counts["count"] > counts["exec_count"] * 1.5, "requests with other numbers of words share no execution"
    assert shared_memory() <= before
    seconds = sorted(one["seconds"] for one in found["answers"])
    rate, together = len(seconds) / found["seconds"], counts["count"] / counts["exec_count"]
    half, last = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
    with capsys.disabled():
        print(f"\n{layout}: {rate:.1f} requests a second, p50 {half:.2f} s, p99 {last:.2f} s, {together:.1f} together")


def test_a_full_queue_is_told(images: Path, tmp_path: Path) -> None:
    with triton(repository(tmp_path / "repository", "python", queue=2, batch=1), tmp_path) as (url, _):
        found = load(url, images, tmp_path / "answers.json", 60, 16)
    refused = [one for one in found["answers"] if "Exceeds maximum queue size" in one.get("error", "")]
    assert refused and {one["status"] for one in refused} == {"503"}
    assert [one for one in found["answers"] if "masks" in one]


def test_the_server_gives_the_same(images: Path, expected: Any, tmp_path: Path) -> None:
    process, address = start(None, "--backend", "onnxruntime-cpu", "--queue", "100")
    try:
        found = load(address.removeprefix("http://"), images, tmp_path / "answers.json", COUNT, 16)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    compare(found, expected)
