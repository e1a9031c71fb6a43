"""A result as a COCO document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsclip_runtime.results.codecs.coco_rle import encode_rle

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result


def coco_document(result: Result, image_id: int) -> dict[str, Any]:
    """See ``Result.to_coco``."""
    from clsclip_runtime.paths import readable

    width, height = result.size
    annotations: list[dict[str, Any]] = []
    for one in result.instances:
        mask = one.rle()
        annotation = {
            "id": len(annotations) + 1,
            "image_id": image_id,
            "category_id": one.index + 1,
            "segmentation": encode_rle(mask),
            "area": mask.area,
            "bbox": mask.box,
            "iscrowd": 0,
        }
        if one.presence is not None or not one.whole_image:
            annotation["score"] = round(one.score, 6)
        annotations.append(annotation)
    name = readable(Path(result.source).name)
    return {
        "info": {"description": f"ClsCLIP masks by the model {result.model}"},
        "images": [{"id": image_id, "file_name": name, "width": width, "height": height}],
        "annotations": annotations,
        "categories": [{"id": at + 1, "name": word} for at, word in enumerate(result.classes)],
    }
