"""COCO documents of one's own: what CVAT, Roboflow, Label Studio, FiftyOne and ``--formats coco`` write.

Any categories and ids, pictures in folders below one another, polygons, compressed and plain runs, crowds.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from clsclip.data.account import Account
from clsclip.data.annotated import AnnotatedImages
from clsclip.data.files import drop_missing
from clsclip.data.gather import Raw, RawImage, Sizes, assemble, polygons_of
from clsclip.data.places import Places
from clsclip.data.shapes import CocoRuns, Shape, Size
from clsclip.errors import DataError
from clsclip_runtime.documents import ANNOTATIONS, DocumentError, read_json

_LISTS = ("images", "categories", "annotations")


def open_coco_json(
    path: Path, images: Path, *, allow_missing: bool = False, benchmark: bool = False, bare: bool = False
) -> AnnotatedImages:
    """The pictures of a COCO document.

    Args:
        path: the document.
        images: the folder that its file names begin in.
        allow_missing: go on without pictures that are absent.
        benchmark: as the published tests read COCO's own files: pictures with annotations alone, by their ids; crowds
            are pixels of their class; sizes are as the document has them, and files are read when they are needed.
        bare: take pictures without an annotation as well, which a benchmark otherwise leaves out.

    Raises:
        DataError: it is no COCO document, two of its categories have one id, or pictures are absent.
    """
    document = read_document(path)
    account, places = Account(), Places(images)
    labels = _categories(document["categories"], path, account)
    entries = _entries(document["images"], account)
    if benchmark:
        with_any = {key_of(one.get("image_id")) for one in document["annotations"] if isinstance(one, dict)}
        entries = {key: entries[key] for key in sorted(entries, key=_order) if bare or key in with_any}
    where = {key: places.find(one["file_name"]) for key, one in entries.items()}
    missing = [one["file_name"] for key, one in entries.items() if where[key] is None]
    drop_missing(missing, len(entries), images, allow_missing)
    raw_images: dict[Hashable, RawImage] = {}
    taken: dict[str, Hashable] = {}
    with Sizes(places, account, len(entries), by_files=not benchmark) as sizes:
        for key, one in entries.items():
            if (place := where[key]) is None:
                account.add("pictures are not there", one["file_name"])
            elif place in taken:
                account.add("pictures are listed twice, and their annotations were joined", place)
                if taken[place] in raw_images:
                    raw_images[key] = raw_images[taken[place]]
            else:
                taken[place] = key
                if (size := sizes.read(place, said_size(one))) is not None:
                    raw_images[key] = RawImage(place, size)
    used: set[Hashable] = set()
    for number, one in enumerate(document["annotations"]):
        used.add(_read(one, number, labels, raw_images, account, entries, crowds=benchmark))
    once = list({id(one): one for one in raw_images.values()}.values())
    root = _root(labels, document["categories"])
    ordered = [labels[key] for key in sorted(labels, key=_order) if key != root or key in used]
    return assemble("coco", places, once, account, ordered)


def read_document(path: Path) -> dict[str, Any]:
    """A COCO document, of which no more is sure than that it has its three lists. DataError if it is none."""
    try:
        document = read_json(path, ANNOTATIONS)
    except (OSError, DocumentError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not isinstance(document, dict) or not all(isinstance(document.get(one), list) for one in _LISTS):
        raise DataError(
            f"{path} is no COCO instances file: it has no lists {', '.join(_LISTS)}. "
            "Export instances (not captions, panoptic or results) as COCO."
        )
    return document


def said_size(image: dict[str, Any]) -> tuple[object, object] | None:
    """Width and height of an entry of ``images``; None where it has none."""
    width, height = image.get("width"), image.get("height")
    return None if width is None and height is None else (width, height)


def _order(key: Hashable) -> tuple[bool, Any]:
    return isinstance(key, str), key


def key_of(value: object) -> Hashable:
    """An id as something to look up: whole numbers written as floats are whole numbers. None if it is no id."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def shape_of(value: object, size: Size, account: Account, where: str) -> tuple[Shape | None, str]:
    """(shape, problem) of a ``segmentation``."""
    if isinstance(value, dict):
        return CocoRuns(value), ""
    if value is None or value == []:
        return None, "it has a box and no mask"
    if not isinstance(value, list):
        return None, "its segmentation is neither a list of polygons nor runs"
    flat = all(isinstance(one, (int, float)) for one in value)
    return polygons_of([value] if flat else value, size, account, where)


def _categories(found: list[Any], path: Path, account: Account) -> dict[Hashable, str]:
    """The names of categories by their ids."""
    labels: dict[Hashable, str] = {}
    for one in found:
        key = key_of(one.get("id")) if isinstance(one, dict) else None
        if key is None or not _is_text(one.get("name")):
            account.add("categories without an id or a name were left out", str(one)[:60])
        elif labels.get(key, one["name"]) != one["name"]:
            raise DataError(
                f"{path} has two categories with the id {key}: {labels[key]!r} and {one['name']!r}. Give each its own."
            )
        else:
            labels[key] = one["name"]
    return labels


def _root(labels: dict[Hashable, str], found: list[Any]) -> Hashable:
    """The id of the category that Roboflow puts above all others, and that is no class unless a thing is of it."""
    parents = {
        one.get("supercategory") for one in found if isinstance(one, dict) and _is_text(one.get("supercategory"))
    }
    return next((key for key, name in labels.items() if key == 0 and name in parents and len(labels) > 1), None)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _entries(found: list[Any], account: Account) -> dict[Hashable, dict[str, Any]]:
    """Entries of ``images`` by their ids."""
    entries: dict[Hashable, dict[str, Any]] = {}
    for one in found:
        key = key_of(one.get("id")) if isinstance(one, dict) else None
        if key is None or not _is_text(one.get("file_name")):
            account.add("pictures without an id or a file name were left out", str(one)[:60])
        elif key in entries:
            account.add("pictures were left out, since another has the same id", one["file_name"])
        else:
            entries[key] = one
    return entries


def _read(
    one: Any,
    number: int,
    labels: dict[Hashable, str],
    raw_images: dict[Hashable, RawImage],
    account: Account,
    entries: dict[Hashable, dict[str, Any]],
    *,
    crowds: bool,
) -> Hashable:
    """Add one annotation to its picture; gives the id of its category, None where it was left out."""
    if not isinstance(one, dict):
        account.add("annotations are no objects", f"number {number}")
        return None
    where = f"annotation {str(one.get('id', f'number {number}'))[:30]}"
    key, category = key_of(one.get("image_id")), key_of(one.get("category_id"))
    if key is None or key not in entries:
        account.add("annotations are of pictures that the file does not list", where)
        return None
    if key not in raw_images:
        account.add("annotations are of pictures that were left out", where)
        return None
    if category is None or category not in labels:
        account.add("annotations are of categories that the file does not list", where)
        return None
    raw_image, label = raw_images[key], labels[category]
    where = f"{where} of {raw_image.place}"
    crowd = one.get("iscrowd", 0)
    if crowd not in (0, 1, None):
        account.add("annotations have an iscrowd that is neither 0 nor 1, and were taken for no crowds", where)
    ignore = not crowds and (crowd == 1 or one.get("ignore") == 1)
    if ignore:
        account.add("crowds are ignored: neither their class nor background", where)
    shape, problem = shape_of(one.get("segmentation"), raw_image.size, account, where)
    raw_image.things.append(Raw(label, where, shape, problem, ignore))
    return category
