"""The rooms of the C++ runtime: what a room may include is what the same room of the Python runtime may import."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cpp.c_api import ROOT

SOURCE = ROOT / "runtime" / "cpp" / "src"

ROOMS = {"backends", "bundle", "detectors", "images", "inference", "masks", "regions", "results", "text", "unicode"}
"""Those of the Python runtime, and two of what Python has from Pillow and from its own library."""

LOW = {"inference", "results", "backends", "detectors"}
MAY_NOT = {
    "masks": LOW,
    "text": LOW,
    "regions": LOW,
    "bundle": LOW,
    "images": LOW,
    "unicode": LOW | {"bundle", "text"},
    "backends": {"inference", "results", "bundle"},
    "results": {"inference", "backends"},
    "detectors": {"inference", "results"},
}
"""Rooms that a room includes nothing of. Files of no room are the ground floor, or the top that uses all."""

TOP = {"segmenter.cpp", "c_api.cpp"}


def sources(folder: Path) -> list[Path]:
    """All C and C++ files of a folder."""
    return sorted(path for path in folder.rglob("*") if path.suffix in (".cpp", ".hpp", ".h", ".c"))


def includes(path: Path) -> set[str]:
    """First folders of what a file includes in quotes; of files of no room their names."""
    return {one.split("/")[0] for one in re.findall(r'#include "([^"]+)"', path.read_text("utf-8"))}


def test_every_folder_is_a_room() -> None:
    assert {path.name for path in SOURCE.iterdir() if path.is_dir()} == ROOMS


@pytest.mark.parametrize("room", sorted(MAY_NOT))
def test_rooms_include_only_what_lies_below(room: str) -> None:
    wrong = {path.name: includes(path) & MAY_NOT[room] for path in sources(SOURCE / room)}
    assert not {name: rooms for name, rooms in wrong.items() if rooms}


def test_the_ground_floor_includes_no_room() -> None:
    for path in SOURCE.iterdir():
        if path.suffix in (".cpp", ".hpp") and path.name not in TOP:
            assert not includes(path) & ROOMS, path.name


def test_rooms_have_no_circles() -> None:
    below = {
        room: {other for path in sources(SOURCE / room) for other in includes(path) if other in ROOMS - {room}}
        for room in ROOMS
    }
    while below:
        free = [room for room, others in below.items() if not others & below.keys()]
        assert free, f"a circle among {sorted(below)}"
        for room in free:
            del below[room]


def test_files_are_short() -> None:
    lines = {path.name: path.read_text("utf-8").splitlines() for path in sources(ROOT / "runtime" / "cpp")}
    tables = {"tables_entities.hpp", "tables_kinds.hpp", "tables_normal.hpp"}  # made by scripts/unicode_tables.py
    long = {
        name for name, own in lines.items() if len(own) > 400 and "Longer than other files: " not in "".join(own[:3])
    }
    assert long <= tables
