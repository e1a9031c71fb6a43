"""What ``--refine`` does to photographs: stand-in logits of PASCAL VOC's masks, as coarse as a model's grid.

    python benchmarks/regions/edges.py VOC [--grid 14] [--pictures 200] [--report FILE]

VOC is the devkit's folder. There are no photographs' weights in this project, so the logits are made of the truth: a
thing's mask, or its box filled, is averaged over a grid of 14 x 14 squares (what CLIP ViT-B/16 has), and a share of a
half is the threshold. A pixel's IoU is then a matter of edges alone. Prints a Markdown table.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clsclip_runtime.images import open_image, open_stored
from clsclip_runtime.inference.refinement import LONGEST_SIDE
from clsclip_runtime.masks.refinement import GuidedFilter
from clsclip_runtime.masks.upsampling import bilinear, grid, mask_at

LOGITS = 8.0
"""From a square without the thing to one that is full of it, about what trained models give."""


def stand_in(mask: NDArray[np.bool_], side: int) -> NDArray[np.float32]:
    """Logits (side, side) of a mask: the share of every square, from -4 to 4."""
    shares = Image.fromarray(mask.astype(np.float32), "F").resize((side, side), Image.Resampling.BOX)
    return LOGITS * (np.asarray(shares, np.float32) - 0.5)


def filled_box(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The box of a mask as a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.zeros_like(mask)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def refined(image: Image.Image, logits: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float]:
    """The mask (height, width) of refined logits, and the seconds that it took."""
    begun = time.perf_counter()
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    guided = GuidedFilter(image, (round(image.width * scale), round(image.height * scale)))
    width, height = guided.coarse_size
    fine = guided(bilinear(logits.astype(np.float64), grid(len(logits), height), grid(len(logits), width)))
    return mask_at(fine, image.size, 0.0), time.perf_counter() - begun


@click.command()
@click.argument("voc", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--grid", "side", default=14, show_default=True)
@click.option("--pictures", "images", default=200, show_default=True, help="Of ImageSets/Segmentation/val.txt.")
@click.option("--report", type=click.Path(path_type=Path))
def main(voc: Path, side: int, images: int, report: Path | None) -> None:
    """Measure plain and refined masks of every class of every image."""
    (listed, *_) = sorted(voc.glob("ImageSets/**/val.txt"))
    kinds = {"mask": lambda truth: truth, "box": filled_box}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    seconds = []
    for name in listed.read_text("utf-8").split()[:images]:
        image = open_image(voc / "JPEGImages" / f"{name}.jpg").image
        truth = np.asarray(open_stored(voc / "SegmentationClassAug" / f"{name}.png"))
        judged = truth != 255
        for number in sorted(set(np.unique(truth).tolist()) - {0, 255}):
            wanted = truth == number
            for kind, made in kinds.items():
                logits = stand_in(made(wanted), side)
                plain = mask_at(logits, image.size, 0.0)
                better, taken = refined(image, logits)
                seconds.append(taken)
                found[kind].append((iou(plain & judged, wanted), iou(better & judged, wanted)))
    rows = {kind: (100 * np.array(values)).tolist() for kind, values in found.items()}
    click.echo("| logits of | things | IoU | refined | better in |\n|---|---:|---:|---:|---:|")
    for kind, values in rows.items():
        plain, better = np.array(values).T
        share = 100 * (better > plain).mean()
        click.echo(f"| {kind} | {len(plain)} | {plain.mean():.1f} | {better.mean():.1f} | {share:.0f} % |")
    click.echo(f"{1000 * float(np.median(seconds)):.0f} ms a class, the guide's own part included")
    if report is not None:
        document = {"grid": side, "pictures": images, "rows": rows}
        report.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


if __name__ == "__main__":
    main()
