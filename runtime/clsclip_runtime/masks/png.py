"""Masks as PNG files of one bit a pixel, written from their runs: a picture's worth of pixels is never made."""

from __future__ import annotations

import struct
import zlib
from typing import IO

import numpy as np

from clsclip_runtime.masks.rle import RleMask

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_OF_ONE_BIT = (1, 0, 0, 0, 0)
"""Bit depth, colour type, and the only ways that the format knows to compress, filter and not interlace."""

_UP = 2
"""PNG's filter of rows that are told by their difference to the one above: a row like it is a run, too."""

_MEMORY = 9
"""Of zlib, the most: fewer, larger blocks."""


def write_mask(file: IO[bytes], runs: RleMask) -> None:
    """Write a black and white PNG, white where the mask is."""
    width, height = runs.size
    bits = runs.packed()
    rows = np.empty((height, 1 + bits.shape[1]), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = bits[0]
    np.subtract(bits[1:], bits[:-1], out=rows[1:, 1:])
    file.write(_SIGNATURE)
    _chunk(file, b"IHDR", struct.pack(">II5B", width, height, *_GREY_OF_ONE_BIT))
    # Masks are long runs of one byte: searching for nothing else takes a third of the time where edges are many.
    compress = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, _MEMORY, zlib.Z_RLE)
    _chunk(file, b"IDAT", compress.compress(rows.data) + compress.flush())
    _chunk(file, b"IEND", b"")


def _chunk(file: IO[bytes], kind: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + kind + content)
    file.write(struct.pack(">I", zlib.crc32(kind + content)))
