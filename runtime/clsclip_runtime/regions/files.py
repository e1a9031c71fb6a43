"""Boxes from a JSON file in place of a detector's: what people or other programs drew.

Two layouts: a COCO document (``images``, ``annotations``, ``categories``), and a plain list of
``{"image": name, "class": word, "bbox": [x, y, width, height], "score": 0.9}``, in pixels, in which ``class`` and
``score`` may be left out; ``image`` too, where the file is about one picture. Boxes without a class may be anything.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from clsclip_runtime.documents import REGION_FILE, DocumentError, read_json
from clsclip_runtime.errors import RegionError
from clsclip_runtime.options import is_name
from clsclip_runtime.paths import as_path
from clsclip_runtime.regions.proposals import Proposals

_EVERY_IMAGE = ""
_MOST_CHARACTERS = 1024
_ADVICE = (
    'An entry is {"image": name, "class": word, "bbox": [x, y, width, height]}, in pixels; or give a COCO document'
)

_Box = tuple[str | None, list[float], float]


class RegionFile:
    """The boxes of many pictures.

        boxes = RegionFile("boxes.json")
        segmenter(path, words, regions=boxes.of(path))

    An image is found by its path, its file name, its name without suffix, or COCO's number.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the file. RegionError when it is absent, no JSON, or an entry is wrong; the message says which."""
        self.path = as_path("path", path)
        document = _read(self.path)
        entries = _coco_entries(document, self.path) if isinstance(document, dict) else document
        if not isinstance(entries, list):
            raise RegionError(
                f"{self.path} must hold a list of boxes, and it holds a {type(entries).__name__}. {_ADVICE}"
            )
        self._boxes: dict[str, list[_Box]] = {}
        for number, entry in enumerate(entries):
            image, box = _entry(entry, number, self.path)
            self._boxes.setdefault(image, []).append(box)
        # Programs name a picture by path, by file name, without suffix or by COCO's number: all are found.
        self._named: dict[str, set[str]] = {}
        for image in self._boxes:
            for key in _keys(image):
                self._named.setdefault(key, set()).add(image)

    def __len__(self) -> int:
        """Number of boxes."""
        return sum(map(len, self._boxes.values()))

    def of(self, image: str) -> Proposals:
        """Return the boxes of one picture; a note says so when the file has boxes, and none of this picture.

        Args:
            image: its path or name; an entry names it by path, file name, name without suffix, or COCO's number
                (``image_id`` 139 is ``000000000139.jpg``). Entries without a picture belong to every picture.

        Raises:
            RegionError: the name fits several pictures of the file.
        """
        found = list(self._boxes.get(_EVERY_IMAGE, []))
        own = self._entries_of(image)
        if own is not None:
            found = self._boxes[own] + found
        notes = (
            () if found or not self._boxes else (f"{self.path.name} has no box of {Path(image).name}{self._others()}",)
        )
        names, boxes, scores = [one[0] for one in found], [one[1] for one in found], [one[2] for one in found]
        return replace(Proposals.from_boxes(boxes, names, scores, f"boxes of {self.path.name}"), notes=notes)

    def _entries_of(self, image: str) -> str | None:
        """How the file names a picture: the most exact name that fits."""
        for key in _keys(image):
            fitting = self._named.get(key, set()) - {_EVERY_IMAGE}
            if image in fitting or len(fitting) == 1:
                return image if image in fitting else next(iter(fitting))
            if fitting:
                raise RegionError(
                    f"{self.path} names several pictures that may be {image}: {', '.join(sorted(fitting)[:3])}. "
                    "Give the picture by the path that the file has, or make its names distinct"
                )
        return None

    def _others(self) -> str:
        named = sorted(image for image in self._boxes if image != _EVERY_IMAGE)
        return f"; it names {', '.join(named[:3])}{', ...' if len(named) > 3 else ''}"


def _keys(image: str) -> list[str]:
    """A picture's names, the most exact first: normalised path, file name, without suffix, number without zeros."""
    path = PurePath(os.path.normpath(image))
    return list(dict.fromkeys([str(path), path.name, path.stem, path.stem.lstrip("0") or "0"])) if image else []


def _read(path: Path) -> Any:
    try:
        return read_json(path, REGION_FILE)
    except FileNotFoundError as error:
        raise RegionError(f"no such file of regions: {path}") from error
    except OSError as error:
        raise RegionError(f"cannot read the regions of {path}: {error.strerror or error}") from error
    except DocumentError as error:
        raise RegionError(f"{path} cannot be read as JSON: {error}") from error


def _coco_entries(document: dict[str, Any], path: Path) -> list[Any]:
    """A COCO document's annotations in the plain layout."""
    try:
        images = {one["id"]: one["file_name"] for one in document["images"]}
        categories = {one["id"]: one["name"] for one in document["categories"]}
        annotations = list(document["annotations"])
        for number, one in enumerate(annotations):
            for key, known in (("image_id", images), ("category_id", categories)):
                if one[key] not in known:
                    raise RegionError(
                        f"{path}, annotation {number}: {key} {one[key]!r} is not among its {key[:-3]} entries"
                    )
        return [
            {
                "image": images[one["image_id"]],
                "class": categories[one["category_id"]],
                "bbox": one["bbox"],
                "score": one.get("score", 1.0),
            }
            for one in annotations
        ]
    except (KeyError, TypeError, AttributeError) as error:
        lacking = f"it has no {error}" if isinstance(error, KeyError) else "a list or an entry is something else"
        raise RegionError(
            f"{path} is not a COCO document: {lacking}. It needs images, annotations with "
            f"image_id, category_id and bbox, and categories. {_ADVICE}"
        ) from error


def _entry(entry: Any, number: int, path: Path) -> tuple[str, _Box]:
    """(picture, (class, xyxy, score)) of one entry."""
    try:
        if not isinstance(entry, dict):
            raise ValueError(
                f"it is a {type(entry).__name__}, and a box needs its name bbox, with width and height last"
            )
        given = entry["bbox"]
        numbers = isinstance(given, (list, tuple)) and len(given) == 4 and all(map(_is_number, given))
        if not numbers:
            raise ValueError("bbox must be four finite numbers x, y, width, height")
        box = [float(value) for value in given]
        word = entry.get("class", entry.get("category"))
        if word is not None and not isinstance(word, str):
            raise ValueError(f"class must be a text, and it is {word!r}")
        if word is not None and word.strip() and not is_name(word, _MOST_CHARACTERS):
            raise ValueError(
                f"class must be a name of up to {_MOST_CHARACTERS} characters without line breaks, and it is "
                f"{word[:40]!a}"
            )
        image = entry.get("image", entry.get("file_name", entry.get("image_id", _EVERY_IMAGE)))
        numbered = "image" not in entry and "file_name" not in entry  # COCO's key alone may be a number
        if not isinstance(image, (str, int) if numbered else str) or isinstance(image, bool):
            raise ValueError(f"image must be a name, and it is {image!r}")
        if word is None and "category_id" in entry:
            raise ValueError("category_id needs the categories: give the COCO document, or class names")
        score = entry.get("score", 1.0)
        if not _is_number(score) or not 0 <= score <= 1:
            raise ValueError(f"score must be from 0 to 1, and it is {score!r}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise RegionError(f"{path}, entry {number}: {reason}. {_ADVICE}") from error
    return str(image), (word, [box[0], box[1], box[0] + box[2], box[1] + box[3]], float(score))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
