"""A result as a COCO document."""

from __future__ import annotations

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
        mask = one.rle()
        annotation: dict[str, Any] = {
            "id": len(annotations) + 1,
            "image_id": image_id,
            "category_id": one.index + 1,
            "segmentation": polygons_of(mask) if polygons else encode_rle(mask),
            "area": mask.area,
            "bbox": mask.box,
            "iscrowd": 0,
        }
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
        "categories": [{"id": at + 1, "name": word} for at, word in enumerate(result.classes)],
    }


def polygons_of(mask: RleMask) -> list[list[int]]:
    """COCO's polygons of a mask: [x, y, x, y, ...] each, along the edges of pixels; holes are joined by slits."""
    return [line.reshape(-1).tolist() for line in outlines(mask)]
