"""The columns of a table: a row for each image, masks as COCO's compressed runs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from clsclip_runtime.paths import readable
from clsclip_runtime.results.codecs.coco_rle import encode_rle
from clsclip_runtime.results.result import Result

ANNOTATION = pa.struct(
    [
        ("name", pa.string()),
        ("score", pa.float32()),
        ("area", pa.int64()),
        ("bbox", pa.list_(pa.int32())),
        ("counts", pa.string()),
        ("box", pa.list_(pa.float32())),
        ("region", pa.string()),
    ]
)
"""A mask with pixels: its class; its score, null where presence was not asked; pixels; xywh around them; COCO's
compressed runs of [height, width]; the region that was searched, xyxy, null for the whole image; and the region's own
class name."""

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("error", pa.string()),
        ("model", pa.string()),
        ("annotations", pa.list_(ANNOTATION)),
        ("notes", pa.list_(pa.string())),
    ]
)
"""An image: its name below the source, its size in pixels, why it could not be read (else null), the model, its masks,
and what the model has to say about them. Fixed, so that empty tables agree with full ones."""


def row_of(path: str, result: Result) -> dict[str, Any]:
    """The row of a result, as plain Python types."""
    width, height = result.size
    annotations = []
    for one in result.objects():
        mask = one.rle()
        scored = one.presence is not None or not one.whole_image
        annotations.append(
            {
                "name": one.name,
                "score": round(one.score, 6) if scored else None,
                "area": mask.area,
                "bbox": list(mask.box),
                "counts": encode_rle(mask)["counts"],
                "box": None if one.whole_image else list(one.box),
                "region": one.region_name,
            }
        )
    row = {"path": readable(path), "width": width, "height": height, "error": None, "model": result.model}
    return row | {"annotations": annotations, "notes": list(result.notes)}


def error_row(path: str, model: str, reason: str) -> dict[str, Any]:
    """The row of an image that gives no masks."""
    row = {"path": readable(path), "width": None, "height": None, "error": reason, "model": model}
    return row | {"annotations": [], "notes": []}
