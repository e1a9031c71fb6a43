"""A result as a COCO document."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clsclip_runtime.errors import OutputError
from clsclip_runtime.masks.rle import RleMask

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result


def encode_rle(mask: RleMask) -> dict[str, Any]:
    """A mask as COCO's compressed run-length encoding, which goes down the columns, with ``counts`` as text.

    Raises:
        OutputError: pycocotools is not installed.
    """
    try:
        coco_mask: Any = import_module("pycocotools.mask")
    except ImportError as error:
        raise OutputError(f"COCO output needs pycocotools ({error}). Run: pip install pycocotools") from error
    width, height = mask.size
    # Counts begin with a run of zeros, and zeros and ones take turns.
    counts = np.diff(mask.column_flips(), prepend=0, append=width * height).tolist()
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


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
