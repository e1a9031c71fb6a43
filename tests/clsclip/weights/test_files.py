"""Files that are weights, those that are not, and those that hold weights of a kind that is not used."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from clsclip.errors import TowersError
from clsclip.tower_files import load_towers, read_weights
from clsclip.weights.flavor import MEAN_STD, Asked
from tests import weights

ASKED = Asked("quick_gelu", MEAN_STD["openai"])


@pytest.mark.parametrize(
    "is_wanted",
    [
        lambda length: length & 0xFF == ord("{"),
        lambda length: length & 0xFFFF == 0x207B,
        lambda length: length & 0xFFFF == 0x8B1F,
        lambda length: length & 0xFF == ord("<"),
        lambda length: length & 0xFF == ord("["),
    ],
    ids=["brace", "brace and space", "gzip", "less than", "bracket"],
)
def test_a_headers_length_may_look_like_anything(tmp_path: Path, clip: Any, is_wanted: Callable[[int], bool]) -> None:
    """The first bytes of safetensors are a number, and say nothing of JSON or gzip."""
    content = save(weights.state_of(clip))
    old = struct.unpack("<Q", content[:8])[0]
    length = next(one for one in range(old, old + (1 << 17)) if is_wanted(one))
    padded = content[8 : 8 + old] + b" " * (length - old)
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", length) + padded + content[8 + old :])
    found = read_weights(tmp_path / "w.safetensors").state
    assert all(torch.equal(found[name], value) for name, value in weights.state_of(clip).items())


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as opened:
        opened.addfile(tarfile.TarInfo("w.safetensors"), io.BytesIO())
    return buffer.getvalue()


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(name, b"content")
    return buffer.getvalue()


AGAIN, UNPACK = "Fetch the file again", "Unpack it"


@pytest.mark.parametrize(
    ("content", "says", "remedy"),
    [
        (b"Entry not found", "a text .'Entry not found'", AGAIN),
        (b"Invalid username or password.", "a text", AGAIN),
        (b'[{"error": "x"}]', "the answer of a server", AGAIN),
        (b'{"error": "x"}', "the answer of a server", AGAIN),
        (b'"Not Found"', "the answer of a server", AGAIN),
        (b"<!-- a comment --><html></html>", "a web page", AGAIN),
        (b"<head><title>403", "a web page", AGAIN),
        (b"\xef\xbb\xbf<HTML>", "a web page", AGAIN),
        ("<!DOCTYPE html>".encode("utf-16"), "a web page", AGAIN),
        ('{"error": 1}'.encode("utf-16"), "the answer of a server", AGAIN),
        (b'<?xml version="1.0"?><Error/>', "an XML document", AGAIN),
        (b" \r\n\t", "is blank", AGAIN),
        (b"\0" * 600, "zeros", AGAIN),
        ("é".encode() * 300, "a text", AGAIN),
        (b"%PDF-1.4\n\xff", "a PDF", AGAIN),
        (b"version https://git-lfs.github.com/spec/v1\r\n", "a pointer of Git LFS", "Run: git lfs pull"),
        (gzip.compress(b"x", mtime=0), "a gzip file", UNPACK),
        (lzma.compress(b"x"), "an xz file", UNPACK),
        (bz2.compress(b"x"), "a bzip2 file", UNPACK),
        (b"\x28\xb5\x2f\xfd\0\0", "a Zstandard file", UNPACK),
        (b"Rar!\x1a\x07\x01\0", "a RAR archive", UNPACK),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
        (tar(), "a tar archive", UNPACK),
        (zipped("model.safetensors"), "a zip archive that holds 'model.safetensors'", UNPACK),
        (zipped("notes.md"), "a zip archive, and not PyTorch's", ""),
        (b"\x08\x07\x12\x07pytorch\x1a\x05", "an ONNX model", "weights of PyTorch are needed"),
        (b"\x93NUMPY\x01\0", "an array of NumPy", "weights of PyTorch are needed"),
        (save({"a": torch.zeros(99)})[:200], "bytes of tensors", "fetch it again"),
        (save({"a": torch.zeros(99)})[:4] + b"\0", "neither safetensors", ""),
    ],
)
def test_what_is_no_weights_is_named_with_what_to_do(tmp_path: Path, content: bytes, says: str, remedy: str) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(TowersError, match=f"w.pt .*{says}.*{remedy}"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("names", ["open_clip", "transformers"])
def test_quantized_weights_are_refused(tmp_path: Path, clip: Any, kind: torch.dtype, names: str) -> None:
    state = weights.state_of(clip) if names == "open_clip" else weights.transformers_of(clip).state_dict()
    state = {name: (value * 9).to(kind) if value.ndim == 2 else value.clone() for name, value in state.items()}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(TowersError, match=rf"w.safetensors: its weights are {str(kind)[6:]} .*a quantized file"):
        load_towers(weights.NAME, str(tmp_path / "w.safetensors"), asked=ASKED)


Q = "vision_model.encoder.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.update({Q: torch.zeros(48, 24)}), "shapes that do not belong together"),
        (lambda state: state.update({Q: torch.tensor(1.0)}), "shapes that do not belong together"),
        (lambda state: state.update({"visual_projection.weight": torch.zeros(2, 3, 4)}), "visual.proj has shape"),
        (lambda state: state.pop(Q.replace("q_proj", "k_proj")), "lacks the weight .*k_proj.*Fetch or save it again"),
        (lambda state: state.pop("logit_scale"), "lacks the weight logit_scale.*Fetch it again"),
        (lambda state: state.update(more=torch.zeros(2)), "has the weight more, which this model has not"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, clip: Any, change: Callable[[Any], object], says: str) -> None:
    state = weights.transformers_of(clip).state_dict()
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(TowersError, match=f"w.safetensors.*{says}"):
        load_towers(weights.NAME, str(tmp_path / "w.safetensors"), asked=ASKED)


@pytest.mark.parametrize("whole", [False, True])
def test_adapters_are_named(tmp_path: Path, clip: Any, whole: bool) -> None:
    stem = "base_model.model.vision_model.encoder.layers.0.self_attn.q_proj"
    state = {f"{stem}.lora_A.default.weight": torch.zeros(4, 48)}
    if whole:
        state |= {
            f"base_model.model.{name}": value for name, value in weights.transformers_of(clip).state_dict().items()
        }
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(TowersError, match=r"w.safetensors holds a LoRA adapter.*merge_and_unload"):
        read_weights(tmp_path / "w.safetensors")


def test_a_folder_is_no_file_of_weights(tmp_path: Path, clip: Any) -> None:
    folder = weights.save_open_clip(tmp_path / "folder", clip)
    with pytest.raises(TowersError, match=f"is a folder. Give it as --towers {folder}"):
        load_towers(weights.NAME, str(folder))
