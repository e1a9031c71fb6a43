"""The real Label Studio: an uploaded picture, a connected backend, and predictions equal to ``Result.mask``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from clsclip_runtime import Segmenter
from clsclip_runtime.results.codecs.brush import decode_brush
from tests.serve.test_process import start

PROGRAM = "CLSCLIP_LABEL_STUDIO"
"""Environment variable: the program ``label-studio`` of an environment of its own; it takes 1 GB."""

TOKEN = "0123456789abcdef0123456789abcdef01234567"
PICTURE = Path(__file__).parents[2] / "examples" / "cluttered.png"
WORDS = ["dog", "boat", "zebra"]
LABELS = "".join(f'<Label value="{one}"/>' for one in WORDS)
CONFIG = f"""<View><Image name="photo" value="$image"/><BrushLabels name="brush" toName="photo">{LABELS}</BrushLabels>
<TextArea name="prompt" toName="photo"/></View>"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    program = os.environ.get(PROGRAM)
    if program is None:
        pytest.skip(f"Label Studio is not here: set {PROGRAM}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("studio")
    command = [
        *(program, "start", "--no-browser", "--init", "--internal-host", "127.0.0.1", "--port", str(port)),
        *("--data-dir", str(folder), "--username", "a@b.example", "--password", "secret123", "--user-token", TOKEN),
    ]
    settings = {
        "ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false",
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "False", "LATEST_VERSION_CHECK": "False", "SENTRY_DSN": "",
    }  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | settings
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Token {TOKEN}"}, timeout=120
        ) as client:
            until = time.monotonic() + 240
            while True:
                try:
                    if client.get("/health").status_code == 200:
                        break
                except httpx.TransportError:
                    assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-2000:]
                time.sleep(0.5)
            yield client
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def told(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def masks(regions: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for one in regions:
        (name,) = one["value"]["brushlabels"]
        assert name not in found
        found[name] = decode_brush(one["value"]["rle"], (one["original_width"], one["original_height"])).mask()
    return found


def equal(found: dict[str, Any], wanted: Any) -> None:
    marked = {one.name: one.mask for one in wanted if one.area}
    assert set(found) == set(marked) and marked
    for name, mask in marked.items():
        assert np.array_equal(found[name], mask)


@pytest.mark.slow
def test_predictions_are_the_runtimes(studio: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(studio.base_url).rstrip("/")
    project = told(studio.post("/api/projects", json={"title": "words", "label_config": CONFIG}))["id"]
    with PICTURE.open("rb") as file:
        told(studio.post(f"/api/projects/{project}/import", files={"file": ("cluttered.png", file, "image/png")}))
    (task,) = told(studio.get("/api/tasks", params={"project": project}))["tasks"]
    assert task["data"]["image"].startswith("/data/upload/")
    with Segmenter.load(backend="onnxruntime-cpu") as segmenter:
        labels, typed = segmenter(PICTURE, WORDS), segmenter(PICTURE, {"boat": "fish"})

    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    process, server = start(None, "--backend", "onnxruntime-cpu", "--label-studio", address)
    try:
        sent = {"url": f"{server}/label-studio", "project": project, "title": "ClsCLIP", "is_interactive": True}
        backend = told(studio.post("/api/ml", json=sent))
        assert backend["state"] == "CO", "connected"
        told(
            studio.post(
                "/api/dm/actions",
                params={"id": "retrieve_tasks_predictions", "project": project},
                json={"selectedItems": {"all": True, "excluded": []}},
            )
        )
        (prediction,) = told(studio.get(f"/api/tasks/{task['id']}"))["predictions"]
        equal(masks(prediction["result"]), labels)

        drawn = [
            {"id": "a", "type": "textarea", "from_name": "prompt", "to_name": "photo", "value": {"text": ["fish"]}},
            {"id": "b", "type": "brushlabels", "from_name": "brush", "to_name": "photo",
             "value": {"brushlabels": ["boat"]}},
        ]  # fmt: skip
        sent_words = {"task": task["id"], "context": {"result": drawn}}
        answer = told(studio.post(f"/api/ml/{backend['id']}/interactive-annotating", json=sent_words))
        assert "errors" not in answer, answer
        equal(masks(answer["data"]["result"]), typed)

        other = told(studio.post("/api/projects", json={"title": "none", "label_config": "<View/>"}))["id"]
        refused = studio.post("/api/ml", json={**sent, "project": other})
        assert refused.status_code == 400
    finally:
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert "shows no Image" in log, "Label Studio shows the code alone"
