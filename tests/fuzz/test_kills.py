"""A few kills of each kind, and what the campaign itself would notice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz.kills import JOBS, Images, Video, campaign
from tests.runtime.tiny_bundle import make_bundle

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(JOBS))
def test_a_few_kills(name: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.clsclip")
    report = campaign(JOBS[name](tmp_path / name, bundle), 4, seed=5)
    assert report.faults == []
    assert sum(report.kills.values()) == 4


def test_half_a_file_is_noticed(tmp_path: Path) -> None:
    job = Images(tmp_path / "job", tmp_path, count=1)
    job.out.mkdir()
    whole = (job.folder / "in" / "0.png").read_bytes()
    (job.out / "a.png").write_bytes(whole)
    wanted = job.content()
    assert job.differs(job.content(), wanted) == []
    (job.out / "b.png").write_bytes(whole)
    assert job.differs(job.content(), wanted) == ["b.png"]
    (job.out / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((OSError, ValueError)):
        job.content()


def test_a_beginning_of_a_video_is_no_fault_and_another_one_is(tmp_path: Path) -> None:
    job = Video(tmp_path / "job", tmp_path, count=1)
    wanted = {"a.mp4": [1, 2, 3], "b.png": (1, 2)}
    assert job.differs({"a.mp4": [1, 2]}, wanted) == []
    assert job.differs({"a.mp4": [2], "b.png": (1, 3)}, wanted) == ["a.mp4", "b.png"]
    assert job.differs({"a.mp4": []}, wanted) == ["a.mp4"]
