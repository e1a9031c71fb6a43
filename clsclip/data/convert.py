"""Data of one's own written in another tool's format, masks to the pixel; what a format cannot hold is counted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from clsclip.data.account import Account
from clsclip.data.annotated import AnnotatedImages
from clsclip.data.base import IGNORE, MaskDataset
from clsclip.data.labels import LabelledImages
from clsclip.errors import DataError
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.paths import exists, make_folder, write_bytes, write_file, write_json, write_text
from clsclip_runtime.results.coco import categories, coco_annotation
from clsclip_runtime.results.labelme import labelme_file
from clsclip_runtime.results.labelstudio import TO_NAME, image_address, labelstudio_regions
from clsclip_runtime.results.overlay import colors
from clsclip_runtime.results.yolo import data_yaml, lines_of_mask

FORMATS = ("folder", "coco", "labelstudio", "yolo", "labelme")


class Item:
    """One picture of the data that are converted.

    Attributes:
        index: in the data.
        key: its name.
        path: of its file.
        size: (width, height).
        name: of its file in the new folder, with slashes.
    """

    def __init__(self, data: MaskDataset, index: int) -> None:
        self.index, self.key = index, data.key(index)
        self.path = path_of(data, index)
        if isinstance(data, AnnotatedImages):
            self.size = data.images[index].size
        else:
            height, width = data.image(index).shape[:2]
            self.size = (width, height)
        self.name = f"{self.key}{self.path.suffix.lower()}"


def path_of(data: MaskDataset, index: int) -> Path:
    """The file of a picture. DataError where the data have none."""
    if isinstance(data, AnnotatedImages):
        return data.images[index].path
    if isinstance(data, LabelledImages):
        return data.files[index][1]
    raise DataError(f"Data of kind {data.name!r} have no files to convert.")


def things_of(data: MaskDataset, index: int) -> Iterator[tuple[int | None, RleMask, bool]]:
    """(class id, mask, whether it is to be ignored) of every thing; of label maps, of every class."""
    if isinstance(data, AnnotatedImages):
        one = data.images[index]
        for thing in one.things:
            if thing.class_id is None or thing.ignore or thing.class_id not in one.unsure:
                yield thing.class_id, thing.shape.draw(one.size), thing.ignore
    elif isinstance(data, LabelledImages):
        labels = data.labels(index)
        for class_id in data.shown(index):
            yield class_id, RleMask.from_mask(labels == class_id + 1), False
        if (hidden := labels == IGNORE).any():
            yield None, RleMask.from_mask(hidden), True


def convert(sides: dict[str, MaskDataset], to: str, out: Path) -> Account:
    """Write data into a new folder, pictures copied.

    Args:
        sides: "all", or "train" and "val".
        to: one of :data:`FORMATS`.
        out: the folder, which must not be there.

    Returns:
        what the format cannot hold.

    Raises:
        DataError: there is no such format, the folder is there, or a picture cannot be copied.
        OutputError: something cannot be written.
    """
    if to not in FORMATS:
        raise DataError(f"There is no format {to!r}. Choose one of: {', '.join(FORMATS)}.")
    if exists(out):
        raise DataError(f"{out} is there already. Give a new folder.")
    account = Account()
    writers: dict[str, Callable[..., None]] = {
        "folder": _write_folder,
        "coco": _write_coco,
        "labelstudio": _write_label_studio,
        "yolo": _write_yolo,
        "labelme": _write_labelme,
    }
    make_folder(out)
    writers[to](sides, out, account)
    return account


def _items(data: MaskDataset, out: Path, done: set[str], below: str = "images") -> Iterator[Item]:
    """Every picture of the data, its file copied if that was not done before."""
    with closing(Progress("pictures", len(data))) as progress:
        for index in range(len(data)):
            one = Item(data, index)
            if one.name not in done:
                done.add(one.name)
                target = out / below / one.name
                make_folder(target.parent)
                try:
                    with one.path.open("rb") as file:
                        write_file(target, partial(shutil.copyfileobj, file))
                except OSError as error:
                    raise DataError(f"{one.path} cannot be copied: {error.strerror}.") from error
            yield one
            progress.update(index + 1)


def _write_folder(sides: dict[str, MaskDataset], out: Path, account: Account) -> None:
    classes = next(iter(sides.values())).classes
    if len(classes) >= IGNORE:
        raise DataError(f"There are {len(classes)} classes, and a mask of 8 bits can tell {IGNORE - 1} apart.")
    palette = [0, 0, 0, *colors(len(classes)).flatten().tolist()]
    palette += [255] * (768 - len(palette))
    done: set[str] = set()
    for side, data in sides.items():
        names = []
        for one in _items(data, out, done):
            names.append(one.key)
            labels = data.label_map(one.index) if isinstance(data, AnnotatedImages) else data.labels(one.index)  # type: ignore[attr-defined]
            _count_hidden(data, one, labels, account)
            image = Image.fromarray(labels)
            image.putpalette(palette)
            content = BytesIO()
            image.save(content, "PNG")
            target = out / "masks" / f"{one.key}.png"
            make_folder(target.parent)
            write_bytes(target, content.getvalue())
        if side != "all":
            write_text(out / f"{side}.txt", "".join(f"{name}\n" for name in names))
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in classes))


def _count_hidden(data: MaskDataset, one: Item, labels: Any, account: Account) -> None:
    """Count masks that a label map no longer shows whole, since it has one value a pixel."""
    if not isinstance(data, AnnotatedImages):
        return
    for class_id in data.shown(one.index):
        whole, left = data.runs(one.index, class_id).area, int((labels == class_id + 1).sum())
        if left < whole:
            what = "entirely" if not left else f"by {100 * (whole - left) / whole:.0f} %"
            account.add(
                "masks lie under smaller things: this format has one value a pixel",
                f"{data.classes[class_id]} in {one.name} {what}",
            )


def _write_coco(sides: dict[str, MaskDataset], out: Path, account: Account) -> None:
    done: set[str] = set()
    for side, data in sides.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for one in _items(data, out, done):
            width, height = one.size
            images.append({"id": len(images) + 1, "file_name": one.name, "width": width, "height": height})
            for class_id, mask, ignored in things_of(data, one.index):
                if not mask.area:
                    continue
                # COCO knows crowds of a class alone: what all ignore is a crowd of each.
                for of in range(len(data.classes)) if class_id is None else [class_id]:
                    annotations.append(coco_annotation(len(annotations) + 1, len(images), of, mask, crowd=ignored))
        document = {"images": images, "annotations": annotations, "categories": categories(data.classes)}
        write_json(out / ("instances.json" if side == "all" else f"instances_{side}.json"), document)


def _write_label_studio(sides: dict[str, MaskDataset], out: Path, account: Account) -> None:
    done: set[str] = set()
    for side, data in sides.items():
        tasks: list[dict[str, Any]] = []
        for one in _items(data, out, done):
            results: list[dict[str, Any]] = []
            for class_id, mask, ignored in things_of(data, one.index):
                if ignored or class_id is None:
                    account.add("things to be ignored were left out: the format has none", one.name)
                elif mask.area:
                    results += labelstudio_regions(data.classes[class_id], mask, len(results) + 1)
            address = image_address(f"images/{one.name}")
            tasks.append({"id": len(tasks) + 1, "data": {TO_NAME: address}, "annotations": [{"result": results}]})
        write_json(out / ("tasks.json" if side == "all" else f"tasks_{side}.json"), tasks)


def _write_yolo(sides: dict[str, MaskDataset], out: Path, account: Account) -> None:
    classes = next(iter(sides.values())).classes
    for side, data in sides.items():
        below = "images" if side == "all" else f"images/{side}"
        for one in _items(data, out, set(), below):
            lines = []
            for class_id, mask, ignored in things_of(data, one.index):
                if ignored or class_id is None:
                    account.add("things to be ignored were left out: the format has none", one.name)
                    continue
                lines.append(lines_of_mask(class_id, mask))
            target = out / below.replace("images", "labels", 1) / f"{one.key}.txt"
            make_folder(target.parent)
            write_text(target, "".join(lines))
    where = {} if "all" in sides else {side: f"images/{side}" for side in ("train", "val")}
    write_text(out / "data.yaml", data_yaml(classes, **where))


def _write_labelme(sides: dict[str, MaskDataset], out: Path, account: Account) -> None:
    done: set[str] = set()
    if "all" not in sides:
        account.add("sides are in one folder: the format does not tell them apart", count=len(sides))
    for data in sides.values():
        for one in _items(data, out, done, "."):
            things = []
            for class_id, mask, ignored in things_of(data, one.index):
                if ignored and class_id is not None:
                    account.add("crowds of one class are now ignored by all: the format knows no other", one.name)
                things.append(("__ignore__" if ignored or class_id is None else data.classes[class_id], mask))
            write_json(out / f"{one.key}.json", labelme_file(things, Path(one.name).name, one.size))
