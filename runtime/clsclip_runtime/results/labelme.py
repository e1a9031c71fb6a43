"""A result as a document of labelme: polygons that it draws to the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsclip_runtime.results.codecs.outlines import outlines

if TYPE_CHECKING:
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
    width, height = result.size
    shapes = [
        {
            "label": one.name,
            "points": line.tolist(),
            "group_id": number,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for number, one in enumerate(result.objects(parts=parts), 1)
        for line in outlines(one.rle(), centers=True)
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
