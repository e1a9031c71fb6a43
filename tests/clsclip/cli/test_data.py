"""``clsclip-data``: what it prints, converts and refuses, without PyTorch and in little memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clsclip.cli.data import command, main
from clsclip.data.own import open_own
from tests.clsclip.data.made import labels_with, make_folder, save_image
from tests.fuzz.annotations import SIZE, coco_document
from tests.shared_data import shared_data

MEMORY = 512 << 20

OFFLINE = """
import re, sys
from clsclip.cli.data import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())  # getrusage begins with the parent's
print("peak", int(peak[1]) << 10, file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two cups and a fork; a spoon that nobody has."""
    masks = {
        "x": labels_with((1, (0, 0, 40, 20)), (2, (50, 0, 60, 10)), (255, (80, 0, 90, 10))),
        "y": labels_with((1, (0, 0, 10, 10))),
        "z": labels_with(),
    }
    return make_folder(tmp_path / "own", masks, ["cup", "fork", "spoon"])


def run(*arguments: object) -> str:
    done = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_table(root: Path, tmp_path: Path) -> None:
    (root / "images" / "y.png").write_bytes((root / "images" / "y.png").read_bytes()[:80])
    said = run("check", root, "--sheet", tmp_path / "sheet.png", "--headers-only")
    lines = [line.split() for line in said.splitlines()]
    assert ["cup", "2", "2", "1.5%", "100", "px", "in", "y"] in lines  # 900 of 3 x 160 x 128 pixels
    assert ["fork", "1", "1", "0.2%", "100", "px", "in", "x"] in lines
    assert "3 pictures, 1 of them without a class" in said
    assert "note: no picture shows spoon" in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 256
    found = json.loads(run("check", root, "--json").splitlines()[-1])
    assert found["sides"]["all"]["classes"][0]["pixels"] == 900
    assert any(note.startswith("1 pictures are damaged") for note in found["sides"]["all"]["notes"])


def test_wrong_use(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nothing").mkdir()
    for arguments, code, message in (
        (["check", str(tmp_path / "no")], 1, "No such file or folder"),
        (["check", str(tmp_path / "nothing")], 1, "is no data that is known"),
        (["check", str(root), "--images", "x"], 2, "--images is for a file of annotations"),
        (["convert", str(root), str(root), "--to", "coco"], 1, "is there already"),
        (["convert", str(root), str(tmp_path / "o"), "--to", "x"], 2, "--to"),
    ):
        assert main(arguments) == code
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("to", ["folder", "coco", "labelstudio", "yolo", "labelme"])
def test_converted_data_show_the_same(root: Path, tmp_path: Path, to: str) -> None:
    """Pixels too: nothing overlaps here, and holes are kept."""
    labels = labels_with((1, (5, 5, 60, 60)), (0, (20, 20, 30, 30)), (2, (90, 90, 91, 91)))
    make_folder(root, {"below/w": labels}, ["cup", "fork", "spoon"])
    out = tmp_path / "out"
    said = run("convert", root, out, "--to", to)
    check = said.strip().splitlines()[-1].split("clsclip-data check ")[1]
    assert "pictures, 1 of them without a class" in run("check", check)
    annotations = None if Path(check).is_dir() else Path(check)
    before, after = open_own("folder", root).train, open_own(to, out, annotations=annotations).train

    def masks(data: Any) -> dict[tuple[str, str], bytes]:
        return {
            (data.key(at).removeprefix("images/"), data.classes[one]): (data.mask(at, one) == 1).tobytes()
            for at in range(len(data))
            for one in data.shown(at)
        }

    assert masks(after) == masks(before)
    assert len(masks(before)) == 5


@pytest.mark.long
@pytest.mark.parametrize("to", ["folder", "coco", "labelstudio", "yolo", "labelme"])
def test_real_pictures_give_the_same_pairs(tmp_path: Path, to: str) -> None:
    coco = shared_data("COCO")
    document = json.loads((coco / "annotations" / "instances_val2017.json").read_text())
    there = {path.name for path in (coco / "val2017").iterdir()}
    document["images"] = [one for one in document["images"] if one["file_name"] in there][:40]
    chosen = {one["id"] for one in document["images"]}
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] in chosen]
    (tmp_path / "forty.json").write_text(json.dumps(document))
    run("convert", tmp_path / "forty.json", tmp_path / "out", "--images", coco / "val2017", "--to", to)
    name = {"coco": "instances.json", "labelstudio": "tasks.json"}.get(to)

    def pairs(kind: str, root: Path, annotations: Path | None, images: Path | None = None) -> set[tuple[str, str]]:
        fold = open_own(kind, root, annotations=annotations, images=images)
        return {(Path(fold.train.key(at)).name, fold.train.classes[one]) for at, one in fold.train_pairs}

    expected = pairs("coco", tmp_path, tmp_path / "forty.json", coco / "val2017")
    assert len(expected) > 100
    assert pairs(to, tmp_path / "out", None if name is None else tmp_path / "out" / name) == expected


def hostile(folder: Path, number: int) -> Path:
    """A COCO document that is wrong in some way."""
    draw = random.Random(number)
    document = coco_document(draw, ("cup", "fork"))
    if number % 10 == 9:
        document["annotations"] *= 2000
    text = json.dumps(document)
    if number % 10 == 8:
        text = text[: draw.randrange(len(text))]
    if number % 10 == 7:
        text = "[" * 10_000 + text
    path = folder / f"{number}.json"
    path.write_text(text)
    return path


@pytest.mark.long
def test_sixty_hostile_files_end_in_a_sentence_or_a_count(tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", SIZE)
    good = 0
    for number in range(60):
        path = hostile(tmp_path, number)
        done = CliRunner().invoke(command, ["check", str(path), "--allow-missing"])
        error = done.exception
        if error is not None and not isinstance(error, SystemExit):
            assert type(error).__name__ == "DataError", (number, error)
            assert len(str(error)) > 20
        else:
            assert done.exit_code == 0
            good += 1
    assert 20 < good < 60


@pytest.mark.long
def test_little_memory_and_no_torch(tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", SIZE)
    document = coco_document(random.Random(1), ("cup", "fork"))
    document["images"] = [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}]
    document["annotations"] = [
        {"id": at, "image_id": 1, "category_id": 1, "segmentation": one}
        for at, one in enumerate(
            [
                [[-164, -221, 2e8, 3.5e8, 225, 236, 272, 384]],
                [[0, 0, float("nan"), 5, 5, 5]],
                [[0, 0, 127, 95] * 50_000],
                {"size": [2**31, 2**31], "counts": [0, 2**62]},
                {"size": [48, 64], "counts": [1000]},
                {"size": [48, 64], "counts": [1] * 1_000_000},
            ]
        )
    ]
    (tmp_path / "h.json").write_text(json.dumps(document))
    sheet = tmp_path / "sheet.png"
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, "check", str(tmp_path / "h.json"), "--sheet", str(sheet)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.rsplit("peak ", 1)[1]) < MEMORY
    assert "6 annotations were left out" in done.stdout


def test_a_mask_of_white_pixels_is_seen_in_the_table(tmp_path: Path) -> None:
    white = np.where(labels_with((1, (0, 0, 16, 16))) == 1, 255, 0)
    said = run("check", make_folder(tmp_path, {"x": white}, ["cup"]))
    assert "note: 1 masks hold 0 and 255 alone: 255 was taken for 'cup'" in said
