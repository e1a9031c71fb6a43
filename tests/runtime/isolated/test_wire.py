"""Messages of an isolated process: what is sent is received, and anything else is refused within its bounds."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from clsclip_runtime.isolated.wire import DTYPES, WireError, receive, send

ARRAYS = st.dictionaries(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=5),
    some.arrays(st.sampled_from(sorted(DTYPES)), some.array_shapes(min_dims=0, min_side=0, max_side=4)),
    max_size=4,
)


@given(ARRAYS)
@settings(max_examples=60, deadline=None)
def test_what_is_sent_is_received(arrays: dict[str, Any]) -> None:
    pipe = io.BytesIO()
    send(pipe, {"do": "run", "graph": 3}, arrays)
    pipe.seek(0)
    message, found = receive(pipe, 1 << 20)
    assert message == {"do": "run", "graph": 3}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def framed(message: object) -> bytes:
    text = json.dumps(message).encode() if not isinstance(message, bytes) else message
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\1",
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 10) + b"{}",
        framed(b"[" * 1000),
        framed([]),
        framed({}),
        framed({"arrays": 3}),
        framed({"arrays": [["a", "<f4"]]}),
        framed({"arrays": [["a", "|O", [1]]]}),
        framed({"arrays": [["a", "<f4", [-1]]]}),
        framed({"arrays": [["a", "<f4", [True]]]}),
        framed({"arrays": [["a", "<f4", [2**39, 2**39]]]}),
        framed({"arrays": [["a", "<f4", [2] * 9]]}),
        framed({"arrays": [["a", "<f4", [300]]]}),
        framed({"arrays": [["a", "<f4", [4]]]}) + b"\0" * 15,
        framed({"arrays": [[1, "<f4", [4]]]}) + b"\0" * 16,
        framed({"arrays": [[["<f4"], ["<f4"], [4]]]}),
    ],
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(WireError):
        receive(io.BytesIO(content), 1000)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_noise_is_refused(content: bytes) -> None:
    with pytest.raises(WireError):
        receive(io.BytesIO(framed(content)), 1000)
