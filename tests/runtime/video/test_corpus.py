"""The corpus of odd videos: the right frames at the right times, and a word wherever something is not whole."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clsclip_runtime.errors import VideoError
from clsclip_runtime.video import Frame, open_video
from tests.runtime.video.corpus import CASES, Case
from tests.runtime.video.made import number_of, numbered

SLICE = (
    *("h264_b_frames.mp4", "av1.mp4", "1000_fps.mp4", "one_an_hour.mkv", "uneven.mp4", "two_behind_each_other.ts"),
    *("alpha.mov", "turned_mirrored.mp4", "hole.mp4", "cut.avi", "sound_with_a_cover.mp4", "list.mp4"),
)
"""Those that run for every change; the others run at night."""


def read(path: Path) -> tuple[list[Frame], str | None, tuple[str, ...]]:
    """All frames, the error, and the notes."""
    frames: list[Frame] = []
    try:
        source = open_video(path)
    except VideoError as error:
        return frames, str(error), ()
    try:
        for frame in source.frames():
            frames.append(frame)
    except VideoError as error:
        return frames, str(error), source.notes
    finally:
        source.close()
    return frames, None, source.notes


def check(case: Case, path: Path) -> None:
    case.make(path)
    frames, error, notes = read(path)
    if case.error is None:
        assert error is None
    else:
        assert error is not None and re.search(case.error, error), error
        assert path.name in error
    if case.numbers is not None:
        assert [number_of(frame.image) for frame in frames] == list(case.numbers)
    if case.times is not None:
        assert [frame.seconds for frame in frames] == pytest.approx(list(case.times), abs=0.0011)
    if case.notes is not None:
        assert len(notes) == len(case.notes), notes
        for note, expected in zip(notes, case.notes, strict=True):
            assert re.search(expected, note), note
            assert path.name in note
    for frame in frames[:1]:
        assert (frame.image.shape, frame.image.dtype) == ((case.size[1], case.size[0], 3), np.uint8)
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("name", SLICE)
def test_a_slice(name: str, tmp_path: Path) -> None:
    (case,) = (one for one in CASES if one.name == name)
    check(case, tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("case", [one for one in CASES if one.name not in SLICE], ids=lambda one: one.name)
def test_all_others(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path / case.name)


def test_a_damaged_file_does_not_wait_for_ever(tmp_path: Path) -> None:
    """Frames that HEVC decodes side by side wait for each other; with such a parameter set one never comes."""
    (case,) = (one for one in CASES if one.name == "hevc_10bit.mkv")
    case.make(tmp_path / case.name)
    content = bytearray((tmp_path / case.name).read_bytes())
    sequence, picture = b"\x42\x01", b"\x44\x01"  # heads of the parameter sets
    at = content.index(picture, content.index(sequence)) + len(picture)
    content[at : at + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / case.name).write_bytes(content)
    program = (
        "import sys; from clsclip_runtime.video import open_video; print(len(list(open_video(sys.argv[1]).frames())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / case.name)], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0 or b"VideoError" in done.stderr


def test_the_corpus_is_large_and_its_names_are_distinct() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 40
    assert set(SLICE) <= set(names)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("left", lambda image: np.rot90(image, 1)),
        ("right", lambda image: np.rot90(image, -1)),
        ("over", lambda image: np.rot90(image, 2)),
        ("mirrored", np.fliplr),
        ("upside_down", np.flipud),
        ("transposed", lambda image: image.transpose(1, 0, 2)),
        ("transposed_the_other_way", lambda image: image[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
def test_pictures_are_turned_and_mirrored_as_the_file_asks(tmp_path: Path, name: str, where: object) -> None:
    """By the definition of the matrix: x' = a x + c y, y' = b x + d y."""
    (case,) = (one for one in CASES if one.name == f"turned_{name}.mp4")
    case.make(tmp_path / case.name)
    frames, _, _ = read(tmp_path / case.name)
    expected = where(numbered(5)).astype(int)  # type: ignore[operator]
    assert np.abs(frames[5].image.astype(int) - expected).mean() < 12


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    (case,) = (one for one in CASES if one.name == "half_transparent.mkv")
    case.make(tmp_path / case.name)
    frames, _, _ = read(tmp_path / case.name)
    assert (frames[1].image[:, :46] > 250).all()
    assert np.abs(frames[1].image[:, 50:].astype(int) - numbered(1)[:, 50:]).mean() < 6


def test_frames_after_damage_are_noted_until_the_next_key_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A key frame each four frames; every frame that differs from the undamaged one carries a note."""
    caplog.set_level(logging.ERROR)
    (whole,) = (one for one in CASES if one.name == "hole.mp4")
    whole.make(tmp_path / "hole.mp4")
    frames, error, notes = read(tmp_path / "hole.mp4")
    assert error is not None
    noted = {frame.index for frame in frames if frame.notes}
    wrong = {frame.index for frame in frames if number_of(frame.image) != frame.index}
    assert wrong <= noted
    assert 0 < len(noted) <= 4
    assert any("guessed" in note for note in notes)
