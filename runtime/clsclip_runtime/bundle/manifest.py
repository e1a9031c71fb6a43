"""``manifest.json`` of a bundle, checked and typed.

Unknown keys are ignored, so that a newer exporter can add some; a required key that is missing or has
the wrong type is named in the error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from clsclip_runtime.errors import BundleError

SCHEMA_VERSION = 1
"""The newest manifest layout that this version reads."""

DETECTOR_LAYOUTS = ("yolov5", "yolov7-nms", "tensorrt-nms", "yolov8", "yolov10", "yolox", "yolox-decoded")
DETECTOR_COLOURS = ("rgb", "bgr")
DETECTOR_PLACES = ("centre", "top-left")
DETECTOR_INPUT_TYPES = ("float32", "float16")
DETECTOR_NAME_CHARACTERS = 256
"""Longest class name of a detector."""

RESIZES = ("squash",)
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")

_MAX_CLASSES = 65536
_MAX_DETECTOR_PIXELS = 1 << 27


@dataclass(frozen=True)
class ImageSpec:
    """How a picture becomes the encoder's input: resized to size x size (pixels), then normalised per channel."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str
    filter: str


@dataclass(frozen=True)
class TextSpec:
    """How a word becomes tokens: put into every template, truncated and padded to context_length tokens."""

    context_length: int
    templates: tuple[str, ...]
    pad_token_id: int


@dataclass(frozen=True)
class MaskSpec:
    """Size of the logits (pixels) and the probability above which a pixel belongs to the word."""

    threshold: float
    height: int
    width: int


@dataclass(frozen=True)
class DetectorSpec:
    """How a detector is run, so that its file need not be asked.

    Attributes:
        layout: how its outputs are laid out, one of ``DETECTOR_LAYOUTS`` (see ``detectors.layouts``).
        names: class names by number.
        height: of the input, pixels.
        width: of the input, pixels.
        colours: order of the input's channels, "rgb" or "bgr".
        white: the input's value for white, 1 or 255.
        place: where a picture lies in the input, "centre" or "top-left".
        batch: pictures that one call takes; None for any number.
        input_type: "float32" or "float16".
        agnostic: it finds things without knowing their class, so its boxes may be any word.
        licence: of its weights.
    """

    layout: str
    names: tuple[str, ...]
    height: int
    width: int
    colours: str
    white: float
    place: str
    batch: int | None
    input_type: str
    agnostic: bool
    licence: str


@dataclass(frozen=True)
class FileEntry:
    """What a file of the bundle must be: lower-case hexadecimal SHA-256 and size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The checked manifest; ``raw`` is the whole document as it was read.

    ``presence_threshold`` is None when the bundle has no presence gate, ``detector`` when it has no detector.
    """

    name: str
    description: str
    licence: str
    precision: str
    model: Mapping[str, Any]
    image: ImageSpec
    text: TextSpec
    mask: MaskSpec
    presence_threshold: float | None
    files: Mapping[str, FileEntry]
    raw: Mapping[str, Any]
    detector: DetectorSpec | None = None


def check_file_name(name: str) -> None:
    """Raise BundleError unless ``name`` is a plain relative path that stays inside its folder on every system."""
    parts = name.split("/")
    # The characters have a meaning on some system, or (the star) to an engine.
    unsafe = (
        not name
        or set(name) & set('\\:*?"<>|')
        or any(ord(character) < 32 or ord(character) == 127 for character in name)
        or PurePosixPath(name).is_absolute()
        or any(part in ("", ".", "..") for part in parts)
    )
    if unsafe:
        raise BundleError(
            f"the bundle names the file {name!r}, which is not a plain path inside the bundle's folder, so it is "
            "refused. Get the bundle again from a source you trust, or export it again with clsclip-export"
        )


class _Section:
    """Typed access to one JSON object, with errors that name the dotted key."""

    def __init__(self, data: object, where: str = "") -> None:
        if not isinstance(data, dict):
            raise _bad(where or "the manifest", "an object", data)
        self._data: dict[str, Any] = data
        self._where = where

    def key(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def get(self, key: str) -> Any:
        if key not in self._data:
            raise BundleError(
                f"manifest.json lacks the required key '{self.key(key)}'. Export the bundle again with clsclip-export"
            )
        return self._data[key]

    def section(self, key: str) -> _Section:
        return _Section(self.get(key), self.key(key))

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value.strip():
            raise _bad(self.key(key), "a text that is not empty", value)
        return value

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in known:
            raise BundleError(
                f"manifest.json asks for {self.key(key)} = {value!r}; this version of clsclip knows "
                f"{', '.join(known)}. Upgrade clsclip, or export the bundle again"
            )
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _bad(self.key(key), f"a whole number from {low} to {high}", value)
        return value

    def number(self, key: str, low: float, high: float, *, inclusive: bool) -> float:
        value = self.get(key)
        if _is_number(value) and (low <= value <= high if inclusive else low < value < high):
            return float(value)
        wanted = f"from {low} to {high}" if inclusive else f"strictly between {low} and {high}"
        raise _bad(self.key(key), f"a number {wanted}", value)

    def channels(self, key: str, *, positive: bool) -> tuple[float, float, float]:
        value = self.get(key)
        numbers = value if isinstance(value, list) else []
        if len(numbers) == 3 and all(_is_number(item) and (item > 0 or not positive) for item in numbers):
            return float(numbers[0]), float(numbers[1]), float(numbers[2])
        raise _bad(self.key(key), f"three {'positive ' if positive else ''}numbers", value)

    def templates(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        if not isinstance(value, list) or not value:
            raise _bad(self.key(key), "a list of at least one template", value)
        for template in value:
            if not isinstance(template, str) or template.count("{}") != 1:
                raise _bad(self.key(key), "templates that hold {} once, where the word goes", template)
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self.get(key)
        if not isinstance(value, bool):
            raise _bad(self.key(key), "true or false", value)
        return value

    def class_names(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        if not isinstance(value, list) or not 1 <= len(value) <= _MAX_CLASSES:
            raise _bad(self.key(key), f"a list of 1 to {_MAX_CLASSES} names", value)
        for name in value:
            fine = isinstance(name, str) and name.strip() and name.isprintable()
            if not fine or len(name) > DETECTOR_NAME_CHARACTERS:
                raise _bad(self.key(key), f"printable names of up to {DETECTOR_NAME_CHARACTERS} characters", name)
        return tuple(value)

    def files(self, key: str) -> dict[str, FileEntry]:
        entries = self.section(key)
        found: dict[str, FileEntry] = {}
        for name in entries._data:
            check_file_name(name)
            entry = entries.section(name)
            digest = entry.text("sha256").lower()
            if not re.fullmatch("[0-9a-f]{64}", digest):
                raise _bad(entry.key("sha256"), "64 hexadecimal digits", digest)
            found[name] = FileEntry(sha256=digest, bytes=entry.integer("bytes", 0, 2**63))
        return found


def parse_manifest(document: bytes) -> Manifest:
    """Parse and check ``manifest.json``.

    Raises:
        BundleError: it is not JSON, is of a newer schema, or a required key is missing or wrong.
    """
    try:
        data = json.loads(document.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"manifest.json is not valid JSON ({error}). The bundle is damaged: get it again or export it again"
        ) from error
    top = _Section(data)
    version = top.integer("schema_version", 1, 2**31)
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"the bundle has schema version {version}, and this clsclip reads versions up to {SCHEMA_VERSION}. "
            "Upgrade clsclip: pip install --upgrade clsclip"
        )
    image, text, mask = top.section("image"), top.section("text"), top.section("mask")
    presence = None
    if top.get("presence") is not None:
        presence = top.section("presence").number("threshold", 0.0, 1.0, inclusive=True)
    description = data.get("description", "")
    if not isinstance(description, str):
        raise _bad("description", "a text", description)
    return Manifest(
        name=top.text("name"),
        description=" ".join(description.split()),
        licence=top.section("licence").text("weights"),
        precision=top.text("precision"),
        model=dict(top.section("model")._data),
        image=ImageSpec(
            size=image.integer("size", 1, 8192),
            mean=image.channels("mean", positive=False),
            std=image.channels("std", positive=True),
            resize=image.choice("resize", RESIZES),
            filter=image.choice("filter", FILTERS),
        ),
        text=TextSpec(
            context_length=text.integer("context_length", 1, 65536),
            templates=text.templates("templates"),
            pad_token_id=text.integer("pad_token_id", 0, 2**31),
        ),
        mask=MaskSpec(
            threshold=mask.number("threshold", 0.0, 1.0, inclusive=False),
            height=mask.integer("height", 1, 8192),
            width=mask.integer("width", 1, 8192),
        ),
        presence_threshold=presence,
        files=top.files("files"),
        raw=data,
        detector=None if data.get("detector") is None else _detector(top.section("detector")),
    )


def _detector(section: _Section) -> DetectorSpec:
    batch = section.get("batch")
    spec = DetectorSpec(
        layout=section.choice("layout", DETECTOR_LAYOUTS),
        names=section.class_names("names"),
        height=section.integer("height", 32, 8192),
        width=section.integer("width", 32, 8192),
        colours=section.choice("colours", DETECTOR_COLOURS),
        white=section.number("white", 0, 65535, inclusive=False),
        place=section.choice("place", DETECTOR_PLACES),
        batch=None if batch is None else section.integer("batch", 1, 1024),
        input_type=section.choice("input_type", DETECTOR_INPUT_TYPES),
        agnostic=section.flag("agnostic"),
        licence=section.text("licence"),
    )
    if spec.height * spec.width * (spec.batch or 1) > _MAX_DETECTOR_PIXELS:
        raise _bad(section.key("batch"), f"such that one call has at most {_MAX_DETECTOR_PIXELS:,} pixels", batch)
    return spec


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _bad(key: str, wanted: str, value: object) -> BundleError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return BundleError(
        f"'{key}' in manifest.json must be {wanted}, and it is {shown}. Export the bundle again with clsclip-export"
    )
