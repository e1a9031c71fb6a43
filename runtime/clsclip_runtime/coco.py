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


def encode_rle(mask: Bools, window: tuple[int, int, int, int], size: tuple[int, int]) -> dict[str, Any]:
    """A mask as COCO's compressed run-length encoding, with ``counts`` as text.

    Only the window's columns are looked at: a picture with many small regions costs no more than they do.

    Args:
        mask: (h, w) bool, of the window.
        window: its xyxy in whole pixels of the picture.
        size: (width, height) of the picture.

    Raises:
        OutputError: pycocotools is not installed.
    """
    try:
        coco_mask: Any = import_module("pycocotools.mask")
    except ImportError as error:
        raise OutputError(f"COCO output needs pycocotools ({error}). Run: pip install pycocotools") from error
    (left, top, right, bottom), (width, height) = window, size
    columns = np.zeros((right - left, height), np.bool_)
    columns[:, top:bottom] = mask.T
    flat = columns.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff([0, *edges, len(flat)]).tolist()
    # Counts begin with a run of zeros, and zeros and ones take turns.
    before, after = left * height, (width - right) * height
    counts = [before, *runs] if flat[0] else [before + runs[0], *runs[1:]]
    if not flat[-1]:
        counts[-1] += after
    elif after:
        counts.append(after)
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def coco_document(result: Result, image_id: int) -> dict[str, Any]:
    """See ``Result.to_coco``."""
    from clsclip_runtime.result import bounding_box, readable

    width, height = result.size
    annotations: list[dict[str, Any]] = []
    for one in result.instances:
        mask = one.crop_mask
        x, y, wide, high = bounding_box(mask)
        annotation = {
            "id": len(annotations) + 1,
            "image_id": image_id,
            "category_id": one.index + 1,
            "segmentation": encode_rle(mask, one.window, result.size),
            "area": int(np.count_nonzero(mask)),
            "bbox": [one.window[0] + x, one.window[1] + y, wide, high],
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
