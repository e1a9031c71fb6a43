"""Mutants of files of annotations: COCO's own, COCO documents of one's own, Label Studio, YOLO, labelme."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from clsclip.data.coco import COCO_WORDS
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.brush import encode_brush
from tests.fuzz.documents import damaged, edited
from tests.fuzz.driver import Mutant

SIZE = (64, 48)
NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 5, 63, 64, 65, 0.5, 1e9, -1e9, 2**31 - 1, 2**31, 2**32, 2**63, 1e308, float("nan"), float("inf")),
    *(None, "x", True, [], {}, 10**400),
)
PLACES: tuple[Any, ...] = ("../../etc/passwd", "a.jpg\0", "/etc/passwd", "\x1b[2J", "", "x/" * 3000)


def segmentation(draw: random.Random) -> Any:
    """A mask in COCO's forms, in most cases none."""
    kind = draw.randrange(10)
    if kind == 0:
        return [[draw.choice(NUMBERS) for _ in range(draw.choice((0, 2, 4, 5, 6, 8, 100)))] for _ in range(2)]
    if kind == 1:
        return {"size": [48, 64], "counts": [draw.choice(NUMBERS) for _ in range(draw.choice((0, 1, 3, 50)))]}
    if kind == 2:
        length = draw.choice((0, 1, 5, 200))
        return {"size": [48, 64], "counts": "".join(chr(draw.randrange(32, 127)) for _ in range(length))}
    if kind == 3:
        size = [draw.choice(NUMBERS), draw.choice(NUMBERS)]
        return {"size": size, "counts": draw.choice(([0, 5, 3000], "06Pm1", "", [], None, 5))}
    if kind == 4:
        return draw.choice(NUMBERS)
    if kind == 5:
        return {"size": [48, 64], "counts": [3072 - 5, 10]}
    if kind == 6:
        return {"size": [48, 64], "counts": [10] * draw.choice((1, 400, 100_000))}
    if kind == 7:
        return {"counts": draw.choice(("~" * 50, "0" * 1000, "\0", "\u00e9"))}
    if kind == 8:  # far, but finite
        return [[draw.choice((-64, 0, 127.9, 63)) for _ in range(draw.choice((6, 40, 20_000)))]]
    return [[0, 0, 60, 0, 60, 40, 0, 40]]


def coco_document(draw: random.Random, names: tuple[str, ...]) -> dict[str, Any]:
    """One picture with one thing, of which most is wrong."""
    image: dict[str, Any] = {"id": 1, "file_name": "a.jpg", "width": SIZE[0], "height": SIZE[1]}
    if draw.random() < 0.2:
        image[draw.choice(list(image))] = draw.choice((*NUMBERS, *PLACES))
    thing: dict[str, Any] = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation(draw)}
    thing |= {"area": draw.choice((100, 100, 100, *NUMBERS)), "iscrowd": draw.choice((0, 0, 1, *NUMBERS))}
    if draw.random() < 0.15:
        thing[draw.choice(list(thing))] = draw.choice(NUMBERS)
    if draw.random() < 0.1:
        thing.pop(draw.choice(list(thing)))
    categories: list[dict[str, Any]] = [{"id": at + 1, "name": name} for at, name in enumerate(names)]
    if draw.random() < 0.1:
        at, key = draw.randrange(len(names)), draw.choice(("id", "name"))
        categories[at][key] = draw.choice((*NUMBERS, *PLACES))
    things = [thing] * draw.choice((1, 1, 1, 2))
    return {"images": [image] * draw.choice((1, 1, 1, 1, 2)), "annotations": things, "categories": categories}


def image(folder: Path) -> None:
    """The picture of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (9, 9, 9)).save(folder / "a.jpg")


class Coco20i:
    """Mutants of an instances file in COCO's own layout."""

    name = "coco-20i"
    targets = ("data-coco-20i",)

    def honest(self, folder: Path) -> Path:
        """One thing."""
        categories = [{"id": at + 1, "name": name} for at, name in enumerate(COCO_WORDS)]
        return self._write(folder, {**OWN["coco"], "categories": categories})

    def make(self, number: int, folder: Path) -> Mutant:
        """See :class:`tests.fuzz.driver.Mutator`."""
        document = coco_document(random.Random(number * 7019 + 3), COCO_WORDS)
        return Mutant(self._write(folder, document), f"coco-20i: {json.dumps(document['annotations'])[:100]}")

    def _write(self, folder: Path, document: Any) -> Path:
        image(folder / "val2014")
        (folder / "annotations").mkdir()
        (folder / "annotations" / "instances_val2014.json").write_text(json.dumps(document))
        return folder


def _brush() -> list[int]:
    mask = np.zeros(SIZE[::-1], np.bool_)
    mask[5:20, 6:50] = True
    return encode_brush(RleMask.from_mask(mask))


def _region(value: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": kind, "type": kind, "original_width": 64, "original_height": 48, "value": value | {kind: ["cup"]}}


OWN: dict[str, Any] = {
    "coco": {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [[0, 0, 60, 0, 60, 40, 0, 40]]},
            {"id": 2, "image_id": 1, "category_id": 2, "segmentation": {"size": [48, 64], "counts": [9, 63, 3000]}},
        ],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "fork"}],
    },
    "labelstudio": [
        {
            "id": 1,
            "data": {"image": "/data/upload/1/0123abcd-a.jpg"},
            "annotations": [
                {
                    "result": [
                        _region({"format": "rle", "rle": _brush()}, "brushlabels"),
                        _region({"points": [[1, 1], [90, 1], [50, 90]]}, "polygonlabels"),
                        _region({"x": 5, "y": 5, "width": 30, "height": 40, "rotation": 20}, "rectanglelabels"),
                        _region({"x": 50, "y": 50, "radiusX": 9, "radiusY": 9}, "ellipselabels"),
                    ]
                }
            ],
        }
    ],
    "labelme": {
        "shapes": [
            {"label": "cup", "shape_type": "polygon", "points": [[1, 1], [60, 1], [30, 40]]},
            {"label": "fork", "shape_type": "rectangle", "points": [[1, 1], [20, 30]]},
            {"label": "__ignore__", "shape_type": "circle", "points": [[30, 30], [36, 30]]},
        ],
        "imagePath": "a.jpg",
        "imageWidth": 64,
        "imageHeight": 48,
    },
}


class Annotations:
    """Mutants of files of one's own, of every tool in turn; each is read by ``clsclip_data``'s own way."""

    name = "annotations"
    targets = ("data-own",)
    YAML: ClassVar[tuple[str, ...]] = (
        *("names: [cup, fork]", "names: {0: cup, 1: fork}", "names: 5", "names:", "- x", "names: [[], {}]", "\0"),
        *("a: &a [x]\nnames: [*a, *a]", "names: {x: y}", "names: [cup]\ntrain: /etc\nval: ../..", "{" * 500),
    )

    def honest(self, folder: Path) -> Path:
        """A COCO document with two things."""
        return self._write(folder, "coco", json.dumps(OWN["coco"]).encode())

    def make(self, number: int, folder: Path) -> Mutant:
        """See :class:`tests.fuzz.driver.Mutator`."""
        draw = random.Random(number * 8009 + 13)
        kind = ("coco", "coco", "labelstudio", "labelme", "yolo")[number % 5]
        if kind == "yolo":
            return self._yolo(draw, folder)
        if kind == "coco" and number % 2:
            document = coco_document(draw, ("cup", "fork"))
            return Mutant(self._write(folder, kind, json.dumps(document).encode()), f"coco: {str(document)[:120]}")
        document = copy.deepcopy(OWN[kind])
        content, label = (
            edited(draw, document) if number % 3 else (damaged(draw, json.dumps(document).encode()), "bytes")
        )
        return Mutant(self._write(folder, kind, content), f"{kind}: {label}")

    def _write(self, folder: Path, kind: str, content: bytes) -> Path:
        image(folder)
        path = folder / ("a.json" if kind == "labelme" else f"{kind}.json")
        path.write_bytes(content)
        return folder

    def _yolo(self, draw: random.Random, folder: Path) -> Mutant:
        image(folder / "images")
        (folder / "labels").mkdir()
        values = ("0", "1", "0.5", "nan", "inf", "-1", "1e308", "x", "7", "0x1", "\u0660", "", "1_0", "9" * 400)
        lines = [
            " ".join(draw.choice(values) for _ in range(draw.choice((1, 5, 7, 9, 4000))))
            for _ in range(draw.randrange(4))
        ]
        text = "\n".join(["0 0.1 0.1 0.9 0.1 0.5 0.9", *lines]).encode()
        (folder / "labels" / "a.txt").write_bytes(damaged(draw, text) if draw.random() < 0.3 else text)
        yaml = draw.choice(self.YAML).encode()
        (folder / "data.yaml").write_bytes(damaged(draw, yaml) if draw.random() < 0.3 else yaml)
        return Mutant(folder, f"yolo: {text[:80]!r}")
