"""The examples do what their first lines say; the notebook runs, and shows what it shows in the repository."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pages import material

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(*command: str | Path) -> str:
    """What an example prints, from the project's folder as a reader would run it."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": programs, "CLSCLIP_CACHE": "off"}
    done = subprocess.run([str(one) for one in command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_list_names_every_example() -> None:
    listed = set(re.findall(r"^\| \[`([^`]+)`\]", (EXAMPLES / "README.md").read_text("utf-8"), re.MULTILINE))
    numbered = {path.name for path in EXAMPLES.iterdir() if re.match(r"\d\d_", path.name)}
    assert listed == numbered | {"quickstart.ipynb", "cpp/", "c/", "web/"}


@pytest.mark.long
def test_a_folder(tmp_path: Path) -> None:
    for turn in range(3):
        material.image(tmp_path / "in" / f"{turn}.png", turn)
    (tmp_path / "in" / "damaged.png").write_bytes(b"no picture")
    told = run(sys.executable, EXAMPLES / "01_folder.py", tmp_path / "in", tmp_path / "out", "fish", "pizza")
    assert told.count(".png: fish") >= 2 and "damaged.png" in told
    document = json.loads((tmp_path / "out" / "coco.json").read_text("utf-8"))
    assert [one["id"] for one in document["images"]] == [1, 2, 3]
    numbers = [one["id"] for one in document["annotations"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(list((tmp_path / "out").glob("*_overlay.png"))) == 3


@pytest.mark.long
def test_a_video(tmp_path: Path) -> None:
    material.clip(tmp_path / "clip.mp4")
    run(sys.executable, EXAMPLES / "02_video.py", tmp_path / "clip.mp4", tmp_path / "out", "dog")
    document = json.loads((tmp_path / "out" / "clip.json").read_text("utf-8"))
    assert len(document["images"]) == 10
    assert all("track_id" in one for one in document["annotations"])


def test_the_twelve_are_as_they_were_made() -> None:
    """Pixels and label maps have the digest that their maker gave them; words are shown or absent, never both."""
    entries = json.loads((EXAMPLES / "judge" / "words.json").read_text("utf-8"))
    assert [one["file"] for one in entries] == [f"judge_{seed:04d}.png" for seed in range(12)]
    for entry in entries:
        path = EXAMPLES / "judge" / entry["file"]
        pixels, labels = (np.asarray(Image.open(one)) for one in (path, path.with_name(f"{path.stem}_masks.png")))
        assert hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest() == entry["sha256"]
        assert set(np.unique(labels)) - {0} == set(range(1, 1 + len(entry["shown"])))
        assert not set(entry["shown"]) & set(entry["absent"])


@pytest.mark.long
def test_twelve_pictures(tmp_path: Path) -> None:
    told = run(sys.executable, EXAMPLES / "09_twelve.py", tmp_path / "twelve.png")
    figures = [float(one) for one in re.findall(r"mean IoU (\d\.\d\d)", told)]
    assert len(figures) == 12 and figures == sorted(figures)
    with Image.open(tmp_path / "twelve.png") as sheet:
        assert sheet.size == (4 * 248, 3 * 268)


@pytest.mark.long
def test_other_programs(tmp_path: Path) -> None:
    picture = EXAMPLES / "cluttered.png"
    told = run(sys.executable, EXAMPLES / "07_supervision.py", picture, tmp_path / "drawn.png", "fish", "dog", "pizza")
    assert "dog, fish" in told and (tmp_path / "drawn.png").stat().st_size > 1000
    told = run(sys.executable, EXAMPLES / "08_label_studio.py", tmp_path / "tasks.json", picture, "--", "fish", "dog")
    (task,) = json.loads((tmp_path / "tasks.json").read_text("utf-8"))
    assert {one["value"]["brushlabels"][0] for one in task["predictions"][0]["result"]} == {"fish", "dog"}
    assert told.startswith("1 tasks with ")


@pytest.mark.long
def test_the_notebook_runs_and_shows_the_same(tmp_path: Path) -> None:
    run(sys.executable, "-W", "ignore", EXAMPLES / "make_quickstart.py", tmp_path / "quickstart.ipynb")
    committed, made = (shown(path / "quickstart.ipynb") for path in (EXAMPLES, tmp_path))
    assert made == committed
    assert (EXAMPLES / "quickstart.ipynb").stat().st_size < 400_000


def shown(path: Path) -> list[Any]:
    """The sources and outputs of cells: pictures by their being there, texts without numbers, which engines round."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    found: list[Any] = []
    for cell in cells:
        outputs = cell.get("outputs", ())
        assert not any(one["output_type"] == "error" for one in outputs), outputs
        texts = ["".join(one["text"]) for one in outputs if one["output_type"] == "stream"]
        pictures = sum("image/png" in one.get("data", {}) for one in outputs)
        found.append(("".join(cell["source"]), re.sub(r"[\d.# ]+", " ", "".join(texts)), pictures))
    return found


@pytest.mark.slow
def test_half_precision(tmp_path: Path) -> None:
    run(
        "sh",
        EXAMPLES / "03_export_half.sh",
        ROOT / "models" / "stickers" / "last.safetensors",
        tmp_path / "half.clsclip",
    )
    manifest = json.loads((tmp_path / "half.clsclip" / "manifest.json").read_text("utf-8"))
    assert manifest["precision"] == "fp16"


@pytest.mark.slow
def test_own_data(tmp_path: Path) -> None:
    material.masks(tmp_path / "mine")
    small = ("--towers", ROOT / "models" / "stickers" / "towers", "--steps", "4", "--batch", "4", "--image-size", "64")
    picture = tmp_path / "mine" / "images" / "00.jpg"
    run("sh", EXAMPLES / "04_own_data.sh", tmp_path / "mine", picture, tmp_path / "out", *small)
    assert (tmp_path / "out" / "masks").is_dir()
