"""A result as a JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsclip_runtime.bundle.formats import FORMATS
from clsclip_runtime.paths import readable

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

SCHEMA_VERSION: int = FORMATS["result_schema"]
"""Of ``Result.to_json()`` and of NPZ files."""


def json_document(result: Result, parts: bool) -> dict[str, Any]:
    """See ``Result.to_json``."""
    width, height = result.size
    regions = result.regions
    return {
        "schema_version": SCHEMA_VERSION,
        "source": readable(result.source),
        "width": width,
        "height": height,
        "model": result.model,
        "backend": result.backend,
        "backend_notes": list(result.backend_notes),
        "presence_threshold": result.presence_threshold,
        "max_classes": result.max_classes,
        "mask_threshold": result.mask_threshold,
        "classes": [one.to_json() for one in result],
        "regions": None if regions is None else {"source": regions.source, "count": len(regions)},
        "instances": [
            one.to_json() for one in (result.parts if parts or result.tracked is not None else result.all_instances())
        ],
        "notes": list(result.notes),
        "timings_ms": {name: round(value, 3) for name, value in result.timings.items()},
    }
