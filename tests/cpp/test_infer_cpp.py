"""``clsclip-infer-cpp``: pictures in, files and JSON out, and the exit codes of ``clsclip-infer``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import Segmenter
from clsclip_runtime.cli.infer import command
from clsclip_runtime.errors import ClsclipRuntimeError
from clsclip_runtime.regions.files import RegionFile
from clsclip_runtime.text.typed import typed_classes
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
        photo, "--classes", "red", "green", "blue", "--model", TINY, "--out", out, "--formats", "png,overlay,coco"
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


def test_one_coco_document_holds_all_images(photo: Path, tmp_path: Path) -> None:
    """As the Python tool writes it."""
    below = tmp_path / "below" / "photo.png"
    below.parent.mkdir()
    below.write_bytes(photo.read_bytes())
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:60])
    asked = (photo, broken, below, "--classes", "red", "green", "--model", TINY, "--formats", "png,coco")
    done = run(*asked, "--out", tmp_path / "c++", "--json")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1] == {"files": [str(tmp_path / "c++" / "coco.json")]}
    assert str(tmp_path / "c++" / "coco.json") in lines[0]["files"]
    python = subprocess.run(
        [sys.executable, "-m", "clsclip_runtime", *map(str, asked), "--out", str(tmp_path / "py"), "-q"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert python.returncode == 1, python.stderr
    found, wanted = (json.loads((tmp_path / one / "coco.json").read_text("utf-8")) for one in ("c++", "py"))
    assert found["images"] == wanted["images"]
    assert [one["file_name"] for one in found["images"]] == ["photo.png", "below/photo.png"]
    assert found["categories"] == wanted["categories"] and found["info"] == wanted["info"]
    same = ("id", "image_id", "category_id", "area", "bbox", "segmentation")
    assert [[one[key] for key in same] for one in found["annotations"]] == [
        [one[key] for key in same] for one in wanted["annotations"]
    ]
    assert not list((tmp_path / "c++").glob("*_coco.json"))


def test_json(photo: Path, tmp_path: Path) -> None:
    done = run(photo, "--classes", "red", "blue", "--model", TINY, "--json", "--presence-threshold", "0.9")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    red, blue = document["classes"]
    assert (red["status"], red["area"], red["box"]) == ("found", 140, [5, 5, 14, 10])
    assert (blue["status"], blue["reason"], blue["area"], blue["box"]) == ("absent", "presence below 0.90", 0, None)
    assert document["presence_threshold"] == 0.9
    assert not list(tmp_path.glob("**/*overlay*"))


def test_regions(photo: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{"image": "photo.png", "class": "green", "bbox": [8, 20, 8, 8]}]), "utf-8")
    done = run(photo, "--classes", "red", "greens", "--model", TINY, "--regions", boxes, "--json", "--fallback", "none")
    assert done.returncode == 0, done.stderr
    red, green = json.loads(done.stdout)["classes"]
    assert (red["searched"], red["area"]) == ([], 0)
    assert (green["searched"], green["match"]["how"]) == (["regions"], "plural")
    boxes.write_text('[{"image": "photo.png", "bbox": [1, 2, 3]}]', "utf-8")
    done = run(photo, "--classes", "red", "--model", TINY, "--regions", boxes)
    assert done.returncode == 1 and "entry 0: bbox must be four finite numbers" in done.stderr


BOX = '"bbox": [4, 4, 16, 12]'
LONG = "\u00fc" * 1024
REGIONS: dict[str, str] = {
    "boxes": f"[{{{BOX}}}]",
    "a byte order mark": f"\ufeff[{{{BOX}}}]",
    "none": "[]",
    "nothing": "",
    "a text": '"boxes"',
    "no list": "{}",
    "a list of numbers": "[[4, 4, 16, 12]]",
    "no box": '[{"class": "red"}]',
    "three numbers": '[{"bbox": [1, 2, 3]}]',
    "texts": '[{"bbox": ["4", 4, 16, 12]}]',
    "a truth": '[{"bbox": [4, 4, 16, true]}]',
    "no number": '[{"bbox": [NaN, 4, 16, 12]}]',
    "more than a number": '[{"bbox": [4, 4, 1e999, 12]}]',
    "a key twice": '[{"bbox": [4, 4, 16, 12], "bbox": [0, 0, 8, 8]}]',
    "bytes behind the end": f"[{{{BOX}}}]\0garbage",
    "not closed": "[" * 1000,
    "nested": f'[{{"bbox": {"[" * 100}{"]" * 100}}}]',
    "far": '[{"bbox": [-1e39, 0, 2e39, 50]}]',
    "farther": '[{"bbox": [1e308, 0, 1e308, 50]}]',
    "backwards": '[{"bbox": [20, 20, -8, -8]}]',
    "empty": '[{"bbox": [20, 20, 0, 0]}]',
    "a class": f'[{{{BOX}, "class": "red"}}]',
    "a category": f'[{{{BOX}, "category": "green"}}]',
    "a category's number": f'[{{{BOX}, "category_id": 3}}]',
    "a class of none": f'[{{{BOX}, "class": null}}]',
    "a class of blanks": f'[{{{BOX}, "class": "  "}}]',
    "a class of control characters": f'[{{{BOX}, "class": "a\\u001b[31mb"}}]',
    "a class of two lines": f'[{{{BOX}, "class": "a\\u2028b"}}]',
    "a class from right to left": f'[{{{BOX}, "class": "a\\u202eb"}}]',
    "a class of half a character": f'[{{{BOX}, "class": "\\ud800"}}]',
    "a class of 1024 characters": f'[{{{BOX}, "class": "{LONG}"}}]',
    "a class of 1025 characters": f'[{{{BOX}, "class": "{LONG}x"}}]',
    "a class of a number": f'[{{{BOX}, "class": 5}}]',
    "a score": f'[{{{BOX}, "score": 0.5}}]',
    "a score of none": f'[{{{BOX}, "score": null}}]',
    "a score of a text": f'[{{{BOX}, "score": "1"}}]',
    "a score of a truth": f'[{{{BOX}, "score": true}}]',
    "a score above 1": f'[{{{BOX}, "score": 1.5}}]',
    "another image": f'[{{{BOX}, "image": "other.png"}}]',
    "an image by its name": f'[{{{BOX}, "file_name": "folder/photo.png"}}]',
    "two images": f'[{{{BOX}, "image": "a/photo.png"}}, {{{BOX}, "image": "b/photo.png"}}]',
    "an image of a number": f'[{{{BOX}, "image": 5}}]',
    "an image of none": f'[{{{BOX}, "image": null}}]',
    "an image by COCO's number": f'[{{{BOX}, "image_id": 7}}]',
    "an image by COCO's truth": f'[{{{BOX}, "image_id": true}}]',
}


@pytest.fixture(scope="module")
def python() -> Iterator[Segmenter]:
    with Segmenter.load(TINY, threads=1) as segmenter:
        yield segmenter


@pytest.mark.parametrize("kind", REGIONS)
def test_files_of_regions_end_as_in_python(python: Segmenter, photo: Path, tmp_path: Path, kind: str) -> None:
    photo = photo.rename(tmp_path / ("0007.png" if "COCO" in kind else "photo.png"))
    boxes = tmp_path / "boxes.json"
    boxes.write_text(REGIONS[kind], "utf-8")
    mine: list[list[float]] | None
    try:
        found = python(photo, ["red", "green"], regions=RegionFile(boxes).of(str(photo)))
        mine = [[*map(float, one.window), round(one.score, 4)] for one in found.all_instances()]
    except ClsclipRuntimeError as error:
        mine = None
        assert "boxes" in str(error)
    done = run(photo, "--classes", "red", "green", "--model", TINY, "--regions", boxes, "--json")
    if mine is None:
        assert done.returncode in (1, 2), done.stdout
        assert kind == "backwards" or str(boxes) in done.stderr
        assert len(done.stderr) < 1000
    else:
        assert done.returncode == 0, done.stderr
        theirs = json.loads(done.stdout)["instances"]
        assert [[*one["window"], round(one["score"], 4)] for one in theirs] == mine


def test_what_is_no_file_of_regions_is_told_at_once(photo: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", (128 << 20) + 1)
    (tmp_path / "many").write_text(f"[{'0,' * (1 << 22)}0]", "utf-8")
    for name, message in (
        ("none", "no such file of regions: "),
        ("pipe", "cannot read the regions of "),
        ("", "cannot read the regions of "),
        ("large", "large cannot be read as JSON: it is over 128 MiB"),
        ("many", "many cannot be read as JSON: it holds more than 4194304 values"),
    ):
        done = run(photo, "--classes", "red", "--model", TINY, "--regions", tmp_path / name)
        assert done.returncode == 1
        assert message in done.stderr and str(tmp_path / name) in done.stderr


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    """As Pillow turns it; JPEG blurs edges, so areas are compared."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    wide = np.ascontiguousarray(SCENE[:24])
    Image.fromarray(wide).resize((256, 192), Image.Resampling.NEAREST).save(path, quality=95, exif=exif)
    done = run(path, "--classes", "red", "--model", TINY, "--out", tmp_path / "out", "--formats", "png")
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
    done = run(cut, tmp_path / "none.png", photo, "--classes", "red", "--model", TINY, "--json")
    assert done.returncode == 1
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert "damaged or incomplete" in documents[0]["error"]
    assert "no such file" in documents[1]["error"]
    assert documents[2]["classes"][0]["status"] == "found"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "red", "--model", TINY], "no IMAGE was given"),
        (["x.png", "--model", TINY], "no words were given"),
        (["x.png", "--classes", "red", "--model", "none"], "no such bundle: none"),
        (["x.png", "--classes", "red", "--model", TINY, "--threads", "0"], "--threads must be a number from 1"),
        (["x.png", "--classes", "red", "--model", TINY, "--threads", "two"], "--threads must be a number"),
        (
            ["x.png", "--classes", "red", "--model", TINY, "--threads", "1025"],
            "--threads must be a number from 1 to 1024",
        ),
        (["x.png", "--classes", "red", "--model", TINY, "--formats", "gif"], "no format 'gif'"),
        (["x.png", "--classes", "red", "--model", TINY, "--speed"], "no option --speed"),
        (["x.png", "--top-k", "4"], "--top-k is gone since 0.2. Use --max-classes"),
        (["x.png", "--on-missing", "empty"], "Use --fallback whole-image or --fallback none"),
        (["x.png", "--classes", "a", "--model", TINY, "--mask-margin", "0.1"], "--mask-margin is about regions"),
        (["x.png", "--classes", "a", "--model", TINY, "--regions", "b", "--confidence", "0.1"], "--regions takes"),
        (["x.png", "--classes", "a", "--model", TINY, "--boxes-as-masks", "--crop-margin", "0"], "about crops"),
        (["x.png", "--classes", "a", "--model", TINY, "--boxes-as-masks", "--max-classes", "1"], "about crops"),
        (["x.png", "--fallback", "empty"], "--fallback must be whole-image or none"),
        (["x.png", "--detector", "y.onnx"], "--detector is an option of clsclip-infer, the Python command, alone"),
        (["x.png", "--classes", "red", "--model", TINY, "--out"], "--out needs a value"),
        (["x.png", "--classes", "red", "--model", TINY, "--backend", "cuda"], "no backend 'cuda'"),
        ([ROOT / "examples" / "tiny.png", "--classes", " ", "--model", TINY], "a class word is empty"),
    ],
)
def test_wrong_use(arguments: list[object], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_json_is_that_of_python(photo: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{"class": "green", "bbox": [8, 20, 8, 8]}, {"bbox": [2, 2, 20, 20.5]}]), "utf-8")
    with Segmenter.load(TINY, threads=1) as segmenter:
        for more, asked in (
            ([], {}),
            (["--max-classes", "1"], {"max_classes": 1}),
            (["--regions", boxes], {"regions": RegionFile(boxes).of(photo)}),
            (["--no-presence-filter"], {"presence_filter": False}),
            (["--mask-threshold", "0.9"], {"mask_threshold": 0.9}),
            (["--min-area", "60", "--fill-holes"], {"min_area": 60, "fill_holes": True}),
            (["--largest", "--regions", boxes], {"largest": True, "regions": RegionFile(boxes).of(photo)}),
            (["--min-area", "5000"], {"min_area": 5000}),
        ):
            done = run(photo, "--classes", "red", "greens", "blue", "--model", TINY, "--json", *more)
            theirs = json.loads(done.stdout)
            mine = json.loads(json.dumps(segmenter(photo, ["red", "greens", "blue"], **asked).to_json()))
            for document in (mine, theirs):
                for key in ("backend", "backend_notes", "timings_ms", "source"):
                    del document[key]
                for one in [*document["classes"], *document["instances"]]:
                    for key in ("presence", "score"):
                        one[key] = None if one.get(key) is None else round(one[key], 4)
                    if one.get("match"):
                        one["match"]["similarity"] = None
            assert theirs == mine


def test_words_are_read_as_in_python(photo: Path) -> None:
    typed = ("red, blue", "warm = yellow | 'red'", "dining_table", "driver’s seat", "bird’s_nest | red, a_b | green")
    theirs = json.loads(run(photo, "--classes", *typed, "--model", TINY, "--json").stdout)
    with Segmenter.load(TINY, threads=1) as segmenter:
        mine = segmenter(photo, typed_classes(typed)).to_json()
    assert [(one["name"], one["prompts"], one["area"]) for one in theirs["classes"]] == [
        (one["name"], one["prompts"], one["area"]) for one in mine["classes"]
    ]
    assert theirs["notes"] == mine["notes"]
    assert theirs["classes"][2]["prompts"] == ["yellow", "red"]


def test_every_option_of_python_is_here_or_on_the_list_of_what_is_not() -> None:
    options = {
        name
        for one in command.params
        if isinstance(one, click.Option) and not one.hidden
        for name in [*one.opts, *one.secondary_opts]
    }
    listed = json.loads((ROOT / "runtime" / "cpp" / "python_only.json").read_text("utf-8"))
    own = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", run("--help").stdout))
    assert options - own == set(listed["options"])
    assert own - options <= {"--bundle", "-h", "--help", "--version"}
    for name in listed["options"]:
        assert "clsclip-infer, the Python command, alone" in run("x.png", name, "y").stderr


def test_the_guide_lists_what_is_in_python_alone() -> None:
    guide = " ".join((ROOT / "docs" / "guides" / "cpp.md").read_text("utf-8").split())
    listed = json.loads((ROOT / "runtime" / "cpp" / "python_only.json").read_text("utf-8"))["rest"]
    assert [one for one in listed if one not in guide] == []


def test_help_and_version() -> None:
    assert run("--help").stdout.startswith("Usage: clsclip-infer-cpp")
    assert run("--version").stdout.startswith("clsclip-infer-cpp ")


def test_engines_inside_a_bundle_are_passed_over_with_a_note(photo: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.clsclip"
    shutil.copytree(TINY, stranger)
    (stranger / "engines").mkdir()
    done = run(photo, "--classes", "red", "--model", stranger, "--json")
    with Segmenter.load(stranger) as segmenter:
        mine = segmenter(SCENE, ["red"])
    told = f"engines/ in {stranger} is passed over: engines are machine code"
    for notes in (json.loads(done.stdout)["backend_notes"], mine.backend_notes):
        assert sum(told in note for note in notes) == 1
    assert told in run(photo, "--classes", "red", "--model", stranger, "--out", tmp_path / "out").stdout
