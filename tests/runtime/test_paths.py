from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import absence, exists, expanded, is_dir, is_file, write_file, write_json, write_text


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "old")

    def fails(file: object) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        write_file(path, fails)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_synced_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, bool]] = []
    path = tmp_path / "a"

    def synced(number: int) -> None:
        seen.append((next(tmp_path.glob(".*.part")).read_bytes(), path.exists()))

    monkeypatch.setattr(os, "fsync", synced)
    write_text(path, "word", sync=True)
    assert seen == [(b"word", False)]
    write_text(path, "other")
    assert len(seen) == 1


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "gone" / "a", "text")


def test_json_is_strict_and_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {1: (float("nan"), "犬"), "b": {"c": [1.5]}})
    text = (tmp_path / "a").read_text("utf-8")
    assert json.loads(text) == {"1": [None, "犬"], "b": {"c": [1.5]}}
    assert "犬" in text and text.endswith("\n")
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a", [float("inf")])
    assert (tmp_path / "a").read_text("utf-8") == text


def test_paths_that_cannot_be_looked_at_are_not_there_and_say_why(tmp_path: Path) -> None:
    long, zero, half = tmp_path / ("x" * 300), "a\0b", "\ud800"
    for path in (long, zero, half, tmp_path / "none", tmp_path / "none" / "below"):
        assert not (exists(path) or is_file(path) or is_dir(path))
    assert absence(tmp_path / "none") == f"no such file: {tmp_path / 'none'}"
    assert absence(tmp_path, "bundle") == f"no such bundle: {tmp_path}"
    assert absence(long).startswith("cannot open ") and absence(long).endswith("File name too long")
    assert absence(zero).startswith("cannot open ") and absence(half).startswith("cannot open ")
    assert exists(tmp_path) and is_dir(tmp_path) and not is_file(tmp_path)
    assert expanded("~no-such-user/x") == Path("~no-such-user/x")
    assert expanded("~") == Path.home()
