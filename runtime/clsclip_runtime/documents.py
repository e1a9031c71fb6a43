"""The one way in which JSON is read: bounded before anything is built from it, and nothing in it is ambiguous.

Refused are documents that are too large, hold too many values or are nested too deep, keys that come twice (parsers
disagree about which one counts), numbers that 64 bits do not hold, NaN and infinity, and texts that are not Unicode.
What a value must be is checked by whoever reads it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from clsclip_runtime.system import open_regular

_CLOSERS, _MARKS = b"]}", b"[]{},"
_OTHERS = bytes(set(range(256)) - set(_MARKS))
_STEPS = bytes(1 if byte in b"[{" else 255 if byte in _CLOSERS else 0 for byte in range(256))
_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
_LARGE_NUMBERS = (b"0" * 19, b"e000", b"e+000")
"""Shapes of numbers that may be too large: 19 digits, or three of an exponent."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_DIGITS = 20
_LEAST, _MOST = -(2**63), 2**64 - 1


class DocumentError(ValueError):
    """A document is no JSON, or is outside of its bounds; the message says why, without the file's name."""


@dataclass(frozen=True)
class Bounds:
    """What a document may be.

    Attributes:
        bytes: its size.
        values: numbers, texts, lists, objects, ... in all.
        depth: lists and objects within each other.
        any_numbers: NaN, infinity and numbers that 64 bits do not hold are read as well, for a reader that checks every
            number and counts what it leaves out.
    """

    bytes: int = 1 << 24
    values: int = 1 << 21
    depth: int = 64
    any_numbers: bool = False


BUNDLE_FILE = Bounds()
"""Of what comes with a model: 16 MiB, two million values (a vocabulary of 250,000 tokens with its merges)."""

DATA_FILE = Bounds(bytes=1 << 31, values=1 << 30)
"""Of what users annotate: COCO's own instances have 450 MB."""

REGION_FILE = Bounds(bytes=1 << 27, values=1 << 22)
"""Of boxes: 400,000, read in seconds and half a GiB."""

ANNOTATIONS = replace(DATA_FILE, any_numbers=True)
"""Of masks that users annotate: programs in Python write NaN into such files, for one thing in ten thousand."""


def read_json(path: Path, bounds: Bounds = BUNDLE_FILE) -> Any:
    """Read the JSON file at ``path``.

    Raises:
        DocumentError: it is none, or out of bounds.
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        document = _within(b"", size, bounds) or file.read(size + 1)
    return parse_json(document, bounds)


def parse_json(document: bytes | str, bounds: Bounds = BUNDLE_FILE) -> Any:
    """Parse a document in UTF-8.

    Raises:
        DocumentError: it is no JSON, or out of bounds.
    """
    try:
        raw = document.encode() if isinstance(document, str) else document
        _within(raw, len(raw), bounds)
        hooks: dict[str, Any] = {} if bounds.any_numbers else {"parse_constant": _no_number}
        outside = _without_texts(raw, bounds)
        shape = outside.translate(_SHAPE)
        # Hooks cost time, and few documents need them.
        if not bounds.any_numbers and any(one in shape for one in _LARGE_NUMBERS):
            hooks |= {"parse_int": _integer, "parse_float": _real}
        found = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_without_repeats, **hooks)
        if _SURROGATE.search(raw):
            json.dumps(found, ensure_ascii=False).encode()  # fails where a text holds half of a character
    except DocumentError:
        raise
    except UnicodeEncodeError as error:
        raise DocumentError("a text in it is not valid Unicode") from error
    except (ValueError, RecursionError) as error:
        raise DocumentError(str(error)) from error
    return found


def _within(document: bytes, size: int, bounds: Bounds) -> bytes:
    if size > bounds.bytes:
        raise DocumentError(f"it has {size:,} bytes, and at most {bounds.bytes:,} are read")
    return document


def _without_texts(document: bytes, bounds: Bounds) -> bytes:
    """Count what the document unfolds to, before it does, and return it without its texts.

    Raises:
        DocumentError: it unfolds to too much.
    """
    outside = b"".join(document.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    marks = outside.translate(None, _OTHERS)
    if len(marks) - marks.count(b"]") - marks.count(b"}") >= bounds.values:
        raise DocumentError(f"it holds more than {bounds.values:,} values")
    if max(accumulate(memoryview(marks.translate(_STEPS)).cast("b")), default=0) > bounds.depth:
        raise DocumentError(f"it is nested more than {bounds.depth} deep")
    return outside


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DocumentError(f"the key {key[:40]!a} comes twice in one object")
            seen.add(key)
    return found


def _integer(digits: str) -> int:
    if len(digits) <= _DIGITS and _LEAST <= int(digits) <= _MOST:
        return int(digits)
    raise DocumentError(f"the number {digits[:24]}{'...' if len(digits) > 24 else ''} is too large for 64 bits")


def _real(digits: str) -> float:
    value = float(digits)
    if abs(value) == float("inf"):
        raise DocumentError(f"the number {digits[:24]} is too large")
    return value


def _no_number(name: str) -> NoReturn:
    raise DocumentError(f"{name} is no JSON number")
