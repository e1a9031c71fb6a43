"""A result as a document of labelme: polygons that it draws to the same pixels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from clsclip_runtime.results.codecs.outlines import at_least_three, outlines

if TYPE_CHECKING:
    from clsclip_runtime.masks.rle import RleMask
    from clsclip_runtime.results.result import Result

_VERSION = "5.4.1"
"""Of labelme, whose form this is."""


def labelme_document(result: Result, image: str, *, parts: bool = False) -> dict[str, Any]:
    """One document; the polygons of one object have the same ``group_id``.

    Args:
        result: what was found.
        image: path of the image from the document's folder, with slashes.
        parts: each connected part is an object of its own.
    """
    things = ((one.name, one.rle()) for one in result.objects(parts=parts))
    return labelme_file(things, image, result.size)


def labelme_file(things: Iterable[tuple[str, RleMask]], image: str, size: tuple[int, int]) -> dict[str, Any]:
    """A document of (label, mask) pairs; see ``labelme_document``. ``size``: (width, height)."""
    width, height = size
    shapes: list[dict[str, Any]] = [
        {
            "label": label,
            "points": at_least_three(line.tolist()),
            "group_id": number,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for number, (label, mask) in enumerate(things, 1)
        for line in outlines(mask, centers=True)
    ]
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
