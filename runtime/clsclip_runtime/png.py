"""Masks as PNG files of one bit a pixel, written from their runs: a picture's worth of pixels is never made."""

from __future__ import annotations

import struct
import zlib
from typing import IO

import numpy as np

from clsclip_runtime.runs import Runs

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_OF_ONE_BIT = (1, 0, 0, 0, 0)
"""Bit depth, colour type, and the only ways that the format knows to compress, filter and not interlace."""

_UP = 2
"""The filter of a row that is told by its difference to the one above."""

_MEMORY = 9
"""Of zlib, the most: fewer, larger blocks."""


def write_mask(file: IO[bytes], runs: Runs) -> None:
    """Write a black and white PNG, white where the mask is."""
    width, height = runs.size
    bits = runs.packed()
    rows = np.zeros((height, 1 + bits.shape[1]), np.uint8)  # every row begins with its filter, 0 for none
    again = np.flatnonzero((bits[1:] == bits[:-1]).all(axis=1)) + 1
    rows[:, 1:] = bits
    rows[again, 0], rows[again, 1:] = _UP, 0  # a row like the one above is a run, too
    file.write(_SIGNATURE)
    _chunk(file, b"IHDR", struct.pack(">II5B", width, height, *_GREY_OF_ONE_BIT))
    # Masks are long runs of one byte: looking for nothing else takes a third of the time where edges are many.
    compress = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, _MEMORY, zlib.Z_RLE)
    _chunk(file, b"IDAT", compress.compress(rows.data) + compress.flush())
    _chunk(file, b"IEND", b"")


def _chunk(file: IO[bytes], kind: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + kind + content)
    file.write(struct.pack(">I", zlib.crc32(kind + content)))
