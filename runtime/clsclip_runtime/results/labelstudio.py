"""A result as a task of Label Studio, whose masks are a prediction that an annotator begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from clsclip_runtime.results.codecs.brush import encode_brush
from clsclip_runtime.results.codecs.outlines import outlines

if TYPE_CHECKING:
    from clsclip_runtime.masks.rle import RleMask
    from clsclip_runtime.results.result import Result

FROM_NAME, TO_NAME = "label", "image"
"""Names that the labeling configuration must have."""


def labelstudio_task(result: Result, image: str, *, parts: bool = False, polygons: bool = False) -> dict[str, Any]:
    """One task: its image and one prediction, a region for each object, or for each polygon.

    Args:
        result: what was found.
        image: path of the image below the folder that Label Studio serves, with slashes.
        parts: each connected part is an object of its own.
        polygons: polygons in place of brushes.
    """
    regions: list[dict[str, Any]] = []
    scores: list[float] = []
    for one in result.objects(parts=parts):
        scores.append(one.score)
        for region in labelstudio_regions(one.name, one.rle(), len(regions) + 1, polygons=polygons):
            regions.append(region | {"score": round(one.score, 6)})
    prediction = {
        "model_version": result.model,
        "score": round(sum(scores) / len(scores), 6) if scores else 0.0,
        "result": regions,
    }
    return {"data": {TO_NAME: image_address(image)}, "predictions": [prediction]}


def labelstudio_regions(label: str, mask: RleMask, number: int, *, polygons: bool = False) -> list[dict[str, Any]]:
    """What a mask is in a task: one region with a brush, or one for each polygon.

    Args:
        label: its class.
        mask: with at least one pixel.
        number: of the first region; their ids are counted from it.
        polygons: polygons in place of a brush.
    """
    kind = "polygonlabels" if polygons else "brushlabels"
    return [
        {"id": f"r{at}"} | labelstudio_region(mask.size, kind, value, label, (FROM_NAME, TO_NAME))
        for at, value in enumerate(labelstudio_values(mask, kind), number)
    ]


def labelstudio_values(mask: RleMask, kind: str) -> list[dict[str, Any]]:
    """A mask as what regions hold: one brush, a box around it, or all its polygons; none if it is empty.

    Args:
        mask: of a class.
        kind: ``brushlabels``, ``polygonlabels`` or ``rectanglelabels``.
    """
    if not mask.area:
        return []
    if kind == "rectanglelabels":
        x, y, wide, high = (100 * one / side for one, side in zip(mask.box, mask.size * 2, strict=True))
        return [{"x": x, "y": y, "width": wide, "height": high, "rotation": 0}]
    return _polygons(mask) if kind == "polygonlabels" else _brush(mask)


def labelstudio_region(
    size: tuple[int, int], kind: str, value: dict[str, Any], label: str, names: tuple[str, str]
) -> dict[str, Any]:
    """A region of a prediction, without an identifier.

    Args:
        size: (width, height) of the image.
        kind: ``brushlabels``, ``polygonlabels`` or ``rectanglelabels``.
        value: of ``labelstudio_values``.
        label: of the labeling configuration.
        names: ``from_name`` and ``to_name``, which the configuration must have.
    """
    return {
        "type": kind,
        "value": value | {kind: [label]},
        "from_name": names[0],
        "to_name": names[1],
        "original_width": size[0],
        "original_height": size[1],
        "image_rotation": 0,
    }


def image_address(path: str) -> str:
    """How Label Studio names a file below the folder that it serves."""
    return f"/data/local-files/?d={quote(path)}"


def _brush(mask: RleMask) -> list[dict[str, Any]]:
    return [{"format": "rle", "rle": encode_brush(mask)}]


def _polygons(mask: RleMask) -> list[dict[str, Any]]:
    """Values with points in percent of the image; holes are joined by slits."""
    width, height = mask.size
    lines = (line.tolist() for line in outlines(mask))
    return [{"points": [[x * 100 / width, y * 100 / height] for x, y in line], "closed": True} for line in lines]
