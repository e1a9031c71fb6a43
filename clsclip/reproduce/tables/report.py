"""A table as Markdown and as JSON: this run beside the published figures."""

from __future__ import annotations

from typing import Any

from clsclip.reproduce.tables.published import Table
from clsclip.reproduce.tables.runs import Outcome, TableRun, mean_and_spread

FIGURES = ("miou", "fb_iou", "which_word", "leakage")


def summary(outcome: Outcome, run: TableRun) -> dict[str, Any]:
    """Figures of a row: by fold over seeds; and of the mean of folds, its mean and spread over seeds."""
    by_seed: dict[str, list[float]] = {name: [] for name in FIGURES}
    for seed in run.seeds:
        own = [result for result in outcome.results if result["seed"] == seed]
        for name in FIGURES:
            by_seed[name].append(mean_and_spread([number(result[name]) for result in own])[0])
    folds = {
        fold: mean_and_spread([number(result["miou"]) for result in outcome.results if result["fold"] == fold])[0]
        for fold in run.folds
    }
    means = {name: dict(zip(("mean", "spread"), mean_and_spread(by_seed[name]), strict=True)) for name in FIGURES}
    row = outcome.row
    published = {"miou": row.miou, "fb_iou": row.fb_iou, "folds": list(row.folds)} if row.published else None
    figures = {"folds": folds, **means} if outcome.results else None
    return {
        "label": row.label,
        "variant": outcome.variant,
        "regions": row.regions,
        "figures": figures,
        "skipped": outcome.skipped,
        "published": published,
    }


def number(value: float | None) -> float:
    """JSON has no NaN: None stands for it."""
    return float("nan") if value is None else float(value)


def markdown(table: Table, rows: list[dict[str, Any]], run: TableRun, data: str) -> str:
    """The table with a title line and a note.

    Columns: mIoU by fold, mean, FB-IoU, which-word, leakage, published. The title says whose regions ClsCLIP+ looks at.
    """
    seeds = f"{len(run.seeds)} seed" + "s" * (len(run.seeds) > 1)
    source = run.regions.get("regions")
    plus = "" if source is None else f" ClsCLIP+ looks at {source.name}."
    lines = [
        f"Table {table.number}. {table.title}. Data: {data}; protocol {run.protocol.name}; {seeds}.{plus}",
        "",
        "| model | "
        + " | ".join(f"fold {fold}" for fold in run.folds)
        + " | mIoU | FB-IoU | which-word | leakage | published mIoU / FB-IoU |",
        "|" + "---|" * (len(run.folds) + 6),
    ]
    for row in rows:
        published = row["published"]
        paper = "-" if published is None else " / ".join(shown(published[name]) for name in ("miou", "fb_iou"))
        if row["figures"] is None:
            cells = ["-"] * len(run.folds) + [row["skipped"], "-", "-", "-"]
        else:
            figures = row["figures"]
            cells = [shown(figures["folds"][fold]) for fold in run.folds]
            cells += [with_spread(figures[name]) for name in ("miou", "fb_iou", "which_word")]
            cells.append(with_spread(figures["leakage"], digits=2))
        lines.append(f"| {row['label']} ({row['variant']}) | {' | '.join(cells)} | {paper} |")
    return "\n".join([*lines, *(["", table.note] if table.note else [])])


def shown(value: float | None, digits: int = 1) -> str:
    """A figure, or a dash."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def with_spread(figure: dict[str, float], digits: int = 1) -> str:
    """``56.4 ± 0.8``; the spread is left out where there is one seed."""
    spread = f" ± {figure['spread']:.{digits}f}" if figure["spread"] else ""
    return shown(figure["mean"], digits) + spread
