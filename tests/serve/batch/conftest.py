"""A folder of small images, and the command in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip_serve.batch import pool
from clsclip_serve.batch.job import Job
from clsclip_serve.batch.rows import Rows
from clsclip_serve.batch.sources import Chunk, Reader
from tests.runtime.tiny_bundle import COLOURS, paint

WORDS = ["red", "green", "blue"]
BROKEN = {"c/cut.png": "damaged", "empty.jpg": "empty"}


def draw(folder: Path, count: int) -> Path:
    """Images of squares, no two alike, in sub-folders."""
    shapes = np.random.default_rng(3)
    for number in range(count):
        squares = {}
        for word in shapes.choice(list(COLOURS), 2, replace=False):
            top, left = (int(one) for one in shapes.integers(0, 5, 2))
            squares[str(word)] = (slice(top, top + 3), slice(left, left + 3))
        path = folder / f"{'abc'[number % 3]}/image {number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (40 + number % 30, 50 + number % 7)
        Image.fromarray(paint(squares)).resize(size, Image.Resampling.NEAREST).save(path)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve images, two damaged ones, and a file that is none."""
    folder = draw(tmp_path / "images", 12)
    whole = (folder / "a/image 0000.png").read_bytes()
    (folder / "c/cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.md").write_text("no image")
    return folder


class InlinePool:
    """As ``ProcessPool``, without processes."""

    def __init__(self, job: Job, reader: Reader, workers: int, *, seconds: float = 0) -> None:
        self.notes: list[str] = []
        self._job, self._reader = job, reader

    def rows(self, chunks: Sequence[Chunk], stop: Any) -> Iterator[dict[str, Any] | None]:
        made = Rows(self._job, self._reader)
        try:
            for chunk in chunks:
                if stop.is_set():
                    return
                yield from made.of_chunk(chunk)
        finally:
            made.close()


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ProcessPool", InlinePool)


@pytest.fixture
def batch(bundle: Path, inline: None) -> Callable[..., int]:
    """``clsclip-batch`` with the tiny model, in this process."""
    from clsclip_serve.batch.cli import main

    def run(source: object, out: object, *options: str, words: Sequence[str] = WORDS) -> int:
        given = [str(source), "--classes", *words, "--out", str(out), "--model", str(bundle)]
        return main([*given, "--backend", "onnxruntime-cpu", *options])

    return run
