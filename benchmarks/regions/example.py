"""The picture of tiny things in the README: the first of many that ClsCLIP misses and ClsCLIP+ finds.

    python benchmarks/regions/example.py STICKERS examples

Writes tiny.png, and tiny.json with the boxes of its things and their names. `make plus` segments it as a whole and in
tiles.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from PIL import Image

from clsclip.reproduce.stickers.images import StickerWorld
from clsclip.reproduce.stickers.sheets import StickerBook
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip_runtime import Proposals, Segmenter, ZoomIn

SIDE, SEED = 640, 77
CLUTTER = 30
"""Least standard deviation of every colour: a plain ground would be no picture."""


@click.command()
@click.argument("stickers", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(stickers: Path, out: Path) -> None:
    """Look for the picture and write it."""
    world = StickerWorld(StickerBook(stickers, ["noto"]), side=SIDE, sizes=(0.05, 0.08), things=(4, 4), seed=SEED)
    with Segmenter.load() as segmenter:
        for index in range(200):
            image = world.image(index)
            words = [nouns()[noun].name for noun in image.nouns]
            boxes = [thing.box for thing in image.things]
            names = [nouns()[thing.noun].name for thing in image.things]
            whole = segmenter(image.pixels, words)
            if (
                len(words) < 4
                or "found" in tuple(one.status for one in whole)
                or image.pixels.std(axis=(0, 1)).min() < CLUTTER
            ):
                continue
            near = segmenter(
                image.pixels, words, regions=Proposals.from_boxes(boxes, names), zoom_in=ZoomIn(fallback="none")
            )
            marked = [near.mask(at)[image.mask(noun)].mean() for at, noun in enumerate(image.nouns)]
            if tuple(one.status for one in near) == ("found",) * len(words) and min(marked) > 0.6:
                Image.fromarray(image.pixels).save(out / "tiny.png")
                entries = [
                    {"image": "tiny.png", "class": name, "bbox": [left, top, right - left, bottom - top]}
                    for name, (left, top, right, bottom) in zip(names, boxes, strict=True)
                ]
                (out / "tiny.json").write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
                click.echo(f"picture {index}: {', '.join(words)}")
                return
    raise click.ClickException("none of 200 pictures shows it")


if __name__ == "__main__":
    main()
