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


def labels_at(logits: Floats, index: npt.NDArray[np.int64], size: tuple[int, int], cut: float) -> npt.NDArray[np.int32]:
    """Label map (height, width) int32: 0 where no word is, else 1 + the index of the strongest word there.

    Args:
        logits: (P, h, w) float32.
        index: (P,) int64, the word that each of the logits belongs to.
        size: (width, height) in pixels.
        cut: the logit that a pixel must exceed to belong to a word.
    """
    width, height = size
    labels = np.zeros((height, width), dtype=np.int32)
    best = np.full((height, width), cut, dtype=np.float32)
    for one, word in zip(logits, index, strict=True):
        if float(one.max()) <= cut:
            continue
        for band, values in _bands(one, size):
            stronger = values > best[band]
            labels[band][stronger] = int(word) + 1
            best[band][stronger] = values[stronger]
    return labels


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
