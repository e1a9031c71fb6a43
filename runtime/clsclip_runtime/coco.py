"""A result as a COCO document."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clsclip_runtime.errors import OutputError
from clsclip_runtime.masks import Bools

if TYPE_CHECKING:
    from clsclip_runtime.result import Result


def encode_rle(mask: Bools) -> dict[str, Any]:
    """A mask (H, W) bool as COCO's compressed run-length encoding, with ``counts`` as text.

    Raises:
        OutputError: pycocotools is not installed.
    """
    try:
        coco_mask: Any = import_module("pycocotools.mask")
    except ImportError as error:
        raise OutputError(f"COCO output needs pycocotools ({error}). Run: pip install pycocotools") from error
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    height, width = mask.shape
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def coco_document(result: Result, image_id: int) -> dict[str, Any]:
    """See ``Result.to_coco``."""
    from clsclip_runtime.result import bounding_box, readable

    width, height = result.size
    annotations: list[dict[str, Any]] = []
    for one in result.instances:
        mask = one.mask
        annotation = {
            "id": len(annotations) + 1,
            "image_id": image_id,
            "category_id": one.index + 1,
            "segmentation": encode_rle(mask),
            "area": int(np.count_nonzero(mask)),
            "bbox": bounding_box(mask),
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
