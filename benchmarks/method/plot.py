"""Draw the tables of this folder: ``python benchmarks/method/plot.py`` writes ``tables.png`` beside the JSON files."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).parent


def main() -> None:
    """Unseen mIoU and leakage of every row, with the spread over seeds."""
    tables = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(HERE.glob("table*.json"))}
    bars = [
        (f"{name}  {row['label']}", row["figures"])
        for name, table in tables.items()
        for row in table["rows"]
        if row["figures"] is not None
    ]
    figure, axes = pyplot.subplots(1, 2, figsize=(13, 0.42 * len(bars) + 1.5), sharey=True)
    places = range(len(bars), 0, -1)
    for axis, name, title in zip(axes, ("miou", "leakage"), ("mIoU on unseen words, %", "leakage"), strict=True):
        means = [figures[name]["mean"] or 0 for _, figures in bars]
        spreads = [figures[name]["spread"] or 0 for _, figures in bars]
        axis.barh(places, means, xerr=spreads, color="#4878a8" if name == "miou" else "#c86464", capsize=3)
        axis.set_title(title)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(places, [label for label, _ in bars])
    figure.tight_layout()
    figure.savefig(HERE / "tables.png", dpi=110)


if __name__ == "__main__":
    main()
