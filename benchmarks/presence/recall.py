"""What the presence filter keeps on sticker pictures: vocabularies of 20, 171 and 1,000 words, the embedded model.

    python benchmarks/presence/recall.py STICKERS [--model BUNDLE] [--pictures 60] [--report FILE]

STICKERS is the ``node_modules`` folder with the sticker packages. Every picture is asked for its own words among
others: nouns of the sticker world, and for 1,000 words the names of other emoji too, which the model has never read. A
mask does not depend on what else is asked, so the picture's own words are segmented once, without a filter (the first
row), and the runtime's filter then chooses among the presence scores of every vocabulary: a word that it drops has an
empty mask. Prints a Markdown table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from clsclip.data import asking
from clsclip.data.base import Fold
from clsclip.evaluation import Scores
from clsclip.folds import StickerOptions, open_fold
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip_runtime import Segmenter
from clsclip_runtime.inference.presence import PresenceFilter

VOCABULARIES = (20, 171, 1000)
THRESHOLDS = (None, 0.3, 0.1)
"""Of presence; None is the model's own."""

MAX_CLASSES = (None, 20, 10, 5)


@dataclass
class Row:
    """One vocabulary and filter.

    Attributes:
        words: asked of every picture; 0 for its own alone.
        chooser: what chooses; None for no filter.
        scores: of the picture's own words.
        own: (picture, own word) pairs asked.
        kept: of those, let through.
        through: words let through, of all pictures.
        images: how many.
    """

    words: int
    chooser: PresenceFilter | None
    scores: Scores
    own: int = 0
    kept: int = 0
    through: int = 0
    images: int = 0

    def to_json(self) -> dict[str, Any]:
        """Figures: recall and IoU in percent, words let through a picture."""
        return {
            "words": self.words,
            "threshold": None if self.chooser is None else self.chooser.threshold,
            "max_classes": None if self.chooser is None else self.chooser.max_classes,
            "recall": round(100 * self.kept / self.own, 1),
            "through": round(self.through / self.images, 1),
            "miou": round(self.scores.miou, 1),
            "pairs": self.own,
        }


@click.command()
@click.argument("stickers", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="Default: the embedded bundle.")
@click.option("--pictures", "images", default=60, show_default=True)
@click.option("--style", "styles", multiple=True, default=("noto", "fluent"), show_default=True)
@click.option("--seed", default=2028, show_default=True)
@click.option("--backend", default="auto", show_default=True)
@click.option("--report", "report_path", type=click.Path(path_type=Path))
def main(
    stickers: Path,
    model: Path | None,
    images: int,
    styles: tuple[str, ...],
    seed: int,
    backend: str,
    report_path: Path | None,
) -> None:
    """Measure every vocabulary on the same pictures."""
    options = StickerOptions("all", styles, 256, (0.02, 0.6), (1, 8), seed, test_images=images)
    fold = asking(open_fold("stickers", stickers, -1, part="test", stickers=options), "all")
    with Segmenter.load(model, backend) as segmenter:
        rows = [row.to_json() for row in measure(fold, segmenter, other_emoji(stickers), seed)]
    click.echo(table(rows))
    if report_path is not None:
        document = {"pictures": images, "styles": styles, "seed": seed, "rows": rows}
        report_path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def other_emoji(stickers: Path) -> list[str]:
    """Names of emoji that are no noun of the sticker world, nor a synonym of one."""
    known = {word for noun in nouns() for word in (noun.name, *noun.synonyms)}
    listed = json.loads((stickers / "emoji-datasource-google" / "emoji.json").read_text("utf-8"))
    names = [one["short_name"].replace("_", " ").replace("-", " ") for one in listed]
    return [name for name in dict.fromkeys(names) if name not in known and not name.startswith("flag")]


def vocabulary(own: Sequence[str], emoji: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` words: the picture's own, drawn nouns, and other emoji where there are no more nouns."""
    others = [noun.name for noun in nouns() if noun.name not in own]
    drawn = [others[at] for at in rng.permutation(len(others))]
    return [*own, *drawn, *emoji][:count]


def measure(fold: Fold, segmenter: Segmenter, emoji: Sequence[str], seed: int) -> list[Row]:
    """All rows on all pictures of the fold's test."""
    data, rng = fold.test, np.random.default_rng(seed)
    fitted = segmenter.bundle.manifest.presence
    trained = 0.0 if fitted is None else fitted.threshold
    exact = Row(0, None, Scores(len(data.classes)))
    filtered = [
        Row(count, PresenceFilter(threshold, max_classes), Scores(len(data.classes)))
        for count in VOCABULARIES
        for threshold in dict.fromkeys(trained if one is None else one for one in THRESHOLDS)
        for max_classes in MAX_CLASSES
    ]
    asked: dict[int, list[int]] = {}
    for index, class_id in fold.test_pairs:
        asked.setdefault(index, []).append(class_id)
    for index, present in asked.items():
        own = [data.classes[one] for one in present]
        segmenter.set_image(data.image(index))
        masks = segmenter.predict(own, presence_filter=False).masks
        for count in (0, *VOCABULARIES):
            words = vocabulary(own, emoji, count, rng) if count else own
            scores = [one.presence for one in segmenter.predict(words, max_classes=1, presence_threshold=1)]
            presence = None if None in scores else np.array(scores, np.float32)
            everything, nothing = np.ones((1, len(words)), np.bool_), np.zeros(1, np.bool_)
            for row in (row for row in (exact, *filtered) if row.words == count):
                chosen = everything
                if row.chooser is not None and presence is not None:
                    chosen, _ = row.chooser.choose(everything, nothing, nothing, presence[None])
                add(row, chosen[0], masks, present, [data.mask(index, one) for one in present])
    return [exact, *filtered]


def add(row: Row, chosen: Any, masks: Any, present: Sequence[int], truths: Sequence[Any]) -> None:
    """Count one picture; its own words come first in ``chosen``."""
    row.images += 1
    row.through += int(chosen.sum())
    row.own += len(present)
    row.kept += int(chosen[: len(present)].sum())
    for at, (class_id, truth) in enumerate(zip(present, truths, strict=True)):
        row.scores.add_episode(class_id, masks[at] & chosen[at], truth, in_several=len(present) > 1)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| words | presence at least | max_classes | recall of own words | let through | mIoU | loss |"]
    lines.append("|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        chosen = (
            "no filter | " if row["threshold"] is None else f"{row['threshold']:.2f} | {row['max_classes'] or 'all'}"
        )
        figures = f"{row['recall']:.1f} | {row['through']:.1f} | {row['miou']:.1f}"
        lines.append(f"| {row['words'] or 'own'} | {chosen} | {figures} | {rows[0]['miou'] - row['miou']:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
