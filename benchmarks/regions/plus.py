"""ClsCLIP, ClsCLIP+, boxes drawn by hand and boxes alone, on large sticker pictures; small things apart.

    python benchmarks/regions/plus.py STICKERS [DETECTOR] [--model BUNDLE] [--pictures 200] [--report FILE]

STICKERS is the ``node_modules`` folder with the sticker packages, DETECTOR an ONNX file such as ``detector.py`` writes;
without one, its rows are left out.
Pictures are of 1024 px with 1 to 8 things of 2 to 60 % of the side. Every (picture, word) pair is asked once, and as
many absent words; everything goes through the runtime as a user would call it. Prints a Markdown table.

Recall: of the things of a size, the share that some mask of their word covers with IoU 0.5 or more. Candidates are the
connected parts of the word's mask and, where regions were looked at, the mask of each region.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from clsclip.data import asking
from clsclip.data.base import Fold
from clsclip.evaluation import Scores, TruthRegions
from clsclip.evaluation.evaluate import absent_words
from clsclip.folds import StickerOptions, open_fold
from clsclip_runtime import Proposals, Result, Segmenter, ZoomIn

SIZES = ((0.0, 0.01), (0.01, 0.05), (0.05, 1.0))
"""Share of the picture that a thing covers: bins of the recall."""


NAMELESS_CONFIDENCE = 0.12
"""Least score of the detector's boxes where their names are forgotten: more of them cost more than they find."""

PAPERS = "ClsCLIP+ of the paper (mask_threshold 0.5, mask_margin None)"


@dataclass
class Row:
    """One way to make masks, and what it reached."""

    label: str
    scores: Scores
    found: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SIZES), np.int64))
    things: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SIZES), np.int64))
    milliseconds: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Figures: IoU and recall in percent, leakage a ratio, the median milliseconds of a picture."""
        recall = [round(100 * float(one), 1) for one in self.found / np.maximum(self.things, 1)]
        return {
            "method": self.label,
            "miou": round(self.scores.miou, 1),
            "fb_iou": round(self.scores.fb_iou, 1),
            "which_word": round(self.scores.which_word, 1),
            "leakage": round(self.scores.leakage, 3),
            "recall": recall,
            "things": self.things.tolist(),
            "pairs": int(self.scores.episodes.sum()),
            "median_ms": round(float(np.median(self.milliseconds)), 1),
        }


@click.command()
@click.argument("stickers", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("detector", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="Default: the embedded bundle.")
@click.option("--words", type=click.Choice(["coco", "all"]), default="coco", show_default=True, help="What is asked.")
@click.option("--pictures", "images", default=200, show_default=True)
@click.option("--side", default=1024, show_default=True)
@click.option("--crop-margin", default=ZoomIn.crop_margin, show_default=True)
@click.option("--confidence", default=0.03, show_default=True, help="Least score of the detector's boxes.")
@click.option("--style", "styles", multiple=True, default=("noto", "fluent"), show_default=True)
@click.option("--log-sizes", is_flag=True, help="As many things of 2 to 6 % of the side as of 20 to 60 %.")
@click.option("--seed", default=2027, show_default=True)
@click.option("--report", "report_path", type=click.Path(path_type=Path))
def main(
    stickers: Path,
    detector: Path | None,
    model: Path | None,
    words: str,
    images: int,
    side: int,
    crop_margin: float,
    confidence: float,
    styles: tuple[str, ...],
    log_sizes: bool,
    seed: int,
    report_path: Path | None,
) -> None:
    """Measure every way on the same pictures and words."""
    options = StickerOptions(words, styles, side, (0.02, 0.6), (1, 8), seed, log_sizes=log_sizes, test_images=images)
    fold = asking(open_fold("stickers", stickers, -1 if words == "all" else 0, part="test", stickers=options), "all")
    zoom = ZoomIn(crop_margin=crop_margin, confidence=confidence)
    with Segmenter.load(model, detector=detector) as segmenter:
        rows = measure(fold, segmenter, zoom)
    documents = [row.to_json() for row in rows]
    click.echo(table(documents))
    if report_path is not None:
        made = {
            "words": words,
            "pictures": images,
            "side": side,
            "styles": styles,
            "seed": seed,
            "log_sizes": log_sizes,
            "mask_threshold": zoom.mask_threshold,
            "mask_margin": zoom.mask_margin,
        }
        made |= {"crop_margin": crop_margin, "confidence": confidence, "rows": documents}
        report_path.write_text(json.dumps(made, indent=1) + "\n", "utf-8")


def measure(fold: Fold, segmenter: Segmenter, zoom: ZoomIn) -> list[Row]:
    """All rows on all pictures of the fold's test."""
    data = fold.test
    rows: dict[str, Row] = {}
    asked: dict[int, list[int]] = {}
    for index, class_id in fold.test_pairs:
        asked.setdefault(index, []).append(class_id)
    for index, present in asked.items():
        absent = absent_words(fold, index, len(present))
        words = [data.classes[one] for one in (*present, *absent)]
        segmenter.set_image(data.image(index))
        segmenter.predict(words, presence_threshold=1)  # words are encoded once, before anything is timed
        truths = {data.classes[one]: data.mask(index, one) for one in present}
        for name, result in looks(segmenter, data.image(index), words, truths, data.key(index), zoom):
            row = rows.setdefault(name, Row(name, Scores(len(data.classes))))
            row.milliseconds.append(result.timings["total"])
            count(row, result, present, truths, len(absent))
            recall(row, result, things(data, index, present))
    return list(rows.values())


def looks(
    segmenter: Segmenter,
    image: NDArray[np.uint8],
    words: list[str],
    truths: dict[str, NDArray[np.uint8]],
    key: str,
    zoom: ZoomIn,
) -> Iterator[tuple[str, Result]]:
    """The picture segmented in every way."""
    named = TruthRegions().find(key, image, truths)
    anything = Proposals.from_boxes(named.boxes)
    yield "ClsCLIP, whole picture", segmenter(image, words)
    yield "ClsCLIP, whole picture, refined", segmenter(image, words, refine=True)
    yield "ClsCLIP+, tiles", segmenter(image, words, regions="tiles")
    yield "ClsCLIP+, tiles, refined", segmenter(image, words, regions="tiles", refine=True)
    if segmenter.detector is not None:
        yield "ClsCLIP+, regions of the detector", segmenter(image, words, zoom_in=zoom)
    if segmenter.detector is not None and not segmenter.detector.class_agnostic:
        nameless = replace(zoom, class_agnostic=True, confidence=max(zoom.confidence or 0, NAMELESS_CONFIDENCE))
        yield "ClsCLIP+, the detector's boxes without their names", segmenter(image, words, zoom_in=nameless)
    yield "ClsCLIP+, boxes by hand, without names", segmenter(image, words, regions=anything, zoom_in=zoom)
    yield "ClsCLIP+, boxes by hand, named", segmenter(image, words, regions=named, zoom_in=zoom)
    papers = replace(zoom, mask_threshold=0.5, mask_margin=None)
    if segmenter.detector is not None:
        yield f"{PAPERS}, regions of the detector", segmenter(image, words, zoom_in=papers)
    yield f"{PAPERS}, boxes by hand, named", segmenter(image, words, regions=named, zoom_in=papers)
    alone = ZoomIn(boxes_as_masks=True)
    yield "boxes by hand alone as masks", segmenter(image, words, regions=named, zoom_in=alone)


def count(row: Row, result: Result, present: list[int], truths: dict[str, NDArray[np.uint8]], absent: int) -> None:
    """Add the picture's pixels to the scores."""
    masks = result.masks
    for class_id, mask, truth in zip(present, masks, truths.values(), strict=False):
        row.scores.add_episode(class_id, mask, truth, in_several=len(present) > 1)
    fair = min(len(present), absent)
    marked = masks.sum(axis=(1, 2))
    row.scores.add_marked(int(marked[:fair].sum()), int(marked[len(present) : len(present) + fair].sum()))


def things(data: Any, index: int, present: list[int]) -> list[tuple[int, NDArray[np.bool_]]]:
    """(position of its word among the present ones, mask) of every thing in the picture."""
    made = data.made(index)
    of_noun = {data.noun_of[class_id]: at for at, class_id in enumerate(present)}
    return [
        (of_noun[thing.noun], made.instances == number)
        for number, thing in enumerate(made.things, start=1)
        if thing.noun in of_noun
    ]


def recall(row: Row, result: Result, wanted: list[tuple[int, NDArray[np.bool_]]]) -> None:
    """Count the things that are found, by size."""
    masks = result.masks
    parts = {word: label(masks[word], connectivity=2) for word in {word for word, _ in wanted}}
    regions: dict[int, list[NDArray[np.bool_]]] = {}
    for one in result.instances:
        if not one.whole_image:
            regions.setdefault(one.index, []).append(one.mask)
    for word, thing in wanted:
        area = np.count_nonzero(thing)
        touched = [one for one in np.unique(parts[word][thing]) if one]
        candidates = [parts[word] == one for one in touched] + regions.get(word, [])
        best = max((np.count_nonzero(one & thing) / np.count_nonzero(one | thing) for one in candidates), default=0.0)
        size = next(at for at, (_, high) in enumerate(SIZES) if area / thing.size < high or high == 1.0)
        row.things[size] += 1
        row.found[size] += best >= 0.5


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    bins = ["under 1 %", "1 to 5 %", "over 5 %"]
    counts = rows[0]["things"]
    head = [f"recall {name} ({count})" for name, count in zip(bins, counts, strict=True)]
    lines = [["method", "mIoU", "which-word", "leakage", *head, "ms"]]
    for row in rows:
        figures = [f"{row['miou']:.1f}", f"{row['which_word']:.1f}", f"{row['leakage']:.2f}"]
        lines.append([row["method"], *figures, *(f"{one:.1f}" for one in row["recall"]), f"{row['median_ms']:.0f}"])
    text = ["| " + " | ".join(line) + " |" for line in lines]
    text.insert(1, "|---|" + "---:|" * (len(lines[0]) - 1))
    return "\n".join(text)


if __name__ == "__main__":
    main()
