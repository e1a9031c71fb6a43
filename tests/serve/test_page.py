"""The page in a real Chromium: what is on its canvas is the mask, whatever the width of its window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from clsclip_runtime import Segmenter
from clsclip_serve.app import PAGE
from tests.serve.test_process import start

IMAGE = Path(__file__).parents[2] / "examples" / "cluttered.png"
MOST_BYTES = 40_000
READ = """() => {
  const canvas = document.getElementById("masks");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const found = [];
  for (let at = 3; at < pixels.length; at += 4) found.push(pixels[at] ? 1 : 0);
  return [canvas.width, canvas.height, found.join("")];
}"""


def test_the_page_is_small_and_loads_nothing_from_outside(client: TestClient) -> None:
    files = [path for path in PAGE.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    for path in files:
        assert "//" not in path.read_text("utf-8").replace("// ", ""), path.name
        served = client.get("/" if path.name == "index.html" else f"/page/{path.name}")
        assert served.content == path.read_bytes()
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert client.get("/page/../app.py").status_code == 404


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    process, place = start(None, "--backend", "onnxruntime-cpu")
    yield place
    process.terminate()
    process.communicate(timeout=30)


def masks(page: Any) -> np.ndarray[Any, Any]:
    width, height, text = page.evaluate(READ)
    return np.frombuffer(text.encode(), np.uint8).reshape(height, width) == ord("1")


def ready(page: Any) -> None:
    page.wait_for_selector("#chips[aria-busy=false] .chip", timeout=30_000)


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_masks_on_the_canvas_are_the_runtimes(browser: Any, address: str, width: int, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.set_input_files("#file", IMAGE)
    page.wait_for_selector("#view:not([hidden])")
    assert not page.is_visible("#drop")
    page.fill("#word", "dog, boat, zebra")
    page.press("#word", "Enter")
    ready(page)
    with Segmenter.load(backend="onnxruntime-cpu") as segmenter:
        result = segmenter(IMAGE, ["dog", "boat", "zebra"])
    assert np.array_equal(masks(page), result["dog"].mask | result["boat"].mask)
    names = page.locator(".chip .name").all_inner_texts()
    assert names == ["dog", "boat", "zebra"]
    assert "absent" in page.locator(".chip").nth(2).inner_text()
    page.locator(".chip").nth(1).click()
    page.mouse.move(1, 1)
    assert np.array_equal(masks(page), result["dog"].mask)
    page.locator(".chip").nth(1).hover()
    assert np.array_equal(masks(page), result["boat"].mask)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("#view").bounding_box()["height"] <= 900
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert problems == []
    page.close()


@pytest.mark.slow
def test_errors_are_told_in_the_page_and_coco_is_saved(browser: Any, address: str, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(address)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page.set_input_files("#file", broken)
    page.wait_for_selector("#error:not([hidden])")
    assert "is not a picture" in page.inner_text("#error")
    page.fill("#word", "dog")
    page.press("#word", "Enter")
    assert "Choose a picture first" in page.inner_text("#error")
    page.set_input_files("#file", IMAGE)
    ready(page)
    with page.expect_download() as download:
        page.click("#coco")
    document = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert [one["name"] for one in document["categories"]] == ["dog"]
    assert document["annotations"][0]["area"] > 0
    page.route("**/v1/**", lambda route: route.abort())
    page.fill("#word", "boat")
    page.press("#word", "Enter")
    page.wait_for_selector("#error:not([hidden])")
    assert "does not answer" in page.inner_text("#error")
    page.close()
