"""Protobuf messages read field by field, as strictly as exporters write them.

Two readers of one file may disagree: protobuf's own keeps 32 bits of a tag, takes numbers that are longer than they
need be, steps over fields that it does not know, and lets a second field replace or join the first. What no exporter
writes is refused here, so that the engine that reads the same bytes afterwards sees what was seen here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

Bytes: TypeAlias = "bytes | memoryview"

VARINT, LENGTH, FOUR_BYTES = 0, 2, 5
"""Wire types that ONNX files use."""

_MAX_TAG = 2**32 - 1
_MAX_VALUE = 2**64 - 1


class NotProtobufError(ValueError):
    """The bytes are not a protobuf message as exporters write them."""


def tag_of(number: int, wire: int) -> int:
    """What stands before a field in the file."""
    return number << 3 | wire


def fields(data: Bytes, at: int, end: int, known: Mapping[int, int]) -> Iterator[tuple[int, int, int]]:
    """Every field of the message in ``data[at:end]``, in order.

    Args:
        data: the file.
        at, end: where the message lies.
        known: tags that may come. The value is 0 for fields that may come again; those that may come once have a bit of
            their own, or share one where only one of them may come.

    Yields:
        A tag, and where its content lies; of a number (``VARINT``) its value, and 0.

    Raises:
        NotProtobufError: there is no such message there.
    """
    seen = 0
    while at < end:
        tag = data[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = varint(data, at, end)
        bit = known.get(tag)
        if bit is None:
            raise unknown_tag(tag, at)
        if bit:
            if seen & bit:
                raise NotProtobufError(f"the field {tag >> 3} comes twice at byte {at}")
            seen |= bit
        wire = tag & 7
        if wire == LENGTH:
            # Most lengths are one byte, and a call for each would be a good part of loading a bundle.
            if at < end and data[at] < 0x80:
                start = at + 1
                at = start + data[at]
            else:
                length, start = varint(data, at, end)
                at = start + length
            if at > end:
                raise NotProtobufError(f"a field ends beyond its message at byte {end}")
            yield tag, start, at
        elif wire == VARINT:
            value, at = varint(data, at, end)
            yield tag, value, 0
        else:
            at += 4
            if at > end:
                raise NotProtobufError(f"a field ends beyond its message at byte {end}")
            yield tag, at - 4, at


def varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends.

    Raises:
        NotProtobufError: it does not end before ``end``, is over 64 bits, or is longer than it need be.
    """
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (byte == 0 and shift) or value > _MAX_VALUE:
                raise NotProtobufError(f"a number is written as no exporter does at byte {at}")
            return value, at
        shift += 7
        if shift > 63:
            break
    raise NotProtobufError(f"a number does not end at byte {at}")


def unknown_tag(tag: int, at: int) -> NotProtobufError:
    """Why a tag is refused."""
    if tag > _MAX_TAG:
        return NotProtobufError(f"a tag of more than 32 bits at byte {at}")
    if tag & 7 in (3, 4):
        return NotProtobufError(f"a group at byte {at}")
    return NotProtobufError(f"the field {tag >> 3} of wire type {tag & 7} at byte {at}, which no exporter writes")
