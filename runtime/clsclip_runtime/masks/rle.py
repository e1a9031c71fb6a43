"""Masks as runs of pixels. A mask of 12 million pixels is a few thousand of them; its area, its box, its bits and its
run-length code all come from them, and its pixels are only made where somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Bools, Integers


@dataclass(frozen=True, eq=False)
class RleMask:
    """A mask of ``size`` = (width, height) pixels, row by row.

    Attributes:
        size: in pixels.
        rows: (n,) int64, the row of every run, ascending.
        starts: (n,) int64, its first column; ascending in a row.
        ends: (n,) int64, the column behind its last. RleMask are never empty and never touch.
    """

    size: tuple[int, int]
    rows: Integers
    starts: Integers
    ends: Integers

    @classmethod
    def from_mask(cls, mask: Bools) -> RleMask:
        """Return the runs of a mask (height, width)."""
        height, width = mask.shape
        inside = np.zeros((height, width + 2), np.bool_)
        inside[:, 1:-1] = mask
        rows, columns = np.nonzero(inside[:, 1:] != inside[:, :-1])
        return cls((width, height), rows[0::2], columns[0::2], columns[1::2])

    @classmethod
    def from_flips(cls, size: tuple[int, int], flips: Integers) -> RleMask:
        """Return the mask that changes at some places, counted along the rows one after the other.

        Args:
            size: (width, height).
            flips: (n,) int64, ascending, from 0 to width x height; a place that comes twice is no change. The first
                pixel counts as a change if it is in the mask, the end does not.
        """
        width, height = size
        flips, counts = np.unique(flips, return_counts=True)
        flips = flips[(counts % 2 == 1) & (flips < width * height)]
        if len(flips) % 2:
            flips = np.append(flips, width * height)
        starts, ends = flips[0::2], flips[1::2]
        first = starts // width
        rows_of_each = (ends - 1) // width - first + 1  # a run goes on in the next row
        before = np.cumsum(rows_of_each) - rows_of_each
        rows = np.repeat(first - before, rows_of_each) + np.arange(int(rows_of_each.sum()))
        begins = np.maximum(np.repeat(starts, rows_of_each) - rows * width, 0)
        stops = np.minimum(np.repeat(ends, rows_of_each) - rows * width, width)
        return cls(size, rows, begins, stops)

    @classmethod
    def joined(cls, size: tuple[int, int], parts: Sequence[RleMask]) -> RleMask:
        """Return the pixels of any of ``parts``, all of this size."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls(size, *np.zeros((3, 0), np.int64))
        # Along all rows behind one another, a mask goes on where more runs have begun than ended.
        stride = size[0] + 1
        starts = np.concatenate([part.rows * stride + part.starts for part in parts])
        ends = np.concatenate([part.rows * stride + part.ends for part in parts])
        places = np.concatenate([starts, ends])
        # At one place all beginnings come before all ends, so that runs that touch are one.
        order = np.argsort(places, kind="stable")
        depth = np.cumsum(np.where(order < len(starts), 1, -1))
        last = depth == 0
        first = np.roll(last, 1)
        begin, end = places[order][first], places[order][last]
        rows, columns = np.divmod(begin, stride)
        return cls(size, rows, columns, end - rows * stride)

    def placed(self, left: int, top: int, size: tuple[int, int]) -> RleMask:
        """Return the mask with its corner at (left, top) of another of ``size`` = (width, height), if it has room."""
        return RleMask(size, self.rows + top, self.starts + left, self.ends + left)

    def within(self, box: tuple[int, int, int, int]) -> RleMask:
        """Return the pixels inside ``box``, xyxy."""
        left, top, right, bottom = box
        starts, ends = np.maximum(self.starts, left), np.minimum(self.ends, right)
        kept = (self.rows >= top) & (self.rows < bottom) & (starts < ends)
        return RleMask(self.size, self.rows[kept], starts[kept], ends[kept])

    def resized(self, size: tuple[int, int]) -> RleMask:
        """Return the mask at another ``size`` = (width, height): every pixel is the one that lies under its center."""
        (width, height), (wide, high) = size, self.size
        columns = (np.arange(width) * 2 + 1) * wide // (2 * width)
        rows = (np.arange(height) * 2 + 1) * high // (2 * height)
        return RleMask.from_mask(self.mask()[rows[:, None], columns])

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int((self.ends - self.starts).sum())

    @property
    def box(self) -> list[int]:
        """Bounding box [x, y, width, height] in pixels of a mask that has pixels."""
        x, y = int(self.starts.min()), int(self.rows[0])
        return [x, y, int(self.ends.max()) - x, int(self.rows[-1]) - y + 1]

    def packed(self) -> npt.NDArray[np.uint8]:
        """Return the mask's bits, eight pixels a byte, the left one highest: (height, ceil(width / 8)) uint8."""
        width, height = self.size
        stride = -(-width // 8)
        whole = np.zeros((height, stride + 1), np.uint8)  # toggles of all bytes behind; one more, for ends at the edge
        part = np.zeros((height, stride + 1), np.uint8)  # toggles inside the byte where a run starts or ends
        at = self.rows * (stride + 1)
        for columns in (self.starts, self.ends):
            places = at + (columns >> 3)
            np.bitwise_xor.at(part.reshape(-1), places, (0xFF >> (columns & 7)).astype(np.uint8))
            inside = columns >> 3 < stride
            np.bitwise_xor.at(whole.reshape(-1), places[inside] + 1, np.uint8(0xFF))
        bits: npt.NDArray[np.uint8] = np.bitwise_xor.accumulate(whole, axis=1) ^ part
        return bits[:, :stride]

    def mask(self) -> Bools:
        """Return the mask (height, width) bool."""
        return np.unpackbits(self.packed(), axis=1, count=self.size[0]).view(np.bool_)

    def row_flips(self) -> Integers:
        """Return where the mask changes, counted along the rows one after the other; see ``from_flips``."""
        width, height = self.size
        places = np.stack([self.rows * width + self.starts, self.rows * width + self.ends], axis=1).reshape(-1)
        # A row that ends in the mask is followed by one that begins in it: no change between them.
        places, counts = np.unique(places, return_counts=True)
        changes: Integers = places[(counts == 1) & (places < width * height)]
        return changes

    def transposed(self) -> RleMask:
        """Return the mask with its rows as columns, of ``size`` = (height, width)."""
        width, height = self.size
        return RleMask.from_flips((height, width), self.column_flips())

    def column_flips(self) -> Integers:
        """Return where the mask changes, counted down the columns one after the other: (n,) int64, ascending.

        The first pixel counts as a change if it is in the mask, the end does not.
        """
        width, height = self.size
        # A pixel differs from the one above where the runs of two rows differ: the changes of both rows, each once.
        columns = np.concatenate([self.starts, self.ends])
        rows = np.concatenate([self.rows, self.rows])
        keys = np.concatenate([rows * (width + 1) + columns, (rows + 1) * (width + 1) + columns])
        keys, counts = np.unique(keys, return_counts=True)
        keys = keys[counts % 2 == 1]
        rows, columns = np.divmod(keys, width + 1)
        rows, starts, lengths = rows[0::2], columns[0::2], columns[1::2] - columns[0::2]
        total = np.cumsum(lengths)
        behind = np.arange(total[-1] if len(total) else 0) - np.repeat(total - lengths, lengths)
        flips = (np.repeat(starts, lengths) + behind) * height + np.repeat(rows, lengths)
        # A column that ends in the mask is followed by one that begins in it: no change between them.
        flips, counts = np.unique(flips, return_counts=True)
        changes: Integers = flips[(counts == 1) & (flips < width * height)]
        return changes
