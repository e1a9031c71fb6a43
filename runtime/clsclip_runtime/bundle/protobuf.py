"""Protobuf messages read field by field, so that an ONNX file can be looked at without an ONNX library."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

Bytes: TypeAlias = "mmap.mmap | bytes"

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""Wire types."""

_MAX_VARINT_BYTES = 10


class NotProtobufError(ValueError):
    """The bytes are not a protobuf message."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: of the field.
        wire: its wire type.
        start, end: where its content lies; of a number, where that lies.
        value: of a number (``VARINT``); 0 for all others.
    """

    number: int
    wire: int
    start: int
    end: int
    value: int


def fields(data: Bytes, at: int, end: int) -> Iterator[Field]:
    """Every field of the message in ``data[at:end]``, in order.

    Raises:
        NotProtobufError: there is no message there.
    """
    while at < end:
        tag, at = varint(data, at, end)
        start, wire, value = at, tag & 7, 0
        if wire == VARINT:
            value, at = varint(data, at, end)
        elif wire == EIGHT_BYTES:
            at += 8
        elif wire == FOUR_BYTES:
            at += 4
        elif wire == LENGTH:
            length, start = varint(data, at, end)
            at = start + length
        else:
            raise NotProtobufError(f"wire type {wire} at byte {at}")
        if at > end:
            raise NotProtobufError(f"a field ends beyond its message at byte {end}")
        yield Field(tag >> 3, wire, start, at, value)


def varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends. NotProtobufError if it does not end before ``end``."""
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NotProtobufError(f"a number does not end at byte {at}")
