"""The corpus of odd pictures through C++: the pixels, notes and refusals of Python."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime import ImageError, Segmenter, open_image
from tests.cpp.c_api import ROOT
from tests.cpp.test_infer_cpp import TINY, run
from tests.runtime.images.corpus import cases
from tests.runtime.images.test_corpus import EVERY

PROGRAM = "CLSCLIP_READ_IMAGES"
"""Environment variable with the program; else the one that ``make cpp`` builds."""

READ = [name for name, case in cases().items() if case.cpp]


@dataclass(frozen=True)
class Reading:
    pixels: npt.NDArray[np.uint8] | None
    notes: list[str]
    error: str


def read(folder: Path, names: list[str]) -> dict[str, Reading]:
    """What C++ makes of some cases, by one process."""
    program = Path(os.environ.get(PROGRAM, ROOT / "build" / "cpp" / "tools" / "clsclip-read-images"))
    if not program.is_file():
        pytest.skip(f"the C++ command line is not built: {program} (make cpp, or set {PROGRAM})")
    paths = [folder / name for name in names]
    for path in paths:
        path.write_bytes(cases()[path.name].content)
    done = subprocess.run([program, folder, *paths], capture_output=True, text=True, timeout=300, check=True)
    found = {}
    for at, (name, line) in enumerate(zip(names, done.stdout.splitlines(), strict=True)):
        told = json.loads(line)
        pixels = None
        if "error" not in told:
            width, height = told["size"]
            raw = np.fromfile(folder / str(at), np.uint8).reshape(height, width, -1)
            stored = raw if raw.shape[2] > 1 else raw[..., 0]
            pixels = np.asarray(open_image(stored).image)
        found[name] = Reading(pixels, told.get("notes", []), told.get("error", ""))
    return found


def told_by_both(notes: list[str]) -> list[str]:
    """Without what libjpeg says and Pillow keeps to itself."""
    return [note for note in notes if not note.startswith("its data are damaged, and some of its pixels are guessed")]


def check(folder: Path, names: list[str]) -> None:
    theirs = read(folder, names)
    wrong = []
    for name in names:
        case, other = cases()[name], theirs[name]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mine = open_image(folder / name)
        except ImageError:
            if other.pixels is not None or case.refusal not in other.error:
                wrong.append(f"{name}: {other.error or 'was read'}")
            continue
        if other.pixels is None or other.pixels.shape != np.asarray(mine.image).shape:
            wrong.append(f"{name}: {other.error or 'another size'}")
        elif (other.pixels != np.asarray(mine.image)).any():
            difference = np.abs(other.pixels.astype(int) - np.asarray(mine.image))
            wrong.append(f"{name}: differs by {difference.max()}, {difference.mean():.3f} on average")
        elif sorted(told_by_both(other.notes)) != sorted(mine.notes):
            wrong.append(f"{name}: {other.notes} in place of {list(mine.notes)}")
    assert wrong == []


def test_a_slice(tmp_path: Path) -> None:
    check(tmp_path, READ[::EVERY])


def test_damage_in_the_middle_of_a_jpeg_is_told(tmp_path: Path) -> None:
    """What is made up must be said; Python cannot."""
    content = bytearray(cases()["jpeg_restarts.jpg"].content)
    at = content.index(b"\xff\xd1")
    del content[at - 12 : at]
    program = Path(os.environ.get(PROGRAM, ROOT / "build" / "cpp" / "tools" / "clsclip-read-images"))
    if not program.is_file():
        pytest.skip(f"the C++ command line is not built: {program} (make cpp, or set {PROGRAM})")
    path = tmp_path / "damaged.jpg"
    path.write_bytes(content)
    done = subprocess.run([program, tmp_path, path], capture_output=True, text=True, timeout=60, check=True)
    assert "some of its pixels are guessed" in json.loads(done.stdout)["notes"][0]


def test_areas_and_notes_of_the_command(tmp_path: Path) -> None:
    names = ["png_exif_6.png", "jpeg_cmyk.jpg", "png_gray_16.png", "png_palette_alphas.png", "jpeg_mpo.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(cases()[name].content)
    paths = [tmp_path / name for name in names]
    done = run(*paths, "--classes", "red", "--model", TINY, "--json", "--no-presence-filter")
    assert done.returncode == 0, done.stderr
    with Segmenter.load(TINY, threads=1) as segmenter:
        for path, line in zip(paths, done.stdout.splitlines(), strict=True):
            theirs, mine = json.loads(line), segmenter(path, ["red"], presence_filter=False)
            assert theirs["classes"][0]["area"] == mine["red"].area
            assert (theirs["width"], theirs["height"]) == mine.size
            assert theirs["notes"] == mine.notes


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    done = run(pipe, "--classes", "red", "--model", TINY)
    assert done.returncode == 1
    assert "is a pipe or a device" in done.stderr


@pytest.mark.slow
def test_all(tmp_path: Path) -> None:
    assert len(READ) >= 100
    check(tmp_path, READ)
