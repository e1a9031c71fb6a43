from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_runtime.cli.arguments import find_sources, spread_words
from clsclip_runtime.errors import one_line

WORDS = st.text(min_size=0, max_size=8).filter(lambda word: not word.startswith("-"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a.jpg --classes dog cat", "a.jpg --classes dog --classes cat"),
        ("--classes dog cat --out x", "--classes dog --classes cat --out x"),
        ("--classes dog --classes cat fish", "--classes dog --classes cat --classes fish"),
        ("--classes dog -- a.jpg", "--classes dog -- a.jpg"),
        ("--classes dog cat -", "--classes dog --classes cat -"),
        ("--classes=dog a.jpg", "--classes=dog a.jpg"),
        ("--classes=-x a.jpg", "--classes=-x a.jpg"),
        ("--classes", "--classes"),
        ("--classes --out x", "--classes --out x"),
        ("-- --classes a b", "-- --classes a b"),
    ],
)
def test_words_run_until_the_next_option(typed: str, meant: str) -> None:
    assert spread_words(typed.split(), "--classes") == meant.split()


@given(st.lists(WORDS, min_size=1), st.lists(WORDS), st.lists(WORDS))
def test_every_word_and_nothing_else_is_spread(words: list[str], before: list[str], after: list[str]) -> None:
    spread = spread_words([*before, "--classes", *words, "--out", "x", "--", *after], "--classes")
    middle = [part for word in words for part in ("--classes", word)]
    assert spread == [*before, *middle, "--out", "x", "--", *after]


@given(st.lists(st.sampled_from(["--classes", "a", "b", "-q", "--", "--out", ""])))
def test_spreading_twice_changes_nothing(arguments: list[str]) -> None:
    once = spread_words(arguments, "--classes")
    assert spread_words(once, "--classes") == once
    assert [part for part in once if part != "--classes"] == [part for part in arguments if part != "--classes"]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png", "sub/a.jpg", "sub/a.png", "odd[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*sources: str) -> list[str]:
    return [source.path for source in find_sources(sources)]


def test_a_folder_means_its_pictures(images: Path) -> None:
    assert paths(".") == ["a.jpg", "b.PNG", "odd[1].png"]
    assert paths(str(images)) == [str(images / name) for name in ("a.jpg", "b.PNG", "odd[1].png")]


@pytest.mark.usefixtures("images")
def test_patterns_are_expanded() -> None:
    assert paths("*.jpg") == ["a.jpg"]
    assert paths("**/*.jpg") == ["a.jpg", "sub/a.jpg"]
    assert paths("*.txt") == ["notes.txt"]


@pytest.mark.usefixtures("images")
def test_a_file_with_brackets_is_a_file() -> None:
    assert paths("odd[1].png") == ["odd[1].png"]


@pytest.mark.usefixtures("images")
def test_a_picture_given_twice_is_done_once() -> None:
    assert paths("a.jpg", "./a.jpg", "*.jpg", os.path.abspath("a.jpg")) == ["a.jpg"]  # noqa: PTH100


@pytest.mark.usefixtures("images")
def test_equal_stems_are_numbered() -> None:
    named = [(source.path, source.stem) for source in find_sources(["a.jpg", "sub", "-", "-"])]
    assert named == [("a.jpg", "a"), ("sub/a.jpg", "a-2"), ("sub/a.png", "a-3"), ("-", "picture")]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.jpg", "no such file: none.jpg"),
        ("*.gif", "no file matches"),
        ("folder.png", "has no pictures"),
        ("", "SOURCE is empty"),
    ],
)
def test_sources_that_mean_nothing_are_told(source: str, message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        find_sources([source])


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("source", "path", "stem", "kind"),
    [
        ("clip.MP4", "clip.MP4", "clip", "video"),
        ("0", "0", "camera0", "camera"),
        ("007", "7", "camera7", "camera"),
        ("5", "5", "5", "picture"),
        ("rtsp://me:x@host:554/door/front.sdp?a=b", "rtsp://me:x@host:554/door/front.sdp?a=b", "front", "stream"),
        ("HTTP://host", "HTTP://host", "stream", "stream"),
        ("http://[oops", "http://[oops", "stream", "stream"),
        ("-", "-", "video", "pipe"),
    ],
)
def test_what_a_source_is(source: str, path: str, stem: str, kind: str) -> None:
    Path("clip.MP4").touch()
    Path("5").touch()
    (found,) = find_sources([source, source], "stream")
    assert (found.path, found.stem, found.kind) == (path, stem, kind)


@pytest.mark.usefixtures("images")
def test_a_folder_named_like_a_camera_is_a_folder() -> None:
    Path("sub").rename("0")
    assert paths("0") == ["0/a.jpg", "0/a.png"]


@given(st.text(max_size=30))
def test_any_source_is_told_or_found(source: str) -> None:
    try:
        found = find_sources([source, f"rtsp://{source}"])
    except click.UsageError:
        return
    assert len({one.stem.casefold() for one in found}) == len(found)


@given(st.text())
def test_messages_are_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")
    assert "\x1b" not in line


def test_brackets_in_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("shots [2024]/a.png", "shots [2024]/b[1].png", "shots [2024]/deep/c.png", "shots 2/d.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for pattern, found in (
        ("shots [2024]/*.png", ["shots [2024]/a.png", "shots [2024]/b[1].png"]),
        ("shots [2024]/b[1].*", ["shots [2024]/b[1].png"]),
        ("shots [2024]/**/c.png", ["shots [2024]/deep/c.png"]),
        ("shots [24]/*.png", ["shots 2/d.png"]),
        (f"{tmp_path}/shots [2024]/[ab]*.png", [f"{tmp_path}/shots [2024]/a.png", f"{tmp_path}/shots [2024]/b[1].png"]),
    ):
        assert [one.path for one in find_sources([pattern])] == found
    with pytest.raises(click.UsageError, match="no file matches"):
        find_sources(["shots [2024]/*.jpg"])
    with pytest.raises(click.UsageError, match="File name too long"):
        find_sources(["x" * 300])
