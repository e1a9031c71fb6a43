"""From low-resolution logits to masks at the picture's size.

Logits, not probabilities or masks, are upsampled (bilinear, ``align_corners=False``), and only then
thresholded, in logit space: the edge of a mask is then as smooth as the logits allow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Bools, Doubles, Floats, Integers
from clsclip_runtime.masks.rle import RleMask

_BLOCK_VALUES = 1 << 22
"""Upsampled values held at one time (16 MiB of float32), whatever the picture's size."""


_CHANGES = 1 << 14
"""Changes along the rows of a mask that are placed at one time: what they need stays in the cache, in half the time."""


def logit(probability: float) -> float:
    """The logit of a probability strictly between 0 and 1."""
    return math.log(probability) - math.log1p(-probability)


def interpolation_matrix(inputs: int, outputs: int) -> Floats:
    """Bilinear interpolation along one axis as a matrix (outputs, inputs) float32; each row sums to one.

    Same grid as ``torch.nn.functional.interpolate(..., align_corners=False)`` without antialiasing.
    """
    low, fraction = grid(inputs, outputs)
    high = np.minimum(low + 1, inputs - 1)
    matrix = np.zeros((outputs, inputs), dtype=np.float64)
    row = np.arange(outputs)
    np.add.at(matrix, (row, low), 1.0 - fraction)
    np.add.at(matrix, (row, high), fraction)
    return matrix.astype(np.float32)


def grid(inputs: int, outputs: int) -> tuple[Integers, Doubles]:
    """For every output along an axis the input before it, and how far it is on its way to the next, 0 to 1."""
    centre = (np.arange(outputs, dtype=np.float64) + 0.5) * (inputs / outputs) - 0.5
    centre = np.clip(centre, 0.0, inputs - 1)
    low = np.floor(centre).astype(np.int64)
    return low, centre - low


def bilinear(values: Doubles, rows: tuple[Integers, Doubles], columns: tuple[Integers, Doubles]) -> Doubles:
    """``values`` (h, w) at any rows and columns, down and then across.

    Each is given by the positions before it and how far it is on its way to the next, 0 to 1, as ``grid`` gives them.
    """
    low, part = rows
    tall = values[low] * (1.0 - part)[:, None] + values[np.minimum(low + 1, values.shape[0] - 1)] * part[:, None]
    low, part = columns
    result: Doubles = tall[:, low] * (1.0 - part) + tall[:, np.minimum(low + 1, values.shape[1] - 1)] * part
    return result


def upsample(logits: Floats, size: tuple[int, int]) -> Floats:
    """Logits (..., h, w) float32 at ``size`` = (width, height) pixels: (..., height, width) float32."""
    width, height = size
    result: Floats = np.matmul(_stretched_down(logits, height), interpolation_matrix(logits.shape[-1], width).T)
    return result


def rle_above(logits: Floats, size: tuple[int, int], mask_logit: float) -> RleMask:
    """Where logits (h, w) float32, upsampled to ``size`` = (width, height), exceed ``mask_logit``.

    Along a row, upsampled logits are straight lines between the centres of the logits' columns, so a row enters or
    leaves the mask at most once between two of them, and no pixel in between needs to be looked at.
    """
    width, height = size
    # Interpolation never exceeds its inputs, so most absent words need no work.
    if float(logits.max()) <= mask_logit:
        return RleMask(size, *np.zeros((3, 0), np.int64))
    columns = Columns.from_sizes(logits.shape[1], width)
    values = _stretched_down(logits, height)
    inside = np.zeros((height, logits.shape[1] + 2), np.bool_)
    np.greater(values, np.float32(mask_logit), out=inside[:, 1:-1])
    rows, places = np.nonzero(inside[:, 1:] != inside[:, :-1])
    parts = [slice(start, start + _CHANGES) for start in range(0, max(1, len(rows)), _CHANGES)]
    found = [columns.first_after(values, inside, rows[part], places[part], np.float32(mask_logit)) for part in parts]
    flips = np.concatenate(found)
    starts, ends = flips[0::2], flips[1::2]
    full = np.flatnonzero(ends > starts)
    return RleMask(size, *_joined(rows[0::2][full], starts[full], ends[full]))


def rle_in(
    logits: Floats,
    window: tuple[int, int, int, int],
    limit: tuple[int, int, int, int],
    mask_logit: float,
    size: tuple[int, int],
) -> RleMask:
    """A mask of ``size`` = (width, height): where logits (h, w), stretched over ``window``, exceed ``mask_logit``.

    Args:
        logits: float32.
        window: xyxy in whole pixels.
        limit: xyxy, the part of the window in which the mask may be.
        mask_logit: a logit.
        size: of the whole mask, in pixels.
    """
    left, top, right, bottom = window
    runs = rle_above(logits, (right - left, bottom - top), mask_logit).placed(left, top, size)
    return runs if limit == window else runs.within(limit)


def _stretched_down(logits: Floats, height: int) -> Floats:
    """Logits (..., h, w) at ``height`` rows, each from two of the h."""
    inputs = logits.shape[-2]
    low, fraction = grid(inputs, height)
    one, other = logits[..., low, :], logits[..., np.minimum(low + 1, inputs - 1), :]
    return _weighted(one, other, (1.0 - fraction).astype(np.float32)[:, None], fraction.astype(np.float32)[:, None])


def _weighted(one: Floats, other: Floats, left: Floats, right: Floats) -> Floats:
    """``left * one + right * other``, rounded as a product of matrices in float32 rounds with fused steps."""
    sums = other * right.astype(np.float64)
    sums += left * one
    return sums.astype(np.float32)


def mask_at(logits: Floats, size: tuple[int, int], mask_logit: float) -> Bools:
    """Mask (height, width) bool at ``size`` = (width, height): where upsampled logits (h, w) exceed ``mask_logit``."""
    return rle_above(logits, size, mask_logit).mask()


def _joined(rows: Integers, starts: Integers, ends: Integers) -> tuple[Integers, Integers, Integers]:
    """RleMask that touch made one: in a narrow picture a change may fall between two pixels and back."""
    touch = (rows[1:] == rows[:-1]) & (starts[1:] == ends[:-1])
    if not touch.any():
        return rows, starts, ends
    first, last = np.r_[True, ~touch], np.r_[~touch, True]
    return rows[first], starts[first], ends[last]


def label_pixels(
    labels: npt.NDArray[np.int32],
    best: Floats,
    logits: Floats,
    label: int,
    box: tuple[int, int, int, int],
    limit: tuple[int, int, int, int],
) -> None:
    """Give the pixels of ``box`` to ``label`` where its logits are stronger than what was there; changes both maps.

    Args:
        labels: (H, W) int32.
        best: (H, W) float32, the strongest logit so far; what a pixel must exceed to belong to any word at the start.
        logits: (h, w) float32, stretched over the box.
        label: the number to write.
        box: xyxy in whole pixels, inside the maps.
        limit: xyxy, the part of the box whose pixels may be given.
    """
    left, top, right, bottom = box
    own_labels, own_best = labels[top:bottom, left:right], best[top:bottom, left:right]
    strong = logits > own_best.min()
    if not strong.any():
        return
    width, height = right - left, bottom - top
    across = _reach(strong.any(axis=0), width, (limit[0] - left, limit[2] - left))
    down = _reach(strong.any(axis=1), height, (limit[1] - top, limit[3] - top))
    rows = interpolation_matrix(logits.shape[0], height)
    columns = np.ascontiguousarray(interpolation_matrix(logits.shape[1], width)[across].T)
    step = max(1, _BLOCK_VALUES // max(1, columns.shape[1]))
    for start in range(down.start, down.stop, step):
        band = slice(start, min(start + step, down.stop))
        values = np.matmul(rows[band] @ logits, columns)
        stronger = values > own_best[band, across]
        own_labels[band, across][stronger] = label
        own_best[band, across][stronger] = values[stronger]


def _reach(strong: Bools, pixels: int, limit: tuple[int, int]) -> slice:
    """The pixels along an axis, from one ``limit`` to the other, that depend on any of the ``strong`` (n,) logits."""
    places = np.flatnonzero(strong)
    begin = Columns.from_sizes(len(strong), pixels).begin
    first, last = int(begin[max(0, places[0] - 1)]), int(begin[places[-1] + 1])
    return slice(max(first, limit[0]), max(first, limit[0], min(last, limit[1])))


@dataclass(frozen=True, eq=False)
class Columns:
    """How ``width`` pixels lie between the centres of w columns of logits.

    Attributes:
        width: pixels.
        begin: (w + 1,) int64: pixels ``begin[j]`` to ``begin[j + 1] - 1`` lie between the centres j and j + 1; those
            outside the outermost centres have the value of the nearest.
        left: (width,) float32, every pixel's weight of its left centre.
        right: (width,) float32, of its right one.
    """

    width: int
    begin: Integers
    left: Floats
    right: Floats

    @classmethod
    def from_sizes(cls, inputs: int, width: int) -> Columns:
        """The same grid and weights as ``masks.interpolation_matrix``."""
        low, fraction = grid(inputs, width)
        begin = np.searchsorted(low, np.arange(inputs + 1))
        return cls(width, begin, (1.0 - fraction).astype(np.float32), fraction.astype(np.float32))

    def first_after(
        self, values: Floats, inside: Bools, rows: Integers, places: Integers, mask_logit: np.float32
    ) -> Integers:
        """The first pixel of every change.

        Args:
            values: (height, w) float32, logits at the centres.
            inside: (height, 1 + w + 1) bool, which of them exceed the mask_logit, False at both ends.
            rows, places: (n,) of the changes: ``inside[rows, places]`` is not ``inside[rows, places + 1]``.
            mask_logit: what they are compared with.
        """
        inputs = values.shape[1]
        flips = np.where(places == 0, 0, self.width).astype(np.int64)
        between = np.flatnonzero((places > 0) & (places < inputs))
        rows, centres = rows[between], places[between] - 1
        one, other = values[rows, centres], values[rows, centres + 1]
        low, high = self.begin[centres], self.begin[centres + 1]
        before = inside[rows, centres + 1]
        with np.errstate(invalid="ignore", over="ignore"):
            crossing = centres + (float(mask_logit) - one.astype(np.float64)) / (other.astype(np.float64) - one)
        guess = np.nan_to_num(np.ceil((crossing + 0.5) * (self.width / inputs) - 0.5), nan=0, posinf=0, neginf=0)
        flip = np.clip(guess.astype(np.int64), low, high)
        # The line's formula and the pixels' own may differ in the last bit: ask the pixels, at most a few times.
        while (late := (flip > low) & (self._exceeds(flip - 1, one, other, mask_logit) != before)).any():
            flip -= late
        while (early := (flip < high) & (self._exceeds(flip, one, other, mask_logit) == before)).any():
            flip += early
        flips[between] = flip
        return flips

    def _exceeds(self, pixels: Integers, one: Floats, other: Floats, mask_logit: np.float32) -> Bools:
        """Whether pixels exceed the mask_logit."""
        pixels = np.clip(pixels, 0, self.width - 1)
        return np.asarray(_weighted(one, other, self.left[pixels], self.right[pixels]) > mask_logit, np.bool_)
