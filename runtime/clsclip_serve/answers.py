"""Answers: ``Result.to_json()`` and, for each class, its mask, from runs of pixels: never K x H x W."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from clsclip_runtime.masks.png import write_mask
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.class_result import ClassResult
from clsclip_runtime.results.codecs.coco_rle import encode_rle
from clsclip_runtime.results.codecs.outlines import outlines
from clsclip_runtime.results.result import Result
from clsclip_serve.asked import MaskFormat, Options


def document(result: Result, options: Options, request_id: str, queue_s: float) -> dict[str, Any]:
    """The answer as plain JSON types.

    Args:
        result: of the picture.
        options: the form and size of masks.
        request_id: of the request.
        queue_s: seconds that it waited.
    """
    found = result.to_json()
    size = mask_size(result.size, options.max_side)
    if options.masks != "none":
        for entry, one in zip(found["classes"], result, strict=True):
            entry["mask"] = _mask(result, one, options.masks, size) if one.area else None
    found.pop("source")
    found["timings_ms"] = {"queue": round(1000 * queue_s, 3), **found["timings_ms"]}
    return {"id": request_id, **found}


def mask_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """(width, height) of masks: the picture's, or with a longer side of ``max_side``."""
    longer = max(size)
    if max_side is None or longer <= max_side:
        return size
    width, height = (max(1, round(side * max_side / longer)) for side in size)
    return width, height


def _mask(result: Result, one: ClassResult, form: MaskFormat, size: tuple[int, int]) -> dict[str, Any]:
    runs = one.rle() if size == result.size else result.rle(one.index, size)
    width, height = size
    if form == "rle":
        return {"format": "rle", "size": [height, width], "counts": encode_rle(runs)["counts"]}
    if form == "png":
        return {"format": "png", "size": [height, width], "data": base64.b64encode(png(runs)).decode("ascii")}
    return {"format": "polygons", "size": [height, width], "polygons": [ring.tolist() for ring in outlines(runs)]}


def png(runs: RleMask) -> bytes:
    """A mask as a PNG of one bit a pixel."""
    file = io.BytesIO()
    write_mask(file, runs)
    return file.getvalue()


def overlay(result: Result) -> bytes:
    """The masks over the picture, as PNG."""
    return _encoded(result.overlay())


def labels(result: Result) -> bytes:
    """The label map as PNG: 0, or 1 + the position of the strongest class; 16 bits where there are over 255."""
    values = result.labels()
    kind = np.uint8 if len(result.classes) < 256 else np.uint16
    return _encoded(Image.fromarray(values.astype(kind)))


def _encoded(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
