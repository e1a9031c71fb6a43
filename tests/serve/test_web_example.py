"""``examples/web`` in a real Chromium: the model runs in WebAssembly, and its masks are those of Python."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip.photographs import photographs
from clsclip_runtime import Segmenter
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.images import open_image, preprocess
from tests.serve.test_page import masks, ready

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "web"
JUDGE = ROOT / "examples" / "judge"
MODEL = ROOT / "runtime" / "clsclip_runtime" / "models" / "stickers.clsclip"
LEAST_IOU = 0.999
MOST_BYTES = 32_000
LIBRARIES = ("onnxruntime-web/dist/ort.wasm.bundle.min.mjs", "@huggingface/tokenizers/dist/tokenizers.min.mjs")

FIND = """async ([address, words]) => {
  const { decode } = await import("/picture.js"), { Segmenter } = await import("/segmenter.js");
  globalThis.loaded ??= Segmenter.load("model.clsclip");
  const one = await globalThis.loaded, pixels = await decode(await (await fetch(address)).blob());
  const image = await one.setImage(pixels), { classes, notes } = await one.find(image, words);
  const text = (mask) => { let all = ""; for (const pixel of mask) all += pixel; return all; };
  return { size: [pixels.width, pixels.height], notes, classes: classes.map(({ logits, ...rest }) =>
    ({ ...rest, mask: logits ? text(one.mask(image, logits)) : null })) };
}"""
PIXELS = """async ([address, spec]) => {
  const { decode } = await import("/picture.js"), { pixelValues } = await import("/resize.js");
  const values = pixelValues(await decode(await (await fetch(address)).blob()), spec);
  const bytes = new Uint8Array(values.buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return btoa(text);
}"""
DECODED = """async (address) => {
  const { decode } = await import("/picture.js");
  const { width, height, data } = await decode(await (await fetch(address)).blob());
  return [width, height, Array.from(data)];
}"""
TOKENS = """async (texts) => {
  const { Tokenizer } = await import("/node_modules/@huggingface/tokenizers/dist/tokenizers.min.mjs");
  const { tokenIds } = await import("/words.js");
  const tokenizer = new Tokenizer(await (await fetch("/model.clsclip/tokenizer.json")).json(), {});
  const { text } = await (await fetch("/model.clsclip/manifest.json")).json();
  const { ids, cut } = tokenIds(tokenizer, texts, text);
  return [Array.from(ids, Number), cut];
}"""
HOSTILE = [
    "Straße",
    "犬",
    "🐕",
    "ﬁsh",
    "ne\u0301e",
    "İzmir",
    "dog\u200bhouse",
    "Σίσυφος",
    "a " * 120,
    "it's",
    "x" * 250,
]


def test_the_example_is_small_and_names_what_it_needs() -> None:
    files = [path for path in EXAMPLE.iterdir() if path.suffix in (".html", ".css", ".js")]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    package = json.loads((EXAMPLE / "package.json").read_text("utf-8"))
    for path in files:
        text = path.read_text("utf-8")
        assert "http:" not in text and "https:" not in text, path.name
    imports = (EXAMPLE / "segmenter.js").read_text("utf-8")
    for library in LIBRARIES:
        assert f'from "./node_modules/{library}"' in imports
        assert any(library.startswith(f"{name}/") for name in package["dependencies"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a file server serves: the example, the two packages and the embedded model."""
    made = tmp_path_factory.mktemp("web") / "web"
    shutil.copytree(EXAMPLE, made, ignore=shutil.ignore_patterns("node_modules", "model.clsclip"))
    if (EXAMPLE / "node_modules").is_dir():
        (made / "node_modules").symlink_to(EXAMPLE / "node_modules")
    else:
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("the node packages of examples/web are not here, and there is no npm")
        done = subprocess.run([npm, "install"], cwd=made, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"the node packages of examples/web cannot be installed: {done.stderr[-300:]}")
    shutil.copytree(MODEL, made / "model.clsclip")
    shutil.copytree(JUDGE, made / "judge")
    Image.fromarray(photographs()[0]).save(made / "judge" / "photograph.png")
    return made


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Any file server, without its log; a browser that ends goes away in the middle of files."""

    def log_message(self, *arguments: Any) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with contextlib.suppress(ConnectionError):
            super().copyfile(source, outputfile)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    one = browser.new_page(viewport={"width": 360, "height": 900})
    one.goto(address)
    yield one
    one.close()


def iou(one: Any, other: Any) -> float:
    union = np.count_nonzero(one | other)
    return 1.0 if union == 0 else np.count_nonzero(one & other) / union


@pytest.mark.slow
@pytest.mark.network
def test_masks_of_twelve_pictures_are_those_of_python(page: Any) -> None:
    found = []
    with Segmenter.load(backend="onnxruntime-cpu") as segmenter:
        for one in json.loads((JUDGE / "words.json").read_text("utf-8")):
            words = [*one["shown"], *one["absent"]]
            result = segmenter(JUDGE / one["file"], words)
            told = page.evaluate(FIND, [f"/judge/{one['file']}", words])
            assert told["notes"] == list(result.notes) and tuple(told["size"]) == result.size
            for mine, theirs in zip(told["classes"], result, strict=True):
                assert mine["name"] == theirs.name
                assert mine["presence"] == pytest.approx(theirs.presence, abs=1e-5)
                assert (mine["status"], mine["reason"]) == (theirs.status, theirs.reason)
                if mine["mask"] is None:
                    assert theirs.area == 0
                    continue
                mask = np.frombuffer(mine["mask"].encode(), np.uint8).reshape(theirs.mask.shape) == ord("1")
                assert mine["area"] == np.count_nonzero(mask)
                found.append(iou(mask, theirs.mask))
    assert len(found) >= 24 and min(found) >= LEAST_IOU, found


@pytest.mark.slow
@pytest.mark.network
def test_a_photograph_is_told(page: Any) -> None:
    told = page.evaluate(FIND, ["/judge/photograph.png", ["dog"]])
    with Segmenter.load(backend="onnxruntime-cpu") as segmenter:
        result = segmenter(photographs()[0], ["dog"])
    assert told["notes"] == list(result.notes)
    assert "unlike what the model knows" in told["notes"][0]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_the_encoders_input_is_pythons_bit_for_bit(page: Any, folder: Path, interpolation: str) -> None:
    chance = np.random.default_rng(7)
    spec = dataclasses.replace(Bundle.open(MODEL).manifest.image, interpolation=interpolation)
    asked = {"size": spec.size, "mean": list(spec.mean), "std": list(spec.std), "interpolation": interpolation}
    for width, height in [(1, 1), (3, 700), (700, 3), (128, 128), (128, 90), (501, 333), (97, 241)]:
        path = folder / "judge" / f"noise_{width}_{height}.png"
        Image.fromarray(chance.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        values = np.frombuffer(base64.b64decode(page.evaluate(PIXELS, [f"/judge/{path.name}", asked])), np.float32)
        wanted = preprocess(open_image(path).image, spec)
        assert np.array_equal(values.reshape(wanted.shape), wanted), path.name


@pytest.mark.slow
@pytest.mark.network
def test_pictures_are_upright_and_transparency_lies_on_white(page: Any, folder: Path) -> None:
    chance = np.random.default_rng(3)
    small = Image.fromarray(chance.integers(0, 256, (4, 3, 3), np.uint8)).resize((90, 120), Image.Resampling.BICUBIC)
    clear = Image.fromarray(chance.integers(0, 256, (40, 30, 4), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it right
    small.save(folder / "judge" / "turned.jpg", exif=exif, quality=90)
    clear.save(folder / "judge" / "clear.png")
    for name, most in [("turned.jpg", 0), ("clear.png", 2)]:  # a canvas keeps colors multiplied by their alpha
        wanted = np.asarray(open_image(folder / "judge" / name).image)
        width, height, data = page.evaluate(DECODED, f"/judge/{name}")
        found = np.reshape(data, (height, width, 4))
        assert found.shape[:2] == wanted.shape[:2], name
        assert np.abs(found[..., :3] - wanted.astype(int)).max() <= most, name
        assert (found[..., 3] == 255).all()


@pytest.mark.slow
@pytest.mark.network
def test_token_ids_are_pythons(page: Any) -> None:
    from tokenizers import Tokenizer

    manifest = json.loads((MODEL / "manifest.json").read_text("utf-8"))
    texts = [*manifest["provenance"]["seen_words"], *HOSTILE]
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    length = manifest["text"]["context_length"]
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=manifest["text"]["pad_token_id"])
    (template,) = manifest["text"]["templates"]
    wanted = tokenizer.encode_batch([template.replace("{}", one.replace("Σ", "σ")) for one in texts])
    ids, cut = page.evaluate(TOKENS, texts)
    assert np.array_equal(np.reshape(ids, (len(texts), length)), [one.ids for one in wanted])
    assert cut == [text for text, one in zip(texts, wanted, strict=True) if one.overflowing]


@pytest.mark.slow
@pytest.mark.network
def test_the_page_finds_words_and_tells_errors(page: Any, tmp_path: Path) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.fill("#word", "eagle, spaghetti, robot")
    page.press("#word", "Enter")
    page.wait_for_selector("#error:not([hidden])")
    assert "Choose a picture first" in page.inner_text("#error")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.set_input_files("#file", tmp_path / "broken.png")
    page.wait_for_selector("#error:has-text('not a picture')")
    page.set_input_files("#file", JUDGE / "judge_0000.png")
    ready(page)
    with Segmenter.load(backend="onnxruntime-cpu") as segmenter:
        result = segmenter(JUDGE / "judge_0000.png", ["eagle", "spaghetti", "robot"])
    assert iou(masks(page), result["eagle"].mask | result["spaghetti"].mask) >= LEAST_IOU
    assert "absent: presence below" in page.locator(".chip").nth(2).inner_text()
    page.locator(".chip").nth(0).click()
    assert iou(masks(page), result["spaghetti"].mask) >= LEAST_IOU
    assert page.is_hidden("#error")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert problems == []


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("vision.weights", lambda body: body[:-1] + bytes([body[-1] ^ 1]), "is damaged"),
        ("trunk.onnx", lambda body: body[:-1], "is damaged"),
        ("tokenizer.json", lambda body: body + b" ", "is longer than"),
        ("manifest.json", lambda body: body[:-9], "is no JSON"),
        ("manifest.json", lambda body: body.replace(b'"schema_version": 2', b'"schema_version": 9'), "the format 9"),
    ],
)
def test_damaged_bundles_are_refused_in_plain_words(
    browser: Any, folder: Path, address: str, file: str, change: Callable[[bytes], bytes], told: str
) -> None:
    # Served as any file: 15 MB through the browser's debugging pipe came in pieces that took 20 minutes once.
    (folder / "damaged").mkdir(exist_ok=True)
    (folder / "damaged" / file).write_bytes(change((MODEL / file).read_bytes()))
    page = browser.new_page()
    page.route(f"**/model.clsclip/{file}", lambda route: route.continue_(url=f"{address}damaged/{file}"))
    page.goto(address)
    page.wait_for_selector("#error:not([hidden])", timeout=60_000)
    assert told in page.inner_text("#error")
    assert "There is no model" in page.inner_text("#model")
    page.close()


@pytest.mark.slow
@pytest.mark.network
def test_missing_packages_are_told(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.route("**/node_modules/**", lambda route: route.fulfill(status=404))
    page.goto(address)
    page.wait_for_selector("#error:not([hidden])")
    assert "npm install" in page.inner_text("#error")
    page.close()
