"""safetensors files, read here and by the safetensors library."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from clsclip.tensors import read_tensors
from clsclip_runtime.tensor_files import TensorFile, TensorFileError

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool]


@given(st.lists(st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 4), max_size=4)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_tensors_are_those_of_the_library(tmp_path_factory: pytest.TempPathFactory, wanted: list[Any]) -> None:
    path = tmp_path_factory.mktemp("tensors") / "some.safetensors"
    made = {f"t{at}": (torch.randn(shape) * 9).to(dtype) for at, (dtype, shape) in enumerate(wanted)}
    save_file(made, path, {"about": "é"})
    with TensorFile(path) as file:
        assert file.metadata == {"about": "é"}
        assert file.shapes() == {name: tuple(value.shape) for name, value in made.items()}
        found = read_tensors(file)
    for name, value in made.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def document(change: Callable[[dict[str, Any]], object] = lambda header: None, data: bytes = b"\0" * 24) -> bytes:
    header = {
        "__metadata__": {"format": "x"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "I64", "shape": [1], "data_offsets": [16, 24]},
    }
    header = change(header) or header  # type: ignore[assignment]
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def put(*keys: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


DAMAGED = {
    "empty": b"",
    "short": b"\1\0\0",
    "longer than the file": struct.pack("<Q", 1 << 60) + b"{}",
    "no object": document(lambda header: b"[]", b""),
    "no JSON": document(lambda header: b"{", b""),
    "key twice": document(lambda header: b'{"a":{},"a":{}}', b""),
    "deep": document(lambda header: b"[" * 1000, b""),
    "metadata": document(put("__metadata__", value={"format": 5})),
    "metadata list": document(put("__metadata__", value=[])),
    "entry": document(put("a", value=5)),
    "dtype": document(put("a", "dtype", value="F31")),
    "dtype list": document(put("a", "dtype", value=["F32"])),
    "shape negative": document(put("a", "shape", value=[-2, -2])),
    "shape text": document(put("a", "shape", value="22")),
    "shape huge": document(put("a", "shape", value=[2**62, 2**62])),
    "shape real": document(put("a", "shape", value=[2.0, 2])),
    "shape true": document(put("a", "shape", value=[True, 4])),
    "offsets": document(put("a", "data_offsets", value=[0, 16, 24])),
    "offsets back": document(put("a", "data_offsets", value=[16, 0])),
    "offsets null": document(put("a", "data_offsets", value=None)),
    "overlap": document(put("b", "data_offsets", value=[8, 16])),
    "gap": document(put("b", "data_offsets", value=[24, 32]), b"\0" * 32),
    "cut": document(data=b"\0" * 23),
    "more": document(data=b"\0" * 25),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused_as_the_library_refuses_them(name: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(TensorFileError):
        TensorFile(path)
    if name not in ("key twice", "shape true"):  # of which the library is less strict
        with pytest.raises(SafetensorError), safe_open(path, framework="numpy"):
            pass


def test_a_file_that_is_cut_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "whole.safetensors"
    save_file({"a": torch.ones(500, 500), "b": torch.zeros(1, dtype=torch.int64)}, path)
    with TensorFile(path) as file:
        np.testing.assert_array_equal(file.read_float32("a"), np.ones((500, 500), np.float32))
        with path.open("r+b") as other:
            other.truncate(path.stat().st_size - 500_000)
        with pytest.raises(TensorFileError, match="ends within a"):
            file.read("a")
        with pytest.raises(TensorFileError, match="b is I64"):
            file.read_float32("b")
