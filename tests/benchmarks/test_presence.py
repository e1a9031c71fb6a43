"""The recall of the presence filter, on the two pictures of a tiny sticker world."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.presence.recall import MAX_CLASSES, measure, table
from clsclip.data import asking
from clsclip.folds import StickerOptions, open_fold
from clsclip_runtime import Segmenter
from tests.tiny import draw_stickers


def test_a_larger_vocabulary_keeps_the_same_words_at_a_threshold(tmp_path: Path) -> None:
    options = StickerOptions("all", ("noto",), 64, (0.3, 0.6), (2, 3), 5, test_images=2)
    fold = asking(open_fold("stickers", draw_stickers(tmp_path), -1, part="test", stickers=options), "all")
    with Segmenter.load(None, "onnxruntime-cpu") as segmenter:
        rows = [row.to_json() for row in measure(fold, segmenter, [f"emoji {at}" for at in range(900)], 5)]
    assert rows[0]["words"] == 0 and rows[0]["recall"] == 100
    by = {(row["words"], row["threshold"], row["max_classes"]): row for row in rows[1:]}
    for threshold in {key[1] for key in by}:
        every = [by[words, threshold, None] for words in (20, 171, 1000)]
        # A word's presence does not hang on what else is asked.
        assert len({row["recall"] for row in every}) == 1
        assert every[0]["through"] <= every[1]["through"] <= every[2]["through"]
        for top in MAX_CLASSES[1:]:
            assert by[1000, threshold, top]["through"] <= top
            assert by[1000, threshold, top]["recall"] <= every[2]["recall"] == pytest.approx(every[0]["recall"])
    assert len(table(rows).splitlines()) == len(rows) + 2
