"""The figures of speed that pages outside of benchmarks/ show, made from the same documents as its own tables.

``benchmarks.run`` puts them between their markers: README.md, docs/guides/speed.md and docs/guides/many-classes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.table import FIRST
from clsclip_bench.report import figure, percent, table

Document = Mapping[str, Any]
Documents = Mapping[str, Document]

ROOT = Path(__file__).parents[1]

README_ROWS = (
    ("PyTorch eager, a call for every word", FIRST),
    ("OpenVINO", "fp32, openvino"),
    ("OpenVINO, INT8", "int8, openvino"),
    ("OpenVINO, presence filter, one word left", "fp32, openvino, filtered to 1"),
)
"""What a row is called there, and how the name of the measured one ends."""

GUIDE_ROWS = (
    ("PyTorch eager, a call for every word", FIRST),
    ("PyTorch eager, batched, stem shared", "PyTorch eager, batched, stem shared"),
    ("ONNX Runtime", "fp32, onnxruntime-cpu"),
    ("OpenVINO", "fp32, openvino"),
    ("OpenVINO, BF16", "fp32, openvino:bf16"),
    ("OpenVINO, INT8 bundle", "int8, openvino"),
    ("OpenVINO, presence filter, one word left", "fp32, openvino, filtered to 1"),
    ("OpenVINO, INT8 bundle, presence filter, eight words left", "int8, openvino, filtered to 8"),
    ("CLIPSeg in PyTorch, as documented: another model", "CLIPSeg as documented"),
    ("CLIPSeg in PyTorch, its encoder shared: another model", "CLIPSeg, encoder shared"),
)


@dataclass(frozen=True)
class Place:
    """A pair of markers in a page.

    Attributes:
        page: from the project's folder.
        marker: its name.
        needs: names of the steps whose documents it is made of.
        text: makes it.
    """

    page: str
    marker: str
    needs: tuple[str, ...]
    text: Callable[[Documents], str]


def found(document: Document, ending: str) -> Document:
    """The first measured row whose name ends so. LookupError if there is none."""
    for row in document["rows"]:
        if row["name"].endswith(ending) and row["whole_ms"] is not None:
            return dict(row)
    raise LookupError(f"no row that ends in {ending!r} was measured")


def short_rows(documents: Documents) -> str:
    """The four rows of the README."""
    lines = []
    for label, ending in README_ROWS:
        row = found(documents["peers"], ending)
        lines.append([label, figure(row["whole_ms"]["p50"]), agreement(row)])
    return table(("way", "ms", "mask IoU to PyTorch"), lines)


def guide_rows(documents: Documents) -> str:
    """The table of the guide to speed; CLIPSeg is compared with itself, so it has no figure of agreement."""
    lines = []
    for label, ending in GUIDE_ROWS:
        row = found(documents["peers"], ending)
        other = row.get("family") == "CLIPSeg"
        lines.append([
            label, figure(row["whole_ms"]["p50"]), figure(row["times_first"], 2), percent(row["peak_share"]),
            "" if other else agreement(row),
        ])  # fmt: skip
    return table(("Way", "ms", "times the first", "% of peak", "mask IoU to PyTorch"), lines)


def agreement(row: Document) -> str:
    """The mean IoU of a row's masks with those of PyTorch; the reference agrees with itself."""
    parity = row["parity"] or {}
    return "1" if parity.get("reference") else figure(parity.get("mean_iou"), 3)


def other_facts(documents: Documents) -> str:
    """What else the guide to speed states."""
    plus, disk, filtered = documents["plus"], documents["disk"], documents["full-size-filtered"]
    ours, theirs = (milliseconds(found(plus, name)) for name in ("clsclip, openvino", "a call for every word"))
    shares = [row["outside_share"] for row in measured(disk) if row["outside_share"] is not None]
    loads = [row["load_s"] for row in measured(documents["peers"]) if "fp32, openvino" in row["name"]]
    few, many = (at(filtered, "fp32, openvino, filtered", classes) for classes in (20, 1000))
    return "\n".join([
        f"- A thousand words with the filter take {figure(many / few, 2)} times as long as 20.",
        f"- ClsCLIP+ with five regions and three words, detector included, takes {figure(ours)} ms. The same steps in",
        f"  ultralytics and PyTorch take {figure(theirs)}. Measured on: {plus['machine']['processor']}.",
        "- From a photo of 12 megapixels to 20 masks on disk, everything but the engine is "
        f"{percent(min(shares))} to {percent(max(shares))}.",
        f"- A bundle of ViT-B/16's size loads in {figure(min(loads), 2)} to {figure(max(loads), 2)} s with OpenVINO.",
    ])  # fmt: skip


def filter_saves(documents: Documents) -> str:
    """The sentence of the guide to many classes."""
    peers, filtered = documents["peers"], documents["full-size-filtered"]
    every, one = (
        figure(milliseconds(found(peers, end))) for end in ("fp32, openvino", "fp32, openvino, filtered to 1")
    )
    few, many = (at(filtered, "fp32, openvino, filtered", classes) for classes in (20, 1000))
    return (
        f"At the size of ViT-B/16 on two CPU cores, 20 words take {every} ms without the filter and {one} ms with one\n"
        "word left (OpenVINO, FP32). A thousand words with the filter take "
        f"{figure(many / few, 2)} times as long as 20 with it."
    )


def measured(document: Document) -> Iterator[Document]:
    """The rows that have a time."""
    return (row for row in document["rows"] if row["whole_ms"] is not None)


def milliseconds(row: Document) -> float:
    """The median."""
    return float(row["whole_ms"]["p50"])


def at(document: Document, ending: str, classes: int) -> float:
    """The median of the row of so many classes. LookupError if it was not measured."""
    rows = [row for row in measured(document) if row["name"].endswith(ending) and row["classes"] == classes]
    if not rows:
        raise LookupError(f"no row that ends in {ending!r} was measured with {classes} classes")
    return milliseconds(rows[0])


PLACES = (
    Place("README.md", "speed", ("peers",), short_rows),
    Place("docs/guides/speed.md", "speed", ("peers",), guide_rows),
    Place("docs/guides/speed.md", "facts", ("peers", "plus", "disk", "full-size-filtered"), other_facts),
    Place("docs/guides/many-classes.md", "filter", ("peers", "full-size-filtered"), filter_saves),
)
