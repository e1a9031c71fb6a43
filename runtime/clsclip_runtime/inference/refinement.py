"""Logits made as fine as the image: those of whole images and tiles joined into one map a class, and filtered by color.

The maps take the place of the pairs, so that whatever is made of a result is made of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np

from clsclip_runtime._types import Doubles, Integers
from clsclip_runtime.inference.request import Findings, ImageRequest
from clsclip_runtime.limits import Limits
from clsclip_runtime.masks.refinement import GuidedFilter
from clsclip_runtime.masks.upsampling import bilinear
from clsclip_runtime.results.pairs import WHOLE, Pairs

Window: TypeAlias = tuple[int, int, int, int]

LONGEST_SIDE = 512
"""Of the guide of a whole image, in pixels: so time and memory of a class are bounded."""

REGION_SIDE = 256
"""Of the guides of an image with regions: its regions' crops and, where a class has no region, the image itself."""

NOWHERE = -4.0
"""Logit, beside the one that a pixel must exceed, where a class was searched and no crop of it segmented."""


def refine(found: Findings, request: ImageRequest, mask_logit: float, limits: Limits) -> Findings:
    """Findings with refined logits, whose ``mask_logits`` are all ``mask_logit``; classes without pixels stay so.

    Of crops of whole images and tiles a class gets one map of the image, in every pixel the strongest; a region's is
    refined by itself, because it is a thing by itself.

    Raises:
        OptionError: the maps would not fit into ``result_mb``.
    """
    pairs, image = found.pairs, request.image.image
    size = (REGION_SIDE, REGION_SIDE) if request.regions is not None else _fitting(request.size)
    groups = _groups(pairs)
    limits.check_result(
        f"the refined logits of {len(groups):,} classes or regions",
        4 * size[0] * size[1] * len(groups),
        "Ask fewer classes at a time, or leave refine out",
    )
    whole = (0, 0, *request.size)
    logits = np.empty((len(groups), size[1], size[0]), np.float32)
    rows = np.array([group[0] for group in groups], np.int64)
    windows = np.where((pairs.boxes[rows] == WHOLE)[:, None], np.array(whole), pairs.windows[rows])
    filters: dict[Window, GuidedFilter] = {}
    for at, group in enumerate(groups):
        left, top, right, bottom = (int(value) for value in windows[at])
        window = (left, top, right, bottom)
        if window not in filters:
            if window != whole:
                filters.pop(next((one for one in filters if one != whole), whole), None)  # regions come one by one
            filters[window] = GuidedFilter(image if window == whole else image.crop(window), size)
        guided = filters[window]
        logits[at] = guided(_joined(pairs, group, window, guided.coarse_size)) + np.float32(mask_logit)
    refined = Pairs(
        classes=pairs.classes[rows],
        windows=windows,
        limits=np.where((pairs.boxes[rows] == WHOLE)[:, None], windows, pairs.limits[rows]),
        boxes=pairs.boxes[rows],
        prompts=pairs.prompts[rows],
        mask_logits=np.full(len(rows), mask_logit),
        presence=np.array([np.fmax.reduce(pairs.presence[group]) for group in groups], np.float32),
        logits=logits,
    )
    return replace(found, pairs=refined)


def _groups(pairs: Pairs) -> list[Integers]:
    """Rows of the pairs that make one map each, of those that have a pixel at all: regions by their windows first."""
    strong = pairs.logits.max(axis=(1, 2), initial=-np.inf) > pairs.mask_logits
    regions = np.flatnonzero(strong & (pairs.boxes != WHOLE))
    regions = regions[np.argsort(pairs.boxes[regions], kind="stable")]
    groups = [regions[at : at + 1] for at in range(len(regions))]
    for one in np.unique(pairs.classes):
        group = np.flatnonzero(strong & (pairs.boxes == WHOLE) & (pairs.classes == one))
        if len(group):
            groups.append(group)
    return groups


def _fitting(size: tuple[int, int]) -> tuple[int, int]:
    """``size`` at most ``LONGEST_SIDE`` on its longer side."""
    scale = min(1.0, LONGEST_SIDE / max(size))
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def _joined(pairs: Pairs, group: Integers, window: Window, size: tuple[int, int]) -> Doubles:
    """The strongest logit of the pairs at every place of a ``window``, beside what each must exceed.

    Returns:
        (height, width) of ``size``: bilinear in each pair's own window, ``NOWHERE`` outside all.
    """
    columns = _places(window[0], window[2], size[0])
    rows = _places(window[1], window[3], size[1])
    joined = np.full((size[1], size[0]), NOWHERE)
    for at in group:
        left, top, right, bottom = (int(value) for value in pairs.windows[at])
        across = slice(*np.searchsorted(columns, (left, right)))
        down = slice(*np.searchsorted(rows, (top, bottom)))
        height, width = pairs.logits.shape[1:]
        values = bilinear(
            pairs.logits[at].astype(np.float64),
            _between(height, (rows[down] - top) / (bottom - top)),
            _between(width, (columns[across] - left) / (right - left)),
        )
        part = joined[down, across]
        np.maximum(part, values - float(pairs.mask_logits[at]), out=part)
    return joined


def _places(low: int, high: int, count: int) -> Doubles:
    """Centers of ``count`` equal parts between two edges."""
    places: Doubles = low + (np.arange(count, dtype=np.float64) + 0.5) * ((high - low) / count)
    return places


def _between(count: int, shares: Doubles) -> tuple[Integers, Doubles]:
    """Of ``count`` values along an axis the one before each share of its length, and how far it is to the next."""
    place: Doubles = np.clip(shares * count - 0.5, 0.0, count - 1)
    low = np.floor(place).astype(np.int64)
    part: Doubles = place - low
    return low, part
