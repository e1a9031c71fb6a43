"""Which pictures a model was trained on, short enough for its checkpoint: a checksum of every picture's name.

So an evaluation can tell that it measures on training pictures. Pictures of other data that have the same names are
taken for them; renamed ones are not found.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

MOST_IMAGES = 1 << 16
"""Of a training run; of larger ones nothing is noted."""


def marks_of(keys: Iterable[str]) -> dict[str, Any] | None:
    """Note the names of pictures, as JSON; None where there are too many."""
    sums = sorted({zlib.crc32(key.encode()) for key in keys})
    if len(sums) > MOST_IMAGES:
        return None
    return {"count": len(sums), "names_crc32": base64.b64encode(np.asarray(sums, "<u4").tobytes()).decode("ascii")}


def marked(keys: Iterable[str], marks: object) -> list[str] | None:
    """Those of the names that are noted in ``marks``; None where nothing, or nothing that can be read, is noted."""
    noted = marks.get("names_crc32") if isinstance(marks, Mapping) else None
    if not isinstance(noted, str) or len(noted) > 6 * MOST_IMAGES:
        return None
    try:
        sums = set(np.frombuffer(base64.b64decode(noted, validate=True), "<u4").tolist())
    except (binascii.Error, ValueError):
        return None
    return [key for key in keys if zlib.crc32(key.encode()) in sums]
