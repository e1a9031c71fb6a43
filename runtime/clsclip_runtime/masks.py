"""From low-resolution logits to masks at the picture's size.

Logits, not probabilities or masks, are upsampled (bilinear, ``align_corners=False``), and only then
thresholded, in logit space: the edge of a mask is then as smooth as the logits allow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_BLOCK_VALUES = 1 << 22
"""Upsampled values held at one time (16 MiB of float32), whatever the picture's size."""


def logit(probability: float) -> float:
    """The logit of a probability strictly between 0 and 1."""
    return math.log(probability) - math.log1p(-probability)


def interpolation_matrix(inputs: int, outputs: int) -> Floats:
    """Bilinear interpolation along one axis as a matrix (outputs, inputs) float32; each row sums to one.

    Same grid as ``torch.nn.functional.interpolate(..., align_corners=False)`` without antialiasing.
    """
    centre = (np.arange(outputs, dtype=np.float64) + 0.5) * (inputs / outputs) - 0.5
    centre = np.clip(centre, 0.0, inputs - 1)
    low = np.floor(centre).astype(np.int64)
    high = np.minimum(low + 1, inputs - 1)
    fraction = centre - low
    matrix = np.zeros((outputs, inputs), dtype=np.float64)
    row = np.arange(outputs)
    np.add.at(matrix, (row, low), 1.0 - fraction)
    np.add.at(matrix, (row, high), fraction)
    return matrix.astype(np.float32)


def upsample(logits: Floats, size: tuple[int, int]) -> Floats:
    """Logits (..., h, w) float32 at ``size`` = (width, height) pixels: (..., height, width) float32."""
    width, height = size
    rows = interpolation_matrix(logits.shape[-2], height)
    columns = interpolation_matrix(logits.shape[-1], width)
    result: Floats = np.matmul(np.matmul(rows, logits), columns.T)
    return result


def mask_at(logits: Floats, size: tuple[int, int], cut: float) -> Bools:
    """Mask (height, width) bool at ``size`` = (width, height): where upsampled logits (h, w) exceed ``cut``."""
    width, height = size
    mask = np.zeros((height, width), dtype=np.bool_)
    # Interpolation never exceeds its inputs, so most absent words need no work.
    if float(logits.max()) > cut:
        for band, values in _bands(logits, size):
            np.greater(values, cut, out=mask[band])
    return mask


def label_pixels(
    labels: npt.NDArray[np.int32], best: Floats, logits: Floats, label: int, box: tuple[int, int, int, int]
) -> None:
    """Give the pixels of ``box`` to ``label`` where its logits are stronger than what was there; changes both maps.

    Args:
        labels: (H, W) int32.
        best: (H, W) float32, the strongest logit so far; what a pixel must exceed to belong to any word at the start.
        logits: (h, w) float32, stretched over the box.
        label: the number to write.
        box: xyxy in whole pixels, inside the maps.
    """
    left, top, right, bottom = box
    own_labels, own_best = labels[top:bottom, left:right], best[top:bottom, left:right]
    if float(logits.max()) <= float(own_best.min()):
        return
    for band, values in _bands(logits, (right - left, bottom - top)):
        stronger = values > own_best[band]
        own_labels[band][stronger] = label
        own_best[band][stronger] = values[stronger]


def _bands(logits: Floats, size: tuple[int, int]) -> Iterator[tuple[slice, Floats]]:
    """Upsampled logits in bands of whole rows, so that a large picture needs little memory."""
    width, height = size
    rows = interpolation_matrix(logits.shape[0], height)
    columns = np.ascontiguousarray(interpolation_matrix(logits.shape[1], width).T)
    step = max(1, _BLOCK_VALUES // width)
    for start in range(0, height, step):
        band = slice(start, min(start + step, height))
        values: Floats = np.matmul(rows[band] @ logits, columns)
        yield band, values
