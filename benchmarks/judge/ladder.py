"""The ladder: every model's figures on the judge's pictures and on the training maker's, as JSON and as tables."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.judge.cosine import CosinePredictor
from benchmarks.judge.figures import SIZES, Count, asked
from benchmarks.judge.maker import Scene
from benchmarks.judge.scenes import CHOICE, FIGURES, TRAINED_STYLES, UNSEEN_STYLES, judge_scenes, training_scenes
from clsclip.evaluation import CheckpointPredictor, Predictor, open_predictor
from clsclip.evaluation.predictors import Search
from clsclip.model import ClsClip, ModelConfig
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip.tower_files import CONFIG_FILE, load_towers
from clsclip.training_free import METHODS
from clsclip_runtime.paths import is_file, write_json

HERE = Path(__file__).parent
LADDER = HERE / "ladder.json"
README = HERE / "README.md"
CARD = HERE.parents[1] / "MODEL_CARD.md"
EMBEDDED = HERE.parents[1] / "models" / "stickers" / "last.safetensors"

KINDS = ("model", "cosine-winner", *METHODS)
DATA = ("judge", "training", "unseen-style")
TRAINING_IMAGES = 1000
IMAGE_SIZE = 128
"""Side at which towers alone are asked, pixels: the embedded model's."""

FIT_IMAGES = 100
"""Pictures, of the seeds for choices, that a row without a decoder takes its threshold from."""


@dataclass(frozen=True)
class Row:
    """One row: what is scored on which pictures.

    Attributes:
        label: its name in the tables; the labels of one kind of pictures differ.
        data: one of :data:`DATA`.
        kind: ``model``, or the model's towers without its decoder: a way to run their last layer, and
            ``cosine-winner``, in which a pixel belongs to the best word alone.
        model: a bundle or checkpoint, or a folder of towers for the rows without decoder; None is the embedded bundle,
            and its checkpoint for those rows.
        presence: give words below the model's threshold an empty mask.
        search: how a bundle searches an image; None is the whole image, plainly.
    """

    label: str
    data: str
    kind: str = "model"
    model: Path | None = None
    presence: bool = True
    search: Search | None = None


ROWS = (
    Row("embedded (stickers-v5)", "judge"),
    Row("embedded, presence off", "judge", presence=False),
    Row("embedded, refined", "judge", search=Search(refine=True)),
    Row("embedded, tiles", "judge", search=Search(tiles=True)),
    Row("embedded, tiles, refined", "judge", search=Search(tiles=True, refine=True)),
    Row("its towers: cosine, one threshold", "judge", "cosine"),
    Row("its towers: cosine, best word wins", "judge", "cosine-winner"),
    Row("its towers: maskclip, one threshold", "judge", "maskclip"),
    Row("its towers: sclip, one threshold", "judge", "sclip"),
    Row("its towers: clearclip, one threshold", "judge", "clearclip"),
    Row("its towers: naclip, one threshold", "judge", "naclip"),
    Row("embedded (stickers-v5)", "training"),
    Row("embedded (stickers-v5)", "unseen-style"),
)
"""What ``python -m benchmarks.judge ladder`` measures; further rows come from ``score --label``."""


def scenes_of(stickers: Path, data: str, count: int | None, choice: bool = False) -> Iterator[Scene]:
    """The pictures of a row, all of them or the first ``count``."""
    if data == "judge":
        return islice(judge_scenes(stickers, CHOICE if choice else FIGURES), count)
    if choice:
        raise click.UsageError("Seeds for choices are the judge's: leave out --data, or --choice.")
    styles = TRAINED_STYLES if data == "training" else UNSEEN_STYLES
    return training_scenes(stickers, count or TRAINING_IMAGES, styles)


def predictor_of(stickers: Path, row: Row) -> Predictor:
    """What draws the row's masks; a row without decoder has its threshold fitted here."""
    if row.kind == "model":
        return open_predictor(row.model, presence=row.presence, search=row.search)
    path = row.model or EMBEDDED
    if is_file(path / CONFIG_FILE):
        checkpoint: Predictor = CheckpointPredictor(
            ClsClip(load_towers(str(path), image_size=IMAGE_SIZE), ModelConfig())
        )
    else:
        checkpoint = open_predictor(path)
    if not isinstance(checkpoint, CheckpointPredictor):
        raise click.UsageError(f"The rows without a decoder need a checkpoint (.safetensors) or towers, not {path}.")
    winner = row.kind == "cosine-winner"
    cosine = CosinePredictor(checkpoint, winner, method="cosine" if winner else row.kind)
    examples = (
        (scene.pixels, words_of(present + absent), [scene.mask(noun).astype(np.uint8) for noun in present + absent])
        for scene in islice(judge_scenes(stickers, CHOICE), FIT_IMAGES)
        for present, absent in (asked(scene),)
    )
    cosine.fit(examples)
    return cosine


def words_of(indices: Sequence[int]) -> list[str]:
    """The nouns' names."""
    return [nouns()[index].name for index in indices]


def measure(
    stickers: Path, rows: Sequence[Row], count: int | None = None, choice: bool = False
) -> list[dict[str, Any]]:
    """Score rows of one kind of pictures, each picture made once; the JSON documents that the ladder holds."""
    predictors = [predictor_of(stickers, row) for row in rows]
    counts, digests, seconds = [Count() for _ in rows], [], [list[float]() for _ in rows]
    for scene in scenes_of(stickers, rows[0].data, count, choice):
        if len(digests) < 3:
            digests.append(scene.digest())
        present, absent = asked(scene)
        for predictor, counted, taken in zip(predictors, counts, seconds, strict=True):
            if present:
                words, start = words_of(present + absent), time.perf_counter()
                found = predictor.predict(scene.pixels, words)
                taken.append(time.perf_counter() - start)
                counted.add(scene, present, absent, found)
    documents = []
    for row, predictor, counted, taken in zip(rows, predictors, counts, seconds, strict=True):
        document = {"label": row.label, "data": row.data, "kind": row.kind, "method": predictor.name}
        document["ms"] = round(1000 * float(np.median(taken)), 1) if taken else None
        if isinstance(predictor, CosinePredictor):
            document["threshold"] = predictor.threshold
        documents.append(document | {"digests": digests} | counted.to_json())
    return documents


def read() -> dict[str, Any]:
    """The ladder: its rows, and the towers that are being trained."""
    document: dict[str, Any] = json.loads(LADDER.read_text("utf-8")) if is_file(LADDER) else {}
    return {"rows": [], "towers": []} | document


def measured(data: str) -> set[str]:
    """Labels of the rows that the ladder has on some pictures."""
    return {row["label"] for row in read()["rows"] if row["data"] == data}


def record(row: dict[str, Any]) -> None:
    """Add a row, or put it in the place of the one with its label and pictures."""
    document = read()
    _put(document["rows"], row, ("label", "data"))
    write_json(LADDER, document)


def record_towers(label: str, log: Path) -> None:
    """Add what the log of a towers' training says: single things named right at its start and last, and its speed."""
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    named = [line for line in lines if line.get("named_right")]
    if not named:
        raise click.ClickException(f"{log} names no single things: train with --probes.")
    speeds = [line["steps_per_second"] for line in lines if "steps_per_second" in line]
    row = {"label": label, "steps": named[-1]["step"], "steps_per_second": speeds[-1] if speeds else None}
    document = read()
    _put(document["towers"], row | {"start": named[0]["named_right"], "now": named[-1]["named_right"]}, ("label",))
    write_json(LADDER, document)


def _put(rows: list[dict[str, Any]], row: dict[str, Any], key: tuple[str, ...]) -> None:
    same = [at for at, one in enumerate(rows) if all(one[name] == row[name] for name in key)]
    if same:
        rows[same[0]] = row
    else:
        rows.append(row)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    bins = [f"{100 * low:g} to {100 * high:g} %" for low, high in SIZES]
    head = ["model", "mIoU", "which-word", "leakage", "trained", "held-out", "boundary", *bins, "ms"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        names = ("miou", "which_word", "leakage", "miou_trained", "miou_held_out", "boundary_iou")
        sizes = [f"{shown(one['missed'])} / {shown(one['median_iou'])}" for one in row["sizes"]]
        lines.append(
            "| "
            + " | ".join([row["label"], *(shown(row[name]) for name in names), *sizes, shown(row.get("ms"))])
            + " |"
        )
    return "\n".join(lines)


def towers_table(rows: Sequence[dict[str, Any]]) -> str:
    """Towers as Markdown: percent of single things named right, trained / held-out words, at the start and now."""
    styles = list(dict.fromkeys(style for row in rows for style in row["now"]))
    head = ["towers", "steps", *(f"{style}, start" for style in styles), *(f"{style}, now" for style in styles)]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        found = [row[when].get(style) for when in ("start", "now") for style in styles]
        shares = ["-" if one is None else f"{one['trained']:g} / {one['held_out']:g}" for one in found]
        lines.append("| " + " | ".join([row["label"], str(row["steps"]), *shares]) + " |")
    return "\n".join(lines)


def shown(value: float | None) -> str:
    """A figure; a dash where nothing was counted."""
    return "-" if value is None else f"{value:g}"


CARD_DATA = {
    "judge": "the judge's",
    "training": "the training maker's, trained styles",
    "unseen-style": "the training maker's, a style never seen",
}


def card_table(rows: Sequence[dict[str, Any]]) -> str:
    """The embedded model's rows for its model card, as Markdown."""
    head = ["pictures", "asked", "mIoU", "which-word", "leakage", "trained", "held-out", "boundary"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for row in rows:
        if not row["label"].startswith("embedded"):
            continue
        asked = row["label"].partition(", ")[2] or "whole picture"
        names = ("miou", "which_word", "leakage", "miou_trained", "miou_held_out", "boundary_iou")
        figures = " | ".join(shown(row[name]) for name in names)
        lines.append(f"| {CARD_DATA[row['data']]} | {asked} | {figures} |")
    return "\n".join(lines)


def fill_readme(readme: Path = README, card: Path = CARD) -> None:
    """Put the tables between their marks in README.md, and the embedded model's into its model card."""
    document = read()
    rows = document["rows"]
    tables = {data: table([row for row in rows if row["data"] == data]) for data in DATA}
    fill(readme, tables | {"towers": towers_table(document["towers"])})
    fill(card, {"ladder": card_table(rows)})


def fill(path: Path, tables: Mapping[str, str]) -> None:
    """Put tables between the marks ``<!-- name -->`` and ``<!-- /name -->`` of a Markdown file."""
    text = path.read_text("utf-8")
    for name, filled in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise click.ClickException(f"{path} has no place for the table {name!r}: {start} ... {end} is absent.")
        text = f"{before}{start}\n{filled}\n{end}{after}"
    path.write_text(text, "utf-8")
