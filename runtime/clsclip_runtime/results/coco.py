"""A result as a COCO document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsclip_runtime.paths import readable
from clsclip_runtime.results.codecs.coco_rle import encode_rle
from clsclip_runtime.results.codecs.outlines import outlines

if TYPE_CHECKING:
    from clsclip_runtime.masks.rle import RleMask
    from clsclip_runtime.results.result import Result


def coco_document(
    result: Result, image_id: int, *, parts: bool = False, polygons: bool = False, name: str | None = None
) -> dict[str, Any]:
    """See ``Result.to_coco``; ``name`` is the image's ``file_name``, None that of its file."""
    width, height = result.size
    annotations: list[dict[str, Any]] = []
    for one in result.objects(parts=parts):
        annotation = coco_annotation(len(annotations) + 1, image_id, one.index, one.rle(), polygons=polygons)
        if one.presence is not None or not one.whole_image:
            annotation["score"] = round(one.score, 6)
        if one.track_id is not None:
            annotation["track_id"] = one.track_id
        annotations.append(annotation)
    file_name = readable(Path(result.source).name) if name is None else name
    return {
        "info": {"description": f"ClsCLIP masks by the model {result.model}"},
        "images": [{"id": image_id, "file_name": file_name, "width": width, "height": height}],
        "annotations": annotations,
        "categories": categories(result.classes),
    }


def coco_annotation(
    number: int, image_id: int, index: int, mask: RleMask, *, crowd: bool = False, polygons: bool = False
) -> dict[str, Any]:
    """One annotation.

    Args:
        number: its id.
        image_id: of its image.
        index: position of its class; ids of categories are counted from 1.
        mask: with at least one pixel.
        crowd: it is ignored in tests.
        polygons: in place of run lengths.
    """
    return {
        "id": number,
        "image_id": image_id,
        "category_id": index + 1,
        "segmentation": polygons_of(mask) if polygons else encode_rle(mask),
        "area": mask.area,
        "bbox": mask.box,
        "iscrowd": int(crowd),
    }


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """The categories of a document, by the positions of the classes."""
    return [{"id": at + 1, "name": word} for at, word in enumerate(classes)]


def polygons_of(mask: RleMask) -> list[list[int]]:
    """COCO's polygons of a mask: [x, y, x, y, ...] each, along the edges of pixels; holes are joined by slits."""
    return [line.reshape(-1).tolist() for line in outlines(mask)]
