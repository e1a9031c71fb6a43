"""Documents are read as the standard library reads them, or refused before they cost anything."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsclip_runtime.documents import Bounds, DocumentError, parse_json, read_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Everything but halves of characters.
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner),
    max_leaves=30,
)


@given(VALUES, st.booleans())
@settings(max_examples=200, deadline=None)
def test_documents_are_read_as_the_library_reads_them(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text) == value
    assert parse_json(text.encode(), Bounds(depth=64, values=100_000)) == value


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_the_bounds_are_exact(value: object) -> None:
    def shape(one: object) -> tuple[int, int]:
        """(values, depth) by a slow definition."""
        inner = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else None
        if inner is None:
            return 1, 0
        found = [shape(part) for part in inner]
        return 1 + sum(part[0] for part in found), 1 + max((part[1] for part in found), default=0)

    values, depth = shape(value)
    text = json.dumps(value)
    assert parse_json(text, Bounds(values=2 * values + 1, depth=depth)) == value
    if depth:
        with pytest.raises(DocumentError, match="nested more than"):
            parse_json(text, Bounds(depth=depth - 1))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "Expecting value"),
        (b'{"a": 1,}', "Expecting property name|Illegal trailing comma"),
        (b'{"a": 1, "a": 2}', "'a' comes twice"),
        (b'[{"b": {"a": 1, "a": 1}}]', "comes twice"),
        (b"[NaN]", "NaN is no JSON number"),
        (b"[-Infinity]", "Infinity is no JSON number"),
        (b"1e999", "too large"),
        (b"-1e400", "too large"),
        (b"9" * 400, "too large for 64 bits"),
        (b"18446744073709551616", "too large for 64 bits"),
        (b"-9223372036854775809", "too large for 64 bits"),
        (b'"\\ud800"', "not valid Unicode"),
        (b'{"\\udfff": 1}', "not valid Unicode"),
        (b'"\xff"', "utf-8"),
        (b"\xef\xbb\xbf\xef\xbb\xbf1", "Expecting value|BOM"),
        (b"[" * 65 + b"]" * 65, "nested more than 64"),
        (b"[" * 100_000, "nested more than 64"),
        (b"[" + b"0," * (1 << 21) + b"0]", "more than 2,097,152 values"),
        (b'"' + b'\\"' * 200 + b"[" * 65 + b'"' + b"[" * 65, "nested more than 64"),
    ],
)
def test_what_is_refused(document: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        parse_json(document)


@pytest.mark.parametrize(
    ("document", "value"),
    [
        (b"\xef\xbb\xbf[1]", [1]),
        (b"18446744073709551615", 2**64 - 1),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b'"' + b"[" * 100 + b'"', "[" * 100),
        (b'["' + b'\\\\\\"[,{' * 100 + b'"]', ['\\"[,{' * 100]),
        (b"[" * 64 + b"]" * 64, None),
        (b'"e1000"', "e1000"),
    ],
)
def test_what_is_at_the_edge(document: bytes, value: object) -> None:
    found = parse_json(document)
    assert value is None or found == value


@pytest.mark.parametrize(
    "document",
    [
        b"[" + b"{}," * 5_000_000 + b"{}]",
        b'"' + b'\\"' * 8_000_000,
        b'["' * 5_000_000,
        b'{"a":' * 3_000_000,
        b"[" + b"1e1," * 4_000_000 + b"1]",
    ],
    ids=["objects", "escapes", "texts", "keys", "numbers"],
)
def test_large_documents_are_refused_soon(document: bytes) -> None:
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DocumentError):
        parse_json(document[: 1 << 24])
    assert time.process_time() - start < 3
    # KiB: 1 GiB more than whatever tests before this one took.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20


def test_files_are_bounded_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DocumentError, match="at most 16,777,216"):
        read_json(path)
    path.write_bytes(b"[1]" + b" " * 10)
    assert read_json(path) == [1]
    with pytest.raises(DocumentError, match="it has 13 bytes"):
        read_json(path, Bounds(bytes=12))
