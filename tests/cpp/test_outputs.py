"""Outputs of ``clsclip-infer-cpp``: names as in Python, nothing lost, no link followed, nothing raw on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clsclip_runtime import scratch
from clsclip_runtime.cli.arguments import find_sources
from clsclip_runtime.results.files import file_names
from tests.cpp.test_infer_cpp import PROGRAM, ROOT, TINY, run
from tests.runtime.tiny_bundle import paint

RED, GREEN = (paint({word: (slice(1, 5), slice(1, 5))}) for word in ("red", "green"))


def save(path: Path, pixels: object = RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)  # type: ignore[arg-type]
    return path


def segment(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run(*arguments, "--classes", "red", "--model", TINY)


def found(path: Path) -> bool:
    return bool(np.asarray(Image.open(path)).any())


def test_pictures_of_one_name_get_files_of_their_own(tmp_path: Path) -> None:
    images = [save(tmp_path / "a" / "x.png"), save(tmp_path / "b" / "x.png", GREEN), save(tmp_path / "b" / "X.png")]
    again = tmp_path / "a" / ".." / "a" / "x.png"
    out = tmp_path / "out"
    assert segment(*images, again, "--out", out, "--formats", "png").returncode == 0
    shown = {path.name: found(path) for path in out.iterdir()}
    assert shown == {"x_red.png": True, "x-2_red.png": False, "X-3_red.png": True}


def test_names_are_those_of_python(tmp_path: Path) -> None:
    names = ["x", "y" * 118 + "_01", "y" * 118 + "_02", "会" * 60 + "一", "会" * 60 + "二", "é" * 61, "a b", "z" * 250]
    images = [save(tmp_path / folder / f"{name}.png") for folder in "ab" for name in names]
    out = tmp_path / "out"
    done = run(*images, "--classes", "red", "dining  table", "Red!", "犬", "--model", TINY, "--out", out)
    assert done.returncode == 0, done.stderr
    words = ["red", "dining table", "Red!", "犬"]
    stems = [source.stem for source in find_sources(map(str, images))]
    assert {path.name for path in out.iterdir()} == {
        name for stem in stems for name in file_names(words, ["png", "overlay"], stem)
    }


def test_a_picture_that_is_still_to_be_read_is_not_overwritten(tmp_path: Path) -> None:
    first, second = save(tmp_path / "p.png"), save(tmp_path / "p_overlay.png", GREEN)
    link = tmp_path / "far" / "link.png"
    link.parent.mkdir()
    link.symlink_to(second)
    before = second.read_bytes()
    for other in (second, link):
        done = segment(first, other, "--out", tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "p_overlay.png is one of the pictures and would be overwritten. Change --out" in done.stderr
        assert second.read_bytes() == before
        assert sorted(path.name for path in tmp_path.glob("*.png")) == ["p.png", "p_overlay.png"]


def test_no_link_is_followed(tmp_path: Path) -> None:
    image, precious = save(tmp_path / "p.png"), tmp_path / "precious"
    out = tmp_path / "out"
    out.mkdir()
    precious.write_text("old")
    for name in ("p_red.png", "p_red.png.part"):
        (out / name).symlink_to(precious)
    assert segment(image, "--out", out, "--formats", "png").returncode == 0
    assert precious.read_text() == "old"
    assert found(out / "p_red.png")
    assert not (out / "p_red.png").is_symlink()


def test_what_killed_runs_left_is_swept(tmp_path: Path) -> None:
    image, out = save(tmp_path / "p.png"), tmp_path / "out"
    out.mkdir()
    used = scratch.PartFile(out / "other.png")
    for name in (".clsclip-0123456789abcdef.part.png", ".clsclip-0123456789abcdef.part", "a.part"):
        (out / name).touch()
    assert segment(image, "--out", out, "--formats", "png").returncode == 0
    assert sorted(path.name for path in out.iterdir()) == sorted([used.part.name, "a.part", "p_red.png"])
    used.discard()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("more", [["--json"], [], ["--help"], ["--version"]])
def test_an_output_that_cannot_be_written_is_told(tmp_path: Path, more: list[str]) -> None:
    image = save(tmp_path / "p.png")
    program = Path(os.environ.get(PROGRAM, ROOT / "build" / "cpp" / "tools" / "clsclip-infer-cpp"))
    if not program.is_file():
        pytest.skip(f"the C++ command line is not built: {program} (make cpp, or set {PROGRAM})")
    words = [str(program), str(image), "--classes", "red", "--model", str(TINY), *more]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "standard output cannot be written: No space left on device" in done.stderr
    shell = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *words]
    done = subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    assert done.returncode == (1 if more == ["--json"] else 0)
    assert ("standard output is closed" in done.stderr) == (more == ["--json"])


def test_a_file_that_does_not_fit_is_told_and_removed(tmp_path: Path) -> None:
    image = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(image)
    program = Path(os.environ.get(PROGRAM, ROOT / "build" / "cpp" / "tools" / "clsclip-infer-cpp"))
    if not program.is_file():
        pytest.skip(f"the C++ command line is not built: {program} (make cpp, or set {PROGRAM})")
    words = [str(program), str(image), "--classes", "red", "--model", str(TINY), "--formats", "overlay", "--out", "o"]
    shell = ["/bin/sh", "-c", 'ulimit -f 10; exec "$@"', "sh", *words]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot write o/noise_overlay.png: File too large" in done.stderr
    assert list((tmp_path / "o").iterdir()) == []


def test_nothing_raw_reaches_a_terminal(tmp_path: Path) -> None:
    name = "a\x1b]0;title\x07\x1b[2J\u202e\u2028\x9b31m\n.png"
    image = save(tmp_path / name)
    done = segment(image, tmp_path / ("none" + name), "--out", tmp_path / "out\x1b[31m")
    assert done.returncode == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028]", done.stdout + done.stderr)
    shown = segment(image, "--json")
    assert shown.returncode == 0
    assert shown.stdout.isascii() and shown.stdout.rstrip("\n").isprintable()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    save(folder / "p.png")
    return folder


@settings(max_examples=12, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=8))
def test_any_words_give_distinct_names_that_are_valid(workplace: Path, words: list[str]) -> None:
    words = [word for word in words if word.strip() and not word.startswith("-")] or ["red"]
    out = workplace / "out"
    shutil.rmtree(out, ignore_errors=True)
    done = run(workplace / "p.png", "--model", TINY, "--out", out, "--formats", "png", "--classes", *words)
    if done.returncode == 2:  # not a word for this tokenizer
        return
    assert done.returncode == 0, done.stderr
    names = [path.name for path in out.iterdir()]
    assert len(names) == int(re.findall(r"wrote (\d+) files", done.stdout)[-1])
    for name in names:
        assert len(os.fsencode(name)) < 120
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", os.fsencode(name).decode("utf-8"))
