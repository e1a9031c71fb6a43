"""Connected parts of masks: taking a mask apart, leaving out small parts, filling holes; all on runs of pixels.

Pixels that touch at a side or a corner are one part. A hole is what no path over sides alone leads out of to the edge
of the image. C++ does the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clsclip_runtime._types import Bools, Integers
from clsclip_runtime.errors import OptionError
from clsclip_runtime.masks.rle import RleMask


@dataclass(frozen=True)
class Cleaning:
    """What is done to every mask: first holes are filled, then parts are left out.

    Attributes:
        min_area: parts with fewer pixels are left out.
        largest: only the largest part is kept; of equal ones the first from the top, then from the left.
        fill_holes: holes become part of the mask.

    Raises:
        OptionError: a value makes no sense.
    """

    min_area: int = 0
    largest: bool = False
    fill_holes: bool = False

    def __post_init__(self) -> None:
        is_whole = isinstance(self.min_area, (int, np.integer)) and not isinstance(self.min_area, bool)
        if not is_whole or self.min_area < 0:
            raise OptionError(f"min_area must be a whole number of pixels, 0 or more, and it is {self.min_area!r}")
        for name in ("largest", "fill_holes"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise OptionError(f"{name} must be True or False, and it is {getattr(self, name)!r}")

    def __bool__(self) -> bool:
        """Whether it does anything."""
        return self.min_area > 1 or self.largest or self.fill_holes

    def __str__(self) -> str:
        """``holes filled, parts below 50 pixels left out, the largest part alone kept``."""
        small = f"parts below {self.min_area} pixels left out" if self.min_area > 1 else ""
        done = ("holes filled" if self.fill_holes else "", small, "the largest part alone kept" if self.largest else "")
        return ", ".join(one for one in done if one)

    def __call__(self, mask: RleMask) -> RleMask:
        """The mask, cleaned."""
        if self.fill_holes:
            mask = filled(mask)
        if (self.largest or self.min_area > 1) and len(mask.rows):
            part = parts(mask)
            areas = np.bincount(part, mask.ends - mask.starts)
            kept = areas >= self.min_area
            if self.largest:  # argmax takes the first of equal ones
                kept &= np.arange(len(areas)) == np.argmax(areas)
            mask = _picked(mask, kept[part])
        return mask


def split(mask: RleMask) -> list[RleMask]:
    """The connected parts of a mask, each as a mask of the same size, in the order of their first pixels."""
    part = parts(mask)
    order = np.argsort(part, kind="stable")
    bounds = np.flatnonzero(np.diff(part[order])) + 1
    return [_picked(mask, runs) for runs in np.split(order, bounds)] if len(order) else []


def filled(mask: RleMask) -> RleMask:
    """A mask without holes."""
    width, height = mask.size
    outside = _complement(mask)
    part = parts(outside, corners=False)
    edge = (outside.rows == 0) | (outside.rows == height - 1) | (outside.starts == 0) | (outside.ends == width)
    leads_out = np.zeros(int(part.max(initial=-1)) + 1, np.bool_)
    leads_out[part[edge]] = True
    holes = ~leads_out[part]
    return RleMask.joined(mask.size, [mask, _picked(outside, holes)]) if holes.any() else mask


def parts(mask: RleMask, *, corners: bool = True) -> Integers:
    """The connected part of every run: (n,) int64, numbered from 0 in the order of their first runs.

    Args:
        mask: its runs.
        corners: pixels that touch at a corner are connected.
    """
    count = len(mask.rows)
    one, other = _touching(mask, 1 if corners else 0)
    roots = np.arange(count)
    while True:
        first, second = roots[one], roots[other]
        low, high = np.minimum(first, second), np.maximum(first, second)
        apart = low != high
        if not apart.any():
            break
        np.minimum.at(roots, high[apart], low[apart])
        while not np.array_equal(roots, further := roots[roots]):
            roots = further
    found: Integers = np.unique(roots, return_inverse=True)[1].reshape(-1)
    return found


def _touching(mask: RleMask, reach: int) -> tuple[Integers, Integers]:
    """Pairs of runs of adjacent rows that touch; with ``reach`` 1 at a corner too."""
    stride = mask.size[0] + 2
    starts, ends = mask.rows * stride + mask.starts, mask.rows * stride + mask.ends
    # In the next row, a run touches this one if it ends behind its start and starts before its end.
    first = np.searchsorted(ends, starts + stride - reach, side="right")
    behind = np.searchsorted(starts, ends + stride + reach, side="left")
    counts = np.maximum(behind - first, 0)
    one = np.repeat(np.arange(len(starts)), counts)
    other = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    return one, other


def _complement(mask: RleMask) -> RleMask:
    """What is not in the mask."""
    width, height = mask.size
    # A row's gaps lie between the end of a run, or the row's beginning, and the start of the next, or the row's end.
    every = np.arange(height)
    rows = np.concatenate([mask.rows, every])
    starts, ends = (
        np.concatenate([mask.ends, np.zeros(height, np.int64)]),
        np.concatenate([mask.starts, every * 0 + width]),
    )
    begin = np.sort(rows * (width + 1) + starts)
    end = np.sort(rows * (width + 1) + ends)
    rows, columns = np.divmod(begin, width + 1)
    behind = end - rows * (width + 1)
    full = behind > columns
    return RleMask(mask.size, rows[full], columns[full], behind[full])


def _picked(mask: RleMask, runs: Integers | Bools) -> RleMask:
    return RleMask(mask.size, mask.rows[runs], mask.starts[runs], mask.ends[runs])
