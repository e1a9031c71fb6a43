"""Checksums that decoders pass over."""

from __future__ import annotations

import zlib
from typing import IO

WRONG = "a checksum of its pixels is wrong, so some of them may be damaged"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def notes_of(file: IO[bytes]) -> tuple[str, ...]:
    """A note where a PNG's pixels are not what was written: Pillow stops reading before it would see that.

    Only chunks of pixels are looked at; Pillow itself refuses a file where another one is wrong.
    """
    file.seek(0)
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        return ()
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IDAT":
            sum_of, left = zlib.crc32(kind), length
            while left and (block := file.read(min(left, 1 << 20))):
                sum_of, left = zlib.crc32(block, sum_of), left - len(block)
            if sum_of != int.from_bytes(file.read(4), "big"):
                return (WRONG,)
        elif kind == b"IEND":
            break
        else:
            file.seek(length + 4, 1)
    return ()
