"""A slice of the campaigns of documents: mutants are the same ones each time, and none is a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.driver import Child, campaign
from tests.fuzz.mutators import MUTATORS

KINDS = ("manifest", "tokenizer", "words", "regions", "checkpoint")


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_is_one_mutant(kind: str, tmp_path: Path) -> None:
    made = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        MUTATORS[kind]().make(3, folder)
        made.append(content(folder))
    assert made[0] == made[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_mutant_is_a_fault(kind: str, tmp_path: Path) -> None:
    mutator = MUTATORS[kind]()
    reader = Child(mutator.targets[0])
    try:
        report = campaign(mutator, reader, range(60), scratch=tmp_path)
    finally:
        reader.close()
    assert report.faults == []
    assert report.counts["refused"] > 10
