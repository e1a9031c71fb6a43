"""``clsclip-infer-cpp``: pictures in, files and JSON out, and the exit codes of ``clsclip-infer``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import Segmenter
from tests.cpp.c_api import ROOT
from tests.runtime.tiny_bundle import paint

TINY = ROOT / "runtime" / "cpp" / "tests" / "tiny.clsclip"
PROGRAM = "CLSCLIP_INFER_CPP"
"""Environment variable with the program; else the one that ``make cpp`` builds."""

SCENE = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = Path(os.environ.get(PROGRAM, ROOT / "build" / "cpp" / "tools" / "clsclip-infer-cpp"))
    if not program.is_file():
        pytest.skip(f"the C++ command line is not built: {program} (make cpp, or set {PROGRAM})")
    words = [str(program), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(SCENE).save(path)
    return path


def test_files(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(
        photo, "--classes", "red", "green", "blue", "--bundle", TINY, "--out", out, "--formats", "png,overlay,coco"
    )
    assert done.returncode == 0, done.stderr
    assert "blue: absent" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        *("photo_blue.png", "photo_coco.json", "photo_green.png", "photo_overlay.png", "photo_red.png")
    ]
    with Segmenter.load(TINY, threads=1) as segmenter:
        mine = segmenter(SCENE, ["red", "green", "blue"])
    for word in ("red", "green", "blue"):
        assert (np.asarray(Image.open(out / f"photo_{word}.png")) == mine.mask(word) * 255).all()
    document = json.loads((out / "photo_coco.json").read_text("utf-8"))
    assert [one["category_id"] for one in document["annotations"]] == [1, 2]
    assert document["annotations"][0]["segmentation"] == mine.to_coco()["annotations"][0]["segmentation"]
    assert document["annotations"][0]["bbox"] == [5, 5, 14, 10]
    assert np.asarray(Image.open(out / "photo_overlay.png")).shape == (32, 32, 3)


def test_json(photo: Path, tmp_path: Path) -> None:
    done = run(photo, "--classes", "red", "blue", "--bundle", TINY, "--json", "--presence-threshold", "0.9")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    red, blue = document["classes"]
    assert (red["verdict"], red["area"], red["box"]) == ("found", 140, [5, 5, 14, 10])
    assert (blue["verdict"], blue["area"], blue["box"]) == ("absent", 0, None)
    assert document["presence_threshold"] == 0.9
    assert not list(tmp_path.glob("**/*overlay*"))


def test_regions(photo: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{"image": "photo.png", "class": "green", "bbox": [8, 20, 8, 8]}]), "utf-8")
    done = run(
        photo, "--classes", "red", "greens", "--bundle", TINY, "--regions", boxes, "--json", "--on-missing", "empty"
    )
    assert done.returncode == 0, done.stderr
    red, green = json.loads(done.stdout)["classes"]
    assert (red["looked_at"], red["area"]) == ("nowhere", 0)
    assert (green["looked_at"], green["match"]["how"]) == ("regions", "plural")
    boxes.write_text('[{"image": "photo.png", "bbox": [1, 2, 3]}]', "utf-8")
    done = run(photo, "--classes", "red", "--bundle", TINY, "--regions", boxes)
    assert done.returncode == 1 and "entry 0: bbox must be four numbers" in done.stderr


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    """As Pillow turns it; JPEG blurs edges, so areas are compared."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    wide = np.ascontiguousarray(SCENE[:24])
    Image.fromarray(wide).resize((256, 192), Image.Resampling.NEAREST).save(path, quality=95, exif=exif)
    done = run(path, "--classes", "red", "--bundle", TINY, "--out", tmp_path / "out", "--formats", "png")
    assert done.returncode == 0, done.stderr
    with Segmenter.load(TINY, threads=1) as segmenter:
        mine = segmenter(path, ["red"]).mask("red")
    theirs = np.asarray(Image.open(tmp_path / "out" / "turned_red.png")) > 0
    assert theirs.shape == mine.shape
    assert (mine & theirs).sum() >= 0.99 * (mine | theirs).sum() > 0


def test_a_picture_that_fails_does_not_stop_the_others(photo: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jpg"
    Image.fromarray(SCENE).resize((256, 256)).save(cut)
    cut.write_bytes(cut.read_bytes()[:900])
    done = run(cut, tmp_path / "none.png", photo, "--classes", "red", "--bundle", TINY, "--json")
    assert done.returncode == 1
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert "damaged or incomplete" in documents[0]["error"]
    assert "no such file" in documents[1]["error"]
    assert documents[2]["classes"][0]["verdict"] == "found"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "red", "--bundle", TINY], "no PICTURE was given"),
        (["x.png", "--bundle", TINY], "no words were given"),
        (["x.png", "--classes", "red", "--bundle", "none"], "no such bundle: none"),
        (["x.png", "--classes", "red", "--bundle", TINY, "--threads", "0"], "--threads must be a number from 1"),
        (["x.png", "--classes", "red", "--bundle", TINY, "--threads", "two"], "--threads must be a number"),
        (["x.png", "--classes", "red", "--bundle", TINY, "--formats", "gif"], "no format 'gif'"),
        (["x.png", "--classes", "red", "--bundle", TINY, "--speed"], "no option --speed"),
        (["x.png", "--classes", "red", "--bundle", TINY, "--out"], "--out needs a value"),
        (["x.png", "--classes", "red", "--bundle", TINY, "--backend", "cuda"], "no backend 'cuda'"),
        ([ROOT / "examples" / "tiny.png", "--classes", " ", "--bundle", TINY], "a class word is empty"),
    ],
)
def test_wrong_use(arguments: list[object], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_help_and_version() -> None:
    assert run("--help").stdout.startswith("Usage: clsclip-infer-cpp")
    assert run("--version").stdout.startswith("clsclip-infer-cpp ")
