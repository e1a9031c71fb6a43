"""Train a sticker detector with ultralytics: one class, "thing", so that it proposes regions for any word.

    python benchmarks/regions/detector.py STICKERS OUT [--pictures 3000] [--epochs 4]

Writes OUT/thing.onnx and OUT/thing.txt with what it was trained on. ultralytics is AGPL-3.0, and so are the weights
that it trains: they are not part of this project, and nothing in it needs them.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import click
import yaml
from PIL import Image

from clsclip.stickers.pictures import StickerWorld
from clsclip.stickers.sheets import StickerBook

STYLES = ("noto", "fluent", "flat", "openmoji")
SIZES = (0.03, 0.8)
"""At 320 px: 10 to 256 px, what things of 2 to 60 % of the side have at about 450 px."""
SEED = 4_242
SIDE = 320


@click.command()
@click.argument("stickers", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--pictures", default=3000, show_default=True)
@click.option("--epochs", default=4, show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--start", type=click.Path(exists=True, path_type=Path), help="Own weights (.pt) to go on from.")
@click.option("--export-size", default=640, show_default=True, help="Input side of the exported model, pixels.")
def main(
    stickers: Path, out: Path, pictures: int, epochs: int, batch: int, start: Path | None, export_size: int
) -> None:
    """Make the pictures, train YOLO11n from random weights (or go on), export."""
    from ultralytics import YOLO

    out = out.resolve()
    data = write_data(stickers, out, pictures)
    model = YOLO("yolo11n.yaml" if start is None else str(start))
    settings = {"imgsz": SIDE, "batch": batch, "epochs": epochs, "device": "cpu", "workers": 1, "amp": False}
    where = {"data": str(data), "project": str(out), "name": "train", "exist_ok": True, "plots": False}
    # The pictures are random enough: turns, flips and colours are in them already.
    plain = {"mosaic": 0.0, "mixup": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "scale": 0.3, "erasing": 0.0}
    rates = {"optimizer": "AdamW", "lr0": 2e-3, "lrf": 0.02, "warmup_epochs": 0.3, "cos_lr": True}
    model.train(**where, **settings, **plain, **rates)
    exported = YOLO(str(out / "train" / "weights" / "last.pt")).export(
        format="onnx", imgsz=export_size, dynamic=False, simplify=False, opset=17
    )
    shutil.copy(exported, out / "thing.onnx")
    text = f"YOLO11n, one class, trained by ultralytics (weights AGPL-3.0) on {pictures} pictures, {epochs} epochs.\n"
    (out / "thing.txt").write_text(text, "utf-8")
    click.echo(f"wrote {out / 'thing.onnx'}")


def write_data(stickers: Path, out: Path, count: int) -> Path:
    """Pictures and boxes in YOLO's layout; what is there already is kept."""
    folder = out / "data"
    for part, first, number in (("train", 0, count), ("val", 10_000_000, 100)):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
        indices = [first + at for at in range(number) if not (folder / "labels" / part / f"{first + at}.txt").is_file()]
        with ProcessPoolExecutor(2, initializer=open_world, initargs=(stickers,)) as pool:
            list(pool.map(partial(write_picture, folder, part), indices, chunksize=32))
    path = folder / "data.yaml"
    path.write_text(
        yaml.safe_dump({"path": str(folder), "train": "images/train", "val": "images/val", "names": {0: "thing"}})
    )
    return path


_world: StickerWorld | None = None


def open_world(stickers: Path) -> None:
    """Once a process."""
    global _world
    _world = StickerWorld(StickerBook(stickers, STYLES), side=SIDE, sizes=SIZES, things=(1, 8), seed=SEED)


def write_picture(folder: Path, part: str, index: int) -> None:
    """One picture and its boxes: class, centre, width and height as shares of the side."""
    if _world is None:
        raise RuntimeError("open_world was not called")
    picture = _world.picture(index)
    Image.fromarray(picture.pixels).save(folder / "images" / part / f"{index}.png")
    lines = []
    for thing in picture.things:
        left, top, right, bottom = (value / SIDE for value in thing.box)
        lines.append(f"0 {(left + right) / 2:.6f} {(top + bottom) / 2:.6f} {right - left:.6f} {bottom - top:.6f}\n")
    (folder / "labels" / part / f"{index}.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
