"""Label Studio's JSON export: brushes, polygons, rectangles and ellipses, of any labeling interface.

Both forms are read, JSON and JSON-MIN. Of several people's annotations of one picture the first counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clsclip.data.account import Account
from clsclip.data.annotated import AnnotatedImages
from clsclip.data.files import drop_missing
from clsclip.data.gather import Raw, RawImage, Sizes, assemble, polygons_of, tried
from clsclip.data.places import Places
from clsclip.data.shapes import Brush, Shape, Size, rectangle
from clsclip.errors import DataError
from clsclip_runtime.documents import ANNOTATIONS, DocumentError, read_json
from clsclip_runtime.errors import AnnotationError
from clsclip_runtime.images import SUFFIXES
from clsclip_runtime.results.codecs.brush import brush_bytes
from clsclip_runtime.results.codecs.values import doubles

_ELLIPSE_POINTS = 128

_PREDICTED = (
    "tasks hold predictions that nobody has accepted, and were left out. Accept them in Label Studio, and export; to "
    "train on what a model found as it is, write it with clsclip-infer --formats coco"
)


def open_label_studio(path: Path, images: Path, *, allow_missing: bool = False) -> AnnotatedImages:
    """The pictures of an export.

    Args:
        path: the JSON file.
        images: the folder with the pictures, which an export does not hold; names of uploads are found with and
            without what Label Studio put before them.
        allow_missing: go on without pictures that are absent.

    Raises:
        DataError: it is no export, or pictures are absent.
    """
    try:
        tasks = read_json(path, ANNOTATIONS)
    except (OSError, DocumentError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not isinstance(tasks, list) or not all(isinstance(one, dict) for one in tasks):
        raise DataError(f"{path} is no export of Label Studio: it is no list of tasks. Export as JSON.")
    account, places = Account(), Places(images)
    work = [(task, name, results) for task in tasks if (results := _results(task, account)) is not None
            for name in [_image_name(task)]]  # fmt: skip
    where = {id(task): places.find(name) for task, name, _ in work}
    drop_missing([name or f"task {_of(task)}" for task, name, _ in work if where[id(task)] is None], len(work), images,
                 allow_missing)  # fmt: skip
    raw_images: dict[str, RawImage] = {}
    with Sizes(places, account, len(work)) as sizes:
        for task, name, results in work:
            place = where[id(task)]
            if place is None:
                account.add("pictures are not there", name)
            elif place in raw_images:
                account.add("tasks were left out, since another is of the same picture", place)
            elif (size := sizes.read(place, _said_size(results))) is not None:
                raw_images[place] = raw_image = RawImage(place, size)
                raw_image.things += _things(results, size, place, account)
    return assemble("labelstudio", places, list(raw_images.values()), account)


def _results(task: dict[str, Any], account: Account) -> list[dict[str, Any]] | None:
    """What was drawn in a task; None, counted, where nobody has finished it."""
    none = _PREDICTED if task.get("predictions") else "tasks are skipped, or not annotated yet"
    if "annotations" in task or "completions" in task:
        given = task.get("annotations", task.get("completions"))
        done = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
        kept = [one for one in done if not one.get("was_cancelled") and isinstance(one.get("result"), list)]
        if not kept:
            account.add(none, f"task {_of(task)}")
            return None
        if len(kept) > 1:
            account.add("annotations by further people were left out; the first one's count", f"task {_of(task)}",
                        len(kept) - 1)  # fmt: skip
        return [one for one in kept[0]["result"] if isinstance(one, dict)]
    # JSON-MIN: lists of values, each with its size.
    lists = [value for value in task.values() if isinstance(value, list)]
    found = [one for value in lists for one in value if isinstance(one, dict) and "original_width" in one]
    if not found:
        account.add(none, f"task {_of(task)}")
        return None
    return [{**one, "value": one} for one in found]


def _image_name(task: dict[str, Any]) -> str:
    """The address or name of a task's picture; nothing where it has none."""
    data = task.get("data")
    given = data if isinstance(data, dict) else task
    texts = [value for key, value in sorted(given.items(), key=lambda one: one[0] != "image") if isinstance(value, str)]
    texts += [one for one in [task.get("file_upload")] if isinstance(one, str)]
    named = [one for one in texts if Path(one.split("?")[0]).suffix.lower() in SUFFIXES or "?d=" in one]
    return next(iter(named or texts), "")


def _of(task: dict[str, Any]) -> str:
    return str(task.get("id", "without an id"))[:30]


def _said_size(results: list[dict[str, Any]]) -> tuple[object, object] | None:
    return next(
        ((one["original_width"], one.get("original_height")) for one in results if "original_width" in one), None
    )


def _things(results: list[dict[str, Any]], size: Size, place: str, account: Account) -> Iterator[Raw]:
    # A brush with separate labels is written twice under one id: once with its label, once without.
    labelled = {one.get("id") for one in results if isinstance(one.get("id"), str) and _labels(one)}
    for number, one in enumerate(results):
        value = one.get("value")
        if not isinstance(value, dict) or not _has_shape(value):
            continue
        labels, name = _labels(one), one.get("id")
        where = f"region {str(name)[:20] if name else number} of {place}"
        if not labels:
            if not (isinstance(name, str) and name in labelled):
                account.add("regions without a label were left out", where)
            continue
        shape, problem = _shape(value, size, account, where)
        if one.get("image_rotation") not in (0, None):
            shape, problem = None, "its picture was turned while it was drawn"
        for label in labels:
            yield Raw(label, where, shape, problem)


def _labels(result: dict[str, Any]) -> list[str]:
    """The labels of a region."""
    value = result.get("value")
    if not isinstance(value, dict):
        return []
    lists = [found for key, found in value.items() if key.endswith("labels") and isinstance(found, list)]
    return [one for found in lists for one in found if isinstance(one, str)]


def _has_shape(value: dict[str, Any]) -> bool:
    return any(key in value for key in ("rle", "points", "width", "radiusX"))


def _shape(value: dict[str, Any], size: Size, account: Account, where: str) -> tuple[Shape | None, str]:
    """(shape, problem); all but brushes are told in percent of the picture's sides."""
    if "rle" in value:
        return tried(lambda: Brush(brush_bytes(value["rle"])))
    scale = np.array(size, np.float64) / 100
    try:
        if "points" in value:
            points = value["points"]
            if not isinstance(points, list):
                return None, "its points are no list"
            part = np.array([doubles(one, "a point") for one in points if _is_pair(one)]).reshape(-1, 2) * scale
            if len(part) != len(points):
                return None, "a point of its polygon is no pair of numbers"
        elif "radiusX" in value:
            x, y, wide, high, turn = _numbers(value, "x", "y", "radiusX", "radiusY", "rotation")
            angles = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
            around = np.stack([np.cos(angles) * wide, np.sin(angles) * high], axis=1) * scale
            part = np.array([x, y]) * scale + around @ _turned(turn)
        else:
            x, y, wide, high, turn = _numbers(value, "x", "y", "width", "height", "rotation")
            part = np.array([x, y]) * scale + (rectangle(0, 0, wide, high) * scale) @ _turned(turn)
            account.add("rectangles were taken as masks", where)
    except AnnotationError as error:
        return None, str(error)
    return polygons_of([part.reshape(-1).tolist()], size, account, where)


def _is_pair(point: object) -> bool:
    return isinstance(point, list) and len(point) == 2


def _numbers(value: dict[str, Any], *names: str) -> list[float]:
    found: list[float] = doubles([value.get(name, 0 if name == "rotation" else None) for name in names],
                                 "a region").tolist()  # fmt: skip
    return found


def _turned(degrees: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A turn clockwise, for points as rows."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])
