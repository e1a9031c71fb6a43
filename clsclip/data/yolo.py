"""Folders of YOLO segmentation: a text file beside every picture, or in ``labels`` in place of ``images``.

ROOT/data.yaml                names of the classes, and where the pictures of each side are
ROOT/images/train/NAME.jpg    or train/images/NAME.jpg, or wherever data.yaml says
ROOT/labels/train/NAME.txt    a line a thing: class number, then x and y of its outline, as shares of the sides

Where data.yaml has one side alone, the other is the rest. Without data.yaml, ``classes.txt`` names the classes, as
Label Studio writes it, and all pictures are on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from clsclip.data.account import Account
from clsclip.data.annotated import AnnotatedImages
from clsclip.data.files import read_lines
from clsclip.data.gather import Raw, RawImage, Sizes, assemble, polygons_of
from clsclip.data.places import MOST_CHARACTERS, Places, path_parts, taken_within
from clsclip.data.shapes import Size
from clsclip.errors import DataError
from clsclip_runtime.paths import is_file
from clsclip_runtime.system import open_regular

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CLASSES_NAMES = ("classes.txt", "obj.names")
_MOST_BYTES = 1 << 19
"""Of a list of classes: its reader takes seconds for more."""


def open_yolo(root: Path, *, within: float | None = None) -> tuple[AnnotatedImages, AnnotatedImages]:
    """The training and the validation pictures; both are all where no list tells them apart.

    Args:
        root: the folder, or its ``data.yaml``.
        within: seconds after which no further picture is read, for a first look; those that are, are from all over.

    Raises:
        DataError: there is no list of classes or no picture.
    """
    listing = next((root / name for name in YAML_NAMES if is_file(root / name)), None)
    if is_file(root):
        listing, root = root, root.parent
    labels, sides = _described(listing) if listing else ({}, {})
    if not listing:
        path = next((root / name for name in CLASSES_NAMES if is_file(root / name)), None)
        if path is None:
            raise DataError(f"{root} has no data.yaml and no classes.txt, so the classes have no names. Write one.")
        labels = dict(enumerate(read_lines(path)))
    account, places = Account(), Places(root)
    if not places.files:
        raise DataError(f"{root} holds no picture.")
    images: dict[str, RawImage] = {}
    with Sizes(places, account, len(places.files)) as sizes:
        for place in taken_within(places.files, within):
            if (size := sizes.read(place)) is not None:
                images[place] = RawImage(place, size, list(_things(places.files[place], place, size, labels, account)))
    ordered = [labels[key] for key in sorted(labels)]
    chosen = {side: _chosen(places, given, root) for side, given in sides.items()}
    for side, given in sides.items():
        if given and not chosen[side]:
            account.add("paths of data.yaml name no picture here", f"{side}: {given[0]}", len(given))
    for side, other in (("train", "val"), ("val", "train")):
        rest = {place for place in images if place not in chosen.get(other, ())}
        if not chosen.get(side) and chosen.get(other) and rest:
            account.add(f"pictures are in no list of data.yaml, and were taken for {side}", count=len(rest))
            chosen[side] = rest
    if not chosen.get("train") or not chosen.get("val"):
        both = assemble("yolo", places, list(images.values()), account, ordered)
        return both, both
    outside = [place for place in images if not any(place in one for one in chosen.values())]
    if outside:
        account.add("pictures are in no list of data.yaml", outside[0], len(outside))
    train, val = (
        assemble("yolo", places, [one for place, one in images.items() if place in chosen[side]], account, ordered)
        for side in ("train", "val")
    )
    return train, val


def _described(path: Path) -> tuple[dict[int, str], dict[str, list[str]]]:
    """The labels by their numbers, and the folders or lists of each side."""
    yaml: Any = import_module("yaml")

    try:
        with open_regular(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it is over {_MOST_BYTES >> 10} KiB, which no list of classes is")
        found: Any = _parsed(yaml, content)
    except Exception as error:  # its reader raises whatever Python does to a tagged text
        raise DataError(f"{path} cannot be read as YAML: {' '.join(str(error).split())[:200]}.") from error
    names: Any = found.get("names") if isinstance(found, dict) else None
    pairs: Any = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    labels = {key: value for key, value in pairs if isinstance(key, int) and isinstance(value, (str, int))}
    if not labels or len(labels) != len(names):
        raise DataError(f"{path} has no usable 'names': a list, or a number and a word for each class.")
    sides: dict[str, list[str]] = {}
    for side in ("train", "val"):
        given = found.get(side, found.get("valid") if side == "val" else None)
        sides[side] = [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, str)]
    return {key: str(value) for key, value in labels.items()}, sides


def _parsed(yaml: Any, content: bytes) -> Any:
    """A document as PyYAML's safe loader reads it; ValueError where a class or a side comes twice: which one counts?"""
    loader = yaml.SafeLoader(content)
    try:
        root = loader.get_single_node()
        parts = [root, *(value for key, value in _pairs(yaml, root) if key.value == "names")]
        for part in parts:
            keys = [(key.tag, str(key.value)) for key, _ in _pairs(yaml, part)]
            if len(set(keys)) < len(keys):
                twice = next(key for key in keys if keys.count(key) > 1)
                raise ValueError(f"the key {twice[1][:40]!a} comes twice")
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _pairs(yaml: Any, node: Any) -> list[Any]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _chosen(places: Places, given: list[str], root: Path) -> set[str]:
    """The pictures in some folders and lists."""
    found: set[str] = set()
    for one in given:
        # Programs write these paths from wherever they ran: their ends count.
        parts = path_parts(one[:MOST_CHARACTERS])
        for at in range(len(parts)):
            end = "/".join(parts[at:])
            if end.endswith(".txt") and is_file(root / end):
                found |= {place for line in read_lines(root / end) if (place := places.find(line)) is not None}
                break
            inside = {place for place in places.files if place.startswith(f"{end}/")}
            if inside:
                found |= inside
                break
    return found


def _things(path: Path, place: str, size: Size, labels: dict[int, str], account: Account) -> Iterator[Raw]:
    """The things of one picture; a picture without a file of them shows none."""
    folders = path.parts
    at = max((index for index, one in enumerate(folders[:-1]) if one == "images"), default=None)
    text = (
        path.with_suffix(".txt")
        if at is None
        else Path(*folders[:at], "labels", *folders[at + 1 :]).with_suffix(".txt")
    )
    if not is_file(text):
        text = path.with_suffix(".txt")
        if not is_file(text):
            account.add("pictures have no file of labels, so they show nothing", place)
            return
    try:
        lines = read_lines(text)
    except DataError as error:
        account.add("files of labels cannot be read; their pictures show nothing", error)
        return
    for number, line in enumerate(lines, 1):
        where = f"{text.name}, line {number}"
        try:
            which, *numbers = (float(one) for one in line.split())
        except ValueError:
            account.add("lines are no numbers and were left out", where)
            continue
        if which not in labels:
            account.add("lines are of classes that have no name and were left out", f"{where}: class {which:g}")
            continue
        if len(numbers) == 4:
            yield Raw(labels[int(which)], where, None, "it is a box and no outline")
            continue
        # As ultralytics draws them: cut to whole pixels, the line included.
        with np.errstate(over="ignore"):  # what is not finite is refused with the rest
            outline = np.trunc(np.reshape([*numbers, *[0.0] * (len(numbers) % 2)], (-1, 2)) * size).reshape(-1)
        parts = [outline[: len(numbers)].tolist()]
        yield Raw(labels[int(which)], where, *polygons_of(parts, size, account, where, with_line=True))
