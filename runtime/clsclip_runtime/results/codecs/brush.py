"""Label Studio's brush: the bytes of an RGBA image in runs, packed into bits; the mask is its alpha.

    32 bits     how many values there are: 4 x width x height
    5 bits      bits of a value, less one
    4 x 4 bits  four sizes of numbers, less one
    then again and again: 1 bit, whether one value repeats; 2 bits, which size; a number of that size, the count less
    one; the value, or that many values

It is the form of the package ``@thi.ng/rle-pack``.
"""

from __future__ import annotations

import numpy as np

from clsclip_runtime._types import Integers
from clsclip_runtime.errors import AnnotationError
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.results.codecs.values import wholes

_VALUE_BITS = 8
_SIZES = (3, 4, 8, 16)
_HEADER_BITS = 32 + 5 + 4 * 4
_CHANNELS, _ALPHA = 4, 3
_WINDOW = 8
"""Bytes that are looked at together; the longest head of a run has 3 + 16 + 8 bits, and begins anywhere in a byte."""


def encode_brush(mask: RleMask) -> list[int]:
    """A mask as the numbers of ``value.rle`` in a result of type ``brushlabels``."""
    width, height = mask.size
    flips = mask.row_flips()
    lengths = _CHANNELS * np.diff(flips, prepend=0, append=width * height)
    inside = np.arange(len(lengths)) % 2 == 1
    most = 1 << _SIZES[-1]
    pieces = -(-lengths // most)  # a run that is too long for the largest size is several; an empty one is none
    before = np.cumsum(pieces) - pieces
    nth = np.arange(int(pieces.sum())) - np.repeat(before, pieces)
    counts = np.minimum(np.repeat(lengths, pieces) - nth * most, most)
    which = np.searchsorted([1 << one for one in _SIZES], counts)
    bits = np.array(_SIZES)[which]
    values = np.where(np.repeat(inside, pieces), 255, 0)
    codes = ((((4 | which) << bits) | (counts - 1)) << _VALUE_BITS) | values
    header = width * height * _CHANNELS
    for number, size in ((_VALUE_BITS - 1, 5), *((one - 1, 4) for one in _SIZES)):
        header = header << size | number
    packed = np.packbits(_bits(np.append(header, codes), np.append(_HEADER_BITS, 3 + bits + _VALUE_BITS)))
    found: list[int] = packed.tolist()
    return found


def brush_bytes(rle: object) -> bytes:
    """A list of numbers as bytes. AnnotationError if one is none."""
    numbers = wholes(rle, "rle of a brush")
    if len(numbers) and numbers.max() > 255:
        raise AnnotationError("rle of a brush is a list of bytes, and this is none")
    return numbers.astype(np.uint8).tobytes()


def decode_brush(rle: object, size: tuple[int, int]) -> RleMask:
    """The mask of such numbers: every pixel that is not wholly transparent, as Label Studio's own exports take it.

    Args:
        rle: bytes, or a list of numbers that are some.
        size: (width, height) of the image.

    Raises:
        AnnotationError: they are no brush, or one of another size.
    """
    content = rle if isinstance(rle, bytes) else brush_bytes(rle)
    if len(content) * 8 < _HEADER_BITS:
        raise AnnotationError(f"a brush of {len(content)} bytes is cut off")
    head = int.from_bytes(content[:_WINDOW], "big") >> (_WINDOW * 8 - _HEADER_BITS)
    total, value_bits = head >> 21, (head >> 16 & 31) + 1
    sizes = [(head >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
    width, height = size
    if total != width * height * _CHANNELS:
        raise AnnotationError(f"a brush holds {total:,} values, and an image of {width}x{height} pixels has four each")
    if value_bits != _VALUE_BITS:
        raise AnnotationError(f"a brush has values of {value_bits} bits, and Label Studio writes {_VALUE_BITS}")
    return RleMask.from_flips(size, _flips(content, total, sizes))


def _flips(content: bytes, total: int, sizes: list[int]) -> Integers:
    """Where pixels begin and cease to be opaque, along the rows; a place may come twice."""
    at, done, end = _HEADER_BITS, 0, len(content) * 8
    found: list[int] = []
    singles: list[Integers] = []
    content += bytes(_WINDOW)
    while done < total:
        window = int.from_bytes(content[at >> 3 : (at >> 3) + _WINDOW], "big") << (at & 7)
        repeats, bits = window >> 63 & 1, sizes[window >> 61 & 3]
        count = (window >> (61 - bits) & ((1 << bits) - 1)) + 1
        at += 3 + bits
        until = done + count
        if until > total or at + _VALUE_BITS * (1 if repeats else count) > end:
            raise AnnotationError("a brush ends in the middle, or goes on behind its image")
        if repeats:
            # Value 4p + 3 is the alpha of pixel p.
            if window >> (53 - bits) & 255 and done // _CHANNELS < until // _CHANNELS:
                found += (done // _CHANNELS, until // _CHANNELS)
            at += _VALUE_BITS
        else:
            behind = at + count * _VALUE_BITS
            raw = np.unpackbits(np.frombuffer(content[at >> 3 : (behind + 7) >> 3], np.uint8))
            values = np.packbits(raw[at & 7 : (at & 7) + count * _VALUE_BITS])
            opaque = np.flatnonzero(values[(_ALPHA - done) % _CHANNELS :: _CHANNELS])
            pixels = opaque + done // _CHANNELS
            singles += [pixels, pixels + 1]
            at = behind
        done = until
    return np.sort(np.concatenate([np.array(found, np.int64), *singles]))


def _bits(codes: Integers, sizes: Integers) -> Integers:
    """Numbers as bits, the highest first, one after the other."""
    ends = np.cumsum(sizes)
    left = np.repeat(ends, sizes) - np.arange(int(ends[-1])) - 1
    return (np.repeat(codes, sizes) >> left & 1).astype(np.uint8)
