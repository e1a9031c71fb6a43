"""Train a sticker detector with ultralytics: of COCO's words, as the YOLOs that people have, or of one class, "thing".

    python benchmarks/regions/detector.py STICKERS OUT [--words coco|thing] [--pictures 3000] [--epochs 4] [--names 8]

With ``--names`` the backbone learns to tell the classes apart first, on pictures of 64 px that show one thing each: a
detector learns boxes soon and names late, and such a picture costs a 25th of a detector's.

Writes OUT/<words>.onnx and OUT/<words>.txt with what it was trained on. ultralytics is AGPL-3.0, and so are the weights
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

from clsclip.reproduce.dataset import pool, word_set
from clsclip.reproduce.stickers.images import StickerWorld
from clsclip.reproduce.stickers.sheets import StickerBook
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip_runtime.paths import is_file

STYLES = {"thing": ("noto", "fluent", "flat", "openmoji"), "coco": ("noto", "fluent")}
"""Drawings that a detector is trained on. Names are learnt in the styles of the test; "thing" wants variety."""
SIZES = (0.03, 0.8)
"""At 320 px: 10 to 256 px, what things of 2 to 60 % of the side have at about 450 px."""
THINGS = (2, 12)
"""More a picture than in the test: a picture costs the same however many things teach in it."""
SEED = 4_242
SIDE = 320

NAMING_SIDE, NAMING_SIZES = 64, (0.4, 1.1)
"""Of pictures that teach names alone; sizes are shares of the side."""
_PLAIN = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "erasing": 0.0}
"""The pictures are random enough: turns, flips and colours are in them already."""
_RATES = {"optimizer": "AdamW", "lr0": 2e-3, "lrf": 0.02, "warmup_epochs": 0.3, "cos_lr": True}


@click.command()
@click.argument("stickers", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--words", type=click.Choice(list(STYLES)), default="coco", show_default=True, help="The classes.")
@click.option("--pictures", "images", default=3000, show_default=True)
@click.option("--epochs", default=4, show_default=True)
@click.option("--names", default=0, show_default=True, help="Epochs of 500 pictures a class that teach names first.")
@click.option("--batch", default=16, show_default=True)
@click.option("--start", type=click.Path(exists=True, path_type=Path), help="Own weights (.pt) to go on from.")
@click.option("--export-size", default=448, show_default=True, help="Input side of the exported model, pixels.")
def main(
    stickers: Path,
    out: Path,
    words: str,
    images: int,
    epochs: int,
    names: int,
    batch: int,
    start: Path | None,
    export_size: int,
) -> None:
    """Make the pictures, train YOLO11n from random weights (or go on), export."""
    from ultralytics import YOLO

    if names and words == "thing":
        raise click.UsageError("--names needs --words coco: one class has nothing to tell apart")
    if names and start is not None:
        raise click.UsageError("--start has learnt names already, and --names would replace what it has learnt")
    out = out.resolve()
    backbone = learn_names(stickers, out, words, names) if names else None
    data = write_data(stickers, out, words, images)
    # With --start, another number of classes: only the last layers are new.
    model = YOLO("yolo11n.yaml" if start is None else str(start))
    if backbone is not None:
        model.load(str(backbone))
    settings = {"imgsz": SIDE, "batch": batch, "epochs": epochs, "device": "cpu", "workers": 1, "amp": False}
    where = {"data": str(data), "project": str(out), "name": "train", "exist_ok": True, "plots": False}
    plain = _PLAIN | {"mosaic": 0.0, "mixup": 0.0, "scale": 0.3}
    model.train(**where, **settings, **plain, **_RATES)
    exported = YOLO(str(out / "train" / "weights" / "last.pt")).export(
        format="onnx", imgsz=export_size, dynamic=False, simplify=False, opset=17
    )
    shutil.copy(exported, out / f"{words}.onnx")
    before = f", after {names} epochs of names" if names else ""
    text = f"YOLO11n, {words}, by ultralytics (weights AGPL-3.0): {images} pictures, {epochs} epochs{before}.\n"
    (out / f"{words}.txt").write_text(text, "utf-8")
    click.echo(f"wrote {out / f'{words}.onnx'}")


def learn_names(stickers: Path, out: Path, words: str, epochs: int) -> Path:
    """Weights of a YOLO11n classifier of the classes; its backbone is the detector's but for the last two layers."""
    from ultralytics import YOLO

    folder = out / "names"
    known = classes(words)
    for part, first, each in (("train", 0, 500), ("val", 10_000_000, 4)):
        indices = [first + at for at in range(each * len(known))]
        for _, name in known.values():
            (folder / part / name).mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(2, initializer=open_world, initargs=(stickers, words, True)) as processes:
            list(processes.map(partial(write_one_thing, folder / part, words), indices, chunksize=256))
    model = YOLO("yolo11n-cls.yaml")
    settings = {"imgsz": NAMING_SIDE, "batch": 128, "epochs": epochs, "device": "cpu", "workers": 1, "amp": False}
    where = {"data": str(folder), "project": str(out), "name": "naming", "exist_ok": True, "plots": False}
    plain = _PLAIN | {"auto_augment": None, "scale": 0.4}
    model.train(**where, **settings, **plain, **_RATES)
    return out / "naming" / "weights" / "last.pt"


def classes(words: str) -> dict[int, tuple[int, str]]:
    """Class number and name of every noun that the detector is to find."""
    if words == "thing":
        return {noun.index: (0, "thing") for noun in nouns()}
    names, noun_of, _ = word_set(words, 0)
    return {noun: (at, name) for at, (name, noun) in enumerate(zip(names, noun_of, strict=True))}


def write_data(stickers: Path, out: Path, words: str, count: int) -> Path:
    """Pictures and boxes in YOLO's layout; what is there already is kept."""
    folder = out / "data"
    for part, first, number in (("train", 0, count), ("val", 10_000_000, 100)):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
        indices = [first + at for at in range(number) if not is_file(folder / "labels" / part / f"{first + at}.txt")]
        with ProcessPoolExecutor(2, initializer=open_world, initargs=(stickers, words)) as processes:
            list(processes.map(partial(write_image, folder, part, words), indices, chunksize=32))
    path = folder / "data.yaml"
    names = dict(sorted(set(classes(words).values())))
    where = {"path": str(folder), "train": "images/train", "val": "images/val"}
    path.write_text(yaml.safe_dump(where | {"names": names}))
    return path


_world: StickerWorld | None = None


def open_world(stickers: Path, words: str, one_thing: bool = False) -> None:
    """Once a process; with ``one_thing`` small pictures of one thing that has a class."""
    global _world
    book, known = StickerBook(stickers, STYLES[words]), tuple(classes(words))
    if one_thing:
        _world = StickerWorld(book, NAMING_SIDE, NAMING_SIZES, things=(1, 1), seed=SEED, pool=known)
    else:
        # Two thirds of the things have a class, and the others are what it must not find.
        drawn = () if words == "thing" else pool(words, known) + known * 8
        _world = StickerWorld(book, SIDE, SIZES, things=THINGS, seed=SEED, pool=drawn)


def write_one_thing(folder: Path, words: str, index: int) -> None:
    """A picture of one thing, in its class's folder."""
    if _world is None:
        raise RuntimeError("open_world was not called")
    image = _world.image(index)
    if image.things:
        _, name = classes(words)[image.things[0].noun]
        Image.fromarray(image.pixels).save(folder / name / f"{index}.png")


def write_image(folder: Path, part: str, words: str, index: int) -> None:
    """One picture and its boxes: class, centre, width and height as shares of the side."""
    if _world is None:
        raise RuntimeError("open_world was not called")
    image = _world.image(index)
    Image.fromarray(image.pixels).save(folder / "images" / part / f"{index}.png")
    lines, known = [], classes(words)
    for thing in image.things:
        if thing.noun not in known:
            continue  # something else: no box, as for the things that COCO has no name for
        left, top, right, bottom = (value / SIDE for value in thing.box)
        centre = f"{(left + right) / 2:.6f} {(top + bottom) / 2:.6f}"
        lines.append(f"{known[thing.noun][0]} {centre} {right - left:.6f} {bottom - top:.6f}\n")
    (folder / "labels" / part / f"{index}.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
