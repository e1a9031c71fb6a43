"""labelme's files: one JSON beside every picture, with polygons, rectangles, circles and masks."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np

from clsclip.data.account import Account
from clsclip.data.annotated import AnnotatedImages
from clsclip.data.gather import Raw, RawImage, Sizes, assemble, polygons_of
from clsclip.data.places import Places, images_below, taken_within
from clsclip.data.shapes import PastedMask, Shape, Size, rectangle
from clsclip.errors import DataError
from clsclip_runtime.documents import Bounds, DocumentError, read_json
from clsclip_runtime.errors import AnnotationError
from clsclip_runtime.results.codecs.values import doubles, whole

_FILE = Bounds(bytes=1 << 28, values=1 << 24, any_numbers=True)
"""A picture may be within the file, too."""

_IGNORED, _BACKGROUND = "__ignore__", "_background_"
_CIRCLE_POINTS = 128


def open_labelme(root: Path, *, allow_missing: bool = False, within: float | None = None) -> AnnotatedImages:
    """The pictures of a folder, and of those below it, that have a file of labelme.

    Args:
        root: the folder.
        allow_missing: go on without pictures that are absent.
        within: seconds after which no further file is read, for a first look; those that are, are from all over.

    Raises:
        DataError: there is no such file, or pictures are absent.
    """
    from clsclip.data.files import drop_missing

    account, places = Account(), Places(root)
    found: dict[str, dict[str, Any]] = {}
    files = images_below(root, frozenset({".json"}))
    for name in taken_within(files, within):
        try:
            document = read_json(files[name], _FILE)
        except (OSError, DocumentError) as error:
            account.add("files cannot be read and were left out", f"{name}: {error}")
            continue
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            account.add("files are none of labelme and were left out", name)
            continue
        found[name] = document
    if not found:
        raise DataError(f"{root} holds no file of labelme. ({'; '.join(account.lines()) or 'There is no JSON file.'})")
    where = {name: _place(name, document, places) for name, document in found.items()}
    drop_missing([name for name in found if where[name] is None], len(found), root, allow_missing)
    images: dict[str, RawImage] = {}
    with Sizes(places, account, len(found)) as sizes:
        for name, document in found.items():
            place = where[name]
            if place is None:
                account.add("pictures are not there", name)
                continue
            said = (document.get("imageWidth"), document.get("imageHeight"))
            if place in images:
                account.add("files were left out, since another is of the same picture", name)
            elif (size := sizes.read(place, None if said == (None, None) else said)) is not None:
                images[place] = image = RawImage(place, size)
                for number, one in enumerate(document["shapes"], 1):
                    _read(one, f"shape {number} of {name}", image, account)
    used = set(images)
    bare = [place for place in places.files if place not in used and place not in where.values()]
    if bare:
        account.add("pictures have no file of labelme and were left out", bare[0], len(bare))
    return assemble("labelme", places, list(images.values()), account)


def _place(name: str, document: dict[str, Any], places: Places) -> str | None:
    """Where the picture of a file is: as it says, seen from its own folder, or beside it by name."""
    folder, stem = name.rpartition("/")[0], name[: -len(".json")]
    said = document.get("imagePath")
    if isinstance(said, str) and said.strip():
        found = places.find(f"{folder}/{said}" if folder else said)
        if found is not None:
            return found
    return next((place for place in places.files if place[: -len(Path(place).suffix)] == stem), None)


def _read(one: Any, where: str, image: RawImage, account: Account) -> None:
    """Add one shape to its picture."""
    if not isinstance(one, dict) or not isinstance(one.get("label"), str):
        account.add("shapes without a label were left out", where)
        return
    label: str | None = one["label"]
    if label == _BACKGROUND:
        account.add("shapes of the background were left out", where)
        return
    shape, problem = _shape(one, image.size, account, where)
    if label == _IGNORED:
        account.add(f"shapes labelled {_IGNORED} are ignored by every class", where)
        label = None
    image.things.append(Raw(label, where, shape, problem, label is None))


def _shape(one: dict[str, Any], size: Size, account: Account, where: str) -> tuple[Shape | None, str]:
    kind, points = one.get("shape_type") or "polygon", one.get("points")
    if kind == "polygon":
        return polygons_of([points], size, account, where, with_line=True)
    if kind not in ("rectangle", "circle", "mask"):
        return None, f"it is a {str(kind)[:20]}, which has no area"
    try:
        pairs = [doubles(point, "a point") for point in points] if isinstance(points, list) else []
        if len(pairs) < 2 or any(len(point) != 2 for point in pairs):
            return None, f"a {kind} has two points"
        first, last = pairs[0], pairs[-1] if len(pairs) == 2 else pairs[2 % len(pairs)]
        if kind == "mask":
            content = base64.b64decode(str(one.get("mask")), validate=True)
            return PastedMask(content, whole(float(first[0]), "its left side"), whole(float(first[1]), "its top")), ""
        if kind == "rectangle":
            (left, right), (top, bottom) = (sorted((first[at], last[at])) for at in (0, 1))
            part = rectangle(left, top, right, bottom)
            account.add("rectangles were taken as masks", where)
        else:
            angles = np.linspace(0, 2 * np.pi, _CIRCLE_POINTS, endpoint=False)
            radius = float(np.hypot(*(last - first)))
            part = first + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    except (AnnotationError, binascii.Error, ValueError) as error:
        return None, str(error)
    return polygons_of([part.reshape(-1).tolist()], size, account, where)
