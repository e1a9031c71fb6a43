"""Maps of a whole image that are made of a result's logits: probabilities of a class, and labels of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Bools, Floats
from clsclip_runtime.masks.upsampling import label_pixels, upsample
from clsclip_runtime.regions.crops import scale_window

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

_Size = tuple[int, int]


def probabilities(result: Result, index: int, size: _Size) -> Floats:
    """See ``Result.probabilities``; ``size`` is (width, height)."""
    width, height = size
    result.limits.check_result(f"probabilities of {width}x{height} pixels", width * height * 8, "Give a smaller size")
    strengths = strongest(result, np.flatnonzero(result.pairs.classes == index).tolist(), size)
    with np.errstate(over="ignore"):
        found: Floats = np.float32(1) / (np.float32(1) + np.exp(-strengths))
    return found


def strongest(result: Result, pairs: list[int], size: _Size) -> Floats:
    """The strongest logit of some pairs at every pixel: (height, width) float32, -inf where none may have a mask.

    Logits of pairs with a threshold of their own are moved, so that the result's own is the border for all.
    """
    width, height = size
    strengths = np.full((height, width), -np.inf, np.float32)
    own = result.mask_logit
    for at in pairs:
        window, limit = (
            scale_window(one[at], result.size, size) for one in (result.pairs.windows, result.pairs.limits)
        )
        values = upsample(result.pairs.logits[at], (window[2] - window[0], window[3] - window[1]))
        moved = values + np.float32(own - result.pairs.mask_logits[at])
        inside = moved[limit[1] - window[1] : limit[3] - window[1], limit[0] - window[0] : limit[2] - window[0]]
        part = strengths[limit[1] : limit[3], limit[0] : limit[2]]
        np.maximum(part, inside, out=part)
    return strengths


def labels(result: Result, size: _Size, background: bool) -> npt.NDArray[np.int32]:
    """See ``Result.labels``; ``size`` is (width, height). Without ``background`` masks count for nothing."""
    width, height = size
    own = result.mask_logit
    found = np.zeros((height, width), dtype=np.int32)
    best = np.full((height, width), own if background else -np.inf, dtype=np.float32)
    if result.cleaning and background:
        for index in np.unique(result.pairs.classes).tolist():
            _label_mask(result, index, found, best)
        return found
    for at in np.argsort(result.pairs.classes, kind="stable"):
        box, limit = (scale_window(one[at], result.size, size) for one in (result.pairs.windows, result.pairs.limits))
        # Pixels belong to the class that exceeds its own threshold by most.
        logits = result.pairs.logits[at] + np.float32(own - result.pairs.mask_logits[at])
        label_pixels(found, best, logits, int(result.pairs.classes[at]) + 1, box, limit)
    return found


def _label_mask(result: Result, index: int, found: npt.NDArray[np.int32], best: Floats) -> None:
    """Give a class the pixels of its cleaned mask where it is the strongest; in a filled hole it is the weakest."""
    height, width = found.shape
    mask: Bools = result.rle(index, (width, height)).mask()
    if not mask.any():
        return
    pairs = np.flatnonzero(result.pairs.classes == index).tolist()
    weakest = np.nextafter(np.float32(result.mask_logit), np.float32(np.inf))
    values = np.maximum(strongest(result, pairs, (width, height)), weakest)
    stronger = mask & (values > best)
    found[stronger] = index + 1
    best[stronger] = values[stronger]
