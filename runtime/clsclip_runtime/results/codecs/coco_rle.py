"""COCO's run-length encoding: counts of pixels outside and inside the mask in turns, down the columns.

Uncompressed, they are a list. Compressed, they are a text: every count, from the third on as its difference to the one
before the last, in groups of five bits, the lowest first, each as a character from ``0`` on.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from clsclip_runtime._types import Integers
from clsclip_runtime.errors import AnnotationError, OutputError
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.values import shown, whole, wholes

_FIRST = ord("0")
_MORE, _SIGN, _BITS = 0x20, 0x10, 5
_MOST_GROUPS = 8
"""Of one count: 40 bits."""


def encode_rle(mask: RleMask) -> dict[str, Any]:
    """A mask as COCO's compressed encoding, with ``counts`` as text.

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


def decode_rle(value: object, size: tuple[int, int]) -> RleMask:
    """The mask of an encoding, compressed or not.

    Args:
        value: ``{"size": [height, width], "counts": [...] or "..."}``.
        size: (width, height) that it must have.

    Raises:
        AnnotationError: it is no encoding, is of another size, or does not cover the image exactly.
    """
    if not isinstance(value, dict) or "counts" not in value:
        raise AnnotationError("a run-length encoding is an object with size and counts")
    width, height = size
    given = value.get("size")
    if not isinstance(given, (list, tuple)) or len(given) != 2:
        raise AnnotationError(f"the size of a run-length encoding is [height, width], and it is {shown(given)}")
    if tuple(whole(one, "the size of a run-length encoding") for one in given) != (height, width):
        raise AnnotationError(f"a run-length encoding is of {given[1]}x{given[0]} pixels, the image {width}x{height}")
    counts = value["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    lengths = _unpacked(counts) if isinstance(counts, str) else wholes(counts, "counts of a run-length encoding")
    if len(lengths) and (lengths.min() < 0 or lengths.max() > width * height):
        raise AnnotationError("a run-length encoding holds a count outside of the image")
    ends = np.cumsum(lengths)
    covered = int(ends[-1]) if len(ends) else 0
    if covered != width * height:
        raise AnnotationError(f"a run-length encoding covers {covered:,} pixels, and the image has {width * height:,}")
    return RleMask.from_flips((height, width), ends[:-1]).transposed()


def _unpacked(text: str) -> Integers:
    """The counts of a compressed encoding."""
    try:
        groups = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _FIRST
    except UnicodeEncodeError:
        groups = np.array([-1], np.int64)
    last = np.flatnonzero(groups & _MORE == 0)
    if len(groups) and (groups.min() < 0 or groups.max() >= 64 or not len(last) or last[-1] != len(groups) - 1):
        raise AnnotationError("the counts of a run-length encoding are no text of that form")
    if not len(groups):
        return np.zeros(0, np.int64)
    first = np.concatenate([[0], last[:-1] + 1])
    sizes = last - first + 1
    if sizes.max() > _MOST_GROUPS:
        raise AnnotationError("a run-length encoding holds a count that is too large")
    shifts = _BITS * (np.arange(len(groups)) - np.repeat(first, sizes))
    counts = np.add.reduceat((groups & (_MORE - 1)) << shifts, first)
    counts = np.where(groups[last] & _SIGN, counts - (np.int64(1) << (_BITS * sizes)), counts)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    found: Integers = counts
    return found
