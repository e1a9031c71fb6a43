"""How well a model follows its words on new sticker pictures: trained and held-out words, an unseen style, a control.

    python benchmarks/method/embedded.py STICKERS [--model BUNDLE_OR_CHECKPOINT] [--pictures 1000] [--report FILE]

STICKERS is the ``node_modules`` folder with the sticker packages. Prints a Markdown table. Pictures are of 256 px with
1 to 8 things of 2 to 60 % of the side; every (picture, word) pair is asked once, and as many absent words.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from clsclip.data import asking
from clsclip.evaluation import Method, Protocol, evaluate, open_predictor, shuffled
from clsclip.folds import StickerOptions, open_fold

CONDITIONS = (
    ("trained words", "seen", ("noto", "fluent"), False),
    ("held-out words, no mask ever", "novel", ("noto", "fluent"), False),
    ("trained words, style never seen", "seen", ("twemoji",), False),
    ("held-out words, style never seen", "novel", ("twemoji",), False),
    ("trained words, shuffled (control)", "seen", ("noto", "fluent"), True),
    ("held-out words, shuffled (control)", "novel", ("noto", "fluent"), True),
)


@click.command()
@click.argument("stickers", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="Default: the embedded bundle.")
@click.option("--pictures", "images", default=1000, show_default=True)
@click.option("--seed", default=2026, show_default=True)
@click.option("--presence/--no-presence", default=True, help="Empty masks below the model's threshold; or the paper's.")
@click.option("--report", type=click.Path(path_type=Path))
def main(stickers: Path, model: Path | None, images: int, seed: int, presence: bool, report: Path | None) -> None:
    """Evaluate under every condition."""
    rows = []
    predictor = open_predictor(model, presence=presence)
    header = ("words", "presence", "mIoU", "FB-IoU", "which-word", "leakage", "pairs")
    click.echo("| " + " | ".join(header) + " |\n|---|---|---|---|---|---|---|")
    for label, group, styles, control in CONDITIONS:
        options = StickerOptions("all", styles, 256, (0.02, 0.6), (1, 8), seed, test_images=images)
        fold = asking(open_fold("stickers", stickers, -1, part="test", stickers=options), group)
        method = Method(predictor)
        found = evaluate(fold, shuffled(method, fold.test.classes) if control else method, Protocol(every=True))
        row = {"words": label, "presence": "model's threshold" if presence else "off"} | found.to_json()
        rows.append(row)
        figures = [f"{row[name]:.1f}" for name in ("miou", "fb_iou", "which_word")]
        click.echo(f"| {label} | {row['presence']} | {' | '.join(figures)} | {row['leakage']:.2f} | {row['pairs']} |")
    if report is not None:
        kept = [{name: value for name, value in row.items() if name != "classes"} for row in rows]
        report.write_text(json.dumps({"pictures": images, "seed": seed, "rows": kept}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
