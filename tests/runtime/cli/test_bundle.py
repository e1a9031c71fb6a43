"""``clsclip-bundle``, as it is typed; what an upgrade does is tested with the upgrade."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clsclip_runtime.cli import bundle as module
from clsclip_runtime.cli.bundle import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the command asked for."""
    asked: list[tuple[object, ...]] = []

    def upgrade(old: os.PathLike[str], new: os.PathLike[str], *, force: bool) -> list[str]:
        asked.append((str(old), str(new), force))
        return ["engines were left out"]

    monkeypatch.setattr(module, "upgrade_bundle", upgrade)
    return asked


def test_upgrade_tells_what_it_did(upgraded: list[tuple[object, ...]], capsys: Captured) -> None:
    assert main(["upgrade", "old.clsclip", "new.clsclip", "--force"]) == 0
    assert upgraded == [("old.clsclip", "new.clsclip", True)]
    captured = capsys.readouterr()
    assert captured.out == "new.clsclip written: schema version 2\n"
    assert captured.err == "note: engines were left out\n"


def test_json_is_one_document_and_nothing_else(upgraded: list[tuple[object, ...]], capsys: Captured) -> None:
    assert main(["upgrade", "old.clsclip", "new.clsclip", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "bundle": "new.clsclip",
        "schema_version": 2,
        "notes": ["engines were left out"],
    }
    assert captured.err == "" and len(upgraded) == 1


def test_wrong_use_is_2_and_a_failure_1(tmp_path: Path, capsys: Captured) -> None:
    assert main(["upgrade", "old.clsclip"]) == 2
    assert "Missing argument 'NEW'" in capsys.readouterr().err
    assert main(["upgrade", str(tmp_path / "none"), str(tmp_path / "new")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("clsclip-bundle: ")
