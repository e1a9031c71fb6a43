"""Mutants of what is read as JSON or safetensors: manifests, tokenizers, stored words, checkpoints, files of boxes."""

from __future__ import annotations

import copy
import json
import random
import shutil
import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from clsclip_runtime.bundle.opening import TEXT_ENCODER, TEXT_TOKENS, TOKENIZER
from clsclip_runtime.text.stored import write_text_tokens
from tests.fuzz.bundles import files, manifest, write_bundle
from tests.fuzz.driver import Mutant

ROOT = Path(__file__).parents[2]
RUN = ROOT / "models" / "stickers"
CHECKPOINT = "last.safetensors"

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e308, 2**31, 2**53, 2**63, -(2**63), 2**64 - 1),
    *("", " ", "x", "a" * 5000, "\x1b[2J\x07", "\u202e", "../x", "/etc/passwd", "C:\\x", "{}", "{} {}", "nan"),
    *([], {}, [[]], [None], ["x"], [0, 0], {"": ""}, {"a": {"b": 1}}, ["{}"] * 300, [[0] * 4] * 4),
)
RAW = (
    *(b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"1" * 30 + b".5", b'"\\ud800"', b'"\xff"', b"[" * 300 + b"]" * 300),
    *(b"[" * 100_000, b"[" + b"{}," * 200_000 + b"{}]", b'{"a":1,"a":2}', b"/*c*/1", b"01", b"'x'", b"", b"\0"),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every value within a document; of long lists the first few."""
    found = [at]
    inner = value.items() if isinstance(value, dict) else enumerate(value[:8]) if isinstance(value, list) else ()
    for key, one in list(inner)[:40]:
        found += places(one, (*at, key))
    return found


def put(document: Any, at: tuple[Any, ...], change: Callable[[Any, Any], None]) -> None:
    for key in at[:-1]:
        document = document[key]
    change(document, at[-1])


def edited(draw: random.Random, document: Any) -> tuple[bytes, str]:
    """A document with some values replaced, left out, doubled or moved; at times as text that is hardly JSON."""
    document = copy.deepcopy(document)
    label, marker = [], "\u2605"
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        at = draw.choice(places(document)[1:] or [()])
        if not at:
            break
        label.append(".".join(map(str, at)))
        what = draw.randrange(6)
        if what == 0:
            put(document, at, lambda owner, key: owner.pop(key))
        elif what == 1:
            put(document, at, lambda owner, key: owner.__setitem__(key, marker))
        elif what == 2 and isinstance(at[-1], str):
            put(
                document,
                at,
                lambda owner, key: owner.__setitem__(draw.choice(("", "x", key + " ", "\x1b")), owner[key]),
            )
        elif what == 3:
            other = draw.choice(places(document))
            value = document
            for key in other:
                value = value[key]
            taken = copy.deepcopy(value)
            put(document, at, lambda owner, key, taken=taken: owner.__setitem__(key, taken))
        else:
            value = copy.deepcopy(draw.choice(VALUES))
            put(document, at, lambda owner, key, value=value: owner.__setitem__(key, value))
    text = json.dumps(document, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    for form in (json.dumps(marker).encode(), f'"{marker}"'.encode()):
        text = text.replace(form, draw.choice(RAW))
    return text, ", ".join(label)[:200]


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Bytes changed, cut out, doubled or put in."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(len(found) or 1)
        what = draw.randrange(4)
        if what == 0 and found:
            found[at] = draw.randrange(256)
        elif what == 1:
            del found[at : at + draw.choice((1, 2, 100))]
        elif what == 2:
            found[at:at] = found[at : at + draw.choice((1, 50, 1000))]
        else:
            found[at:at] = draw.choice((b"[", b"{", b'"', b"\\", b",", b"\0", b"\xff", b"9" * 30, b"[" * 100))
    return bytes(found)


def framed(header: bytes, data: bytes) -> bytes:
    """A safetensors file."""
    return struct.pack("<Q", len(header)) + header + data


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header, content[8 + length :]


def tensors_of(draw: random.Random, content: bytes) -> tuple[bytes, str]:
    """A safetensors file whose header, metadata or bytes are others."""
    header, data = split(content)
    what = draw.randrange(5)
    if what == 0:
        return damaged(draw, content), "bytes"
    if what == 1:
        length = draw.choice((0, 1, 2**63, 2**64 - 1, len(content), len(content) - 8, 100_000_000))
        return struct.pack("<Q", length) + content[8:], f"length {length}"
    if what == 2:
        key = draw.choice(sorted(header["__metadata__"]))
        value = header["__metadata__"][key]
        try:
            text, label = edited(draw, json.loads(value))
            header["__metadata__"][key] = text.decode("utf-8", "replace")
        except ValueError:
            header["__metadata__"][key], label = draw.choice(("", "x", "\x1b[2J", "0" * 64, "[" * 10_000)), key
        return framed(json.dumps(header).encode(), data), f"metadata {key}: {label}"
    if what == 3:
        name = draw.choice([one for one in header if one != "__metadata__"])
        text, label = edited(draw, header[name])
        marker = json.dumps({**header, name: "\u2606"}).encode()
        return framed(marker.replace(json.dumps("\u2606").encode(), text), data), f"{name}: {label}"
    text, label = edited(draw, header)
    return framed(text, data), label


class Manifests:
    """Mutants of ``manifest.json``."""

    name = "manifest"
    targets = ("bundle-onnxruntime", "bundle-openvino", "bundle-cpp")

    def honest(self, folder: Path) -> Path:
        """The embedded bundle."""
        return write_bundle(folder)

    def make(self, number: int, folder: Path) -> Mutant:
        """See :class:`tests.fuzz.driver.Mutator`."""
        draw = random.Random(number * 6007 + 5)
        whole = manifest()
        if number % 4 == 0:
            content, label = damaged(draw, json.dumps(whole, indent=1).encode()), "bytes"
        else:
            content, label = edited(draw, whole)
        return Mutant(write_bundle(folder, raw_manifest=content), f"manifest: {label}")


class Tokenizers:
    """Mutants of ``tokenizer.json``: its own parts changed, and parts of the library that no CLIP has."""

    name = "tokenizer"
    targets = ("bundle-onnxruntime", "bundle-cpp")
    PARTS: ClassVar[dict[str, tuple[Any, ...]]] = {
        "normalizer": (
            *(
                {"type": kind}
                for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "BertNormalizer")
            ),
            {"type": "Prepend", "prepend": "a" * 100_000},
            {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
            *({"type": "Replace", "pattern": {"String": "a"}, "content": "a" * size} for size in (0, 2, 4, 60_000)),
            {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""},
            {
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 30,
            },
        ),
        "pre_tokenizer": (
            *({"type": kind} for kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts")),
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            {"type": "Split", "pattern": {"Regex": "(?<n>a\\g<n>*)+$"}, "behavior": "Removed", "invert": True},
            {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": True},
        ),
        "model": (
            {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
            {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "a", "continuing_subword_prefix": "##"},
            {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 5},
            {"type": "BPE", "vocab": {}, "merges": []},
        ),
        "post_processor": (
            {"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]},
            {
                "type": "RobertaProcessing",
                "sep": ["a", 1],
                "cls": ["b", 2],
                "trim_offsets": True,
                "add_prefix_space": True,
            },
        ),
        "truncation": ({"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 9},),
        "padding": (
            {"strategy": {"Fixed": 2**31}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "x"},
        ),
    }

    def honest(self, folder: Path) -> Path:
        """The embedded bundle."""
        return write_bundle(folder)

    def make(self, number: int, folder: Path) -> Mutant:
        """See :class:`tests.fuzz.driver.Mutator`."""
        draw = random.Random(number * 5003 + 3)
        whole = json.loads(files()[TOKENIZER])
        if number % 4 == 0:
            content, label = damaged(draw, files()[TOKENIZER]), "bytes"
        elif number % 4 == 1:
            key = draw.choice(sorted(self.PARTS))
            whole[key] = copy.deepcopy(draw.choice(self.PARTS[key]))
            content, label = json.dumps(whole).encode(), f"{key}: {json.dumps(whole[key])[:80]}"
        else:
            content, label = edited(draw, whole)
        return Mutant(write_bundle(folder, {TOKENIZER: content}), f"tokenizer: {label}")


@lru_cache(maxsize=1)
def stored_words() -> bytes:
    """``text_tokens.safetensors`` of two words, of made-up features."""
    import tempfile

    draw, arrays = np.random.default_rng(0), {}
    for feature in manifest()["text"]["features"]:
        array = draw.normal(size=(2, *feature["shape"])).astype(np.float32)
        if feature.get("unit_norm"):
            array /= np.linalg.norm(array, axis=-1, keepdims=True)
        arrays[feature["name"]] = array
    with tempfile.TemporaryDirectory() as folder:
        write_text_tokens(Path(folder) / TEXT_TOKENS, ("bottle", "boat"), arrays)
        return (Path(folder) / TEXT_TOKENS).read_bytes()


class StoredWords:
    """Mutants of ``text_tokens.safetensors`` in a bundle without a text encoder."""

    name = "words"
    targets = ("bundle-onnxruntime", "bundle-cpp")
    WITHOUT: ClassVar[dict[str, bytes | None]] = {TEXT_ENCODER: None, TOKENIZER: None}

    def honest(self, folder: Path) -> Path:
        """The embedded bundle with words in place of its text encoder."""
        return write_bundle(folder, self.WITHOUT | {TEXT_TOKENS: stored_words()})

    def make(self, number: int, folder: Path) -> Mutant:
        """See :class:`tests.fuzz.driver.Mutator`."""
        content, label = tensors_of(random.Random(number * 4001 + 1), stored_words())
        return Mutant(write_bundle(folder, self.WITHOUT | {TEXT_TOKENS: content}), f"words: {label}")


class Checkpoints:
    """Mutants of a checkpoint's file, and of the configuration of the towers beside it."""

    name = "checkpoint"
    targets = ("checkpoint",)

    def honest(self, folder: Path) -> Path:
        """The sticker world's checkpoint."""
        shutil.copytree(RUN / "towers", folder / "towers")
        shutil.copyfile(RUN / CHECKPOINT, folder / CHECKPOINT)
        return folder / CHECKPOINT

    def make(self, number: int, folder: Path) -> Mutant:
        """See :class:`tests.fuzz.driver.Mutator`."""
        draw = random.Random(number * 3001 + 7)
        path = self.honest(folder)
        if number % 3:
            content, label = tensors_of(draw, path.read_bytes())
            path.write_bytes(content)
        else:
            config = folder / "towers" / "open_clip_config.json"
            content, label = edited(draw, json.loads(config.read_bytes()))
            config.write_bytes(content)
        return Mutant(path, f"checkpoint: {label}")


class Regions:
    """Mutants of a file of boxes, in both layouts."""

    name = "regions"
    targets = ("regions",)
    COCO: ClassVar[dict[str, Any]] = {
        "images": [{"id": 139, "file_name": "cluttered.png", "width": 512, "height": 512}],
        "categories": [{"id": 1, "name": "bottle"}, {"id": 2, "name": "boat"}],
        "annotations": [{"id": 1, "image_id": 139, "category_id": 1, "bbox": [10, 10, 200, 200], "score": 0.9}],
    }
    PLAIN: ClassVar[list[Any]] = [
        {"image": "cluttered.png", "class": "bottle", "bbox": [10, 10, 200, 200], "score": 0.9},
        {"bbox": [0, 0, 50, 50]},
    ]

    def honest(self, folder: Path) -> Path:
        """Two boxes."""
        path = folder / "boxes.json"
        path.write_text(json.dumps(self.PLAIN), "utf-8")
        return path

    def make(self, number: int, folder: Path) -> Mutant:
        """See :class:`tests.fuzz.driver.Mutator`."""
        draw = random.Random(number * 2003 + 11)
        whole: Any = self.COCO if number % 2 else self.PLAIN
        content, label = edited(draw, whole) if number % 5 else (damaged(draw, json.dumps(whole).encode()), "bytes")
        path = folder / "boxes.json"
        path.write_bytes(content)
        return Mutant(path, f"regions: {label}")
