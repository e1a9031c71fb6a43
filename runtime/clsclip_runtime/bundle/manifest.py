"""``manifest.json`` of a bundle, schema 2, checked and typed.

Unknown keys are ignored, so that a newer exporter can add some; what a runtime must know stands in ``requires``. A
required key that is missing or has the wrong type is named in the error.
"""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath

from clsclip_runtime.bundle.formats import FORMATS
from clsclip_runtime.bundle.section import Section, bad_value
from clsclip_runtime.bundle.specs import (
    FROM_FILTER,
    FROM_TRUNK,
    LOGIT,
    MASK_THRESHOLDS,
    MOST_CONFIDENCE,
    NEEDED_BY,
    PROBABILITY,
    DetectorSpec,
    DomainSpec,
    DomainTest,
    FeatureSpec,
    FileEntry,
    ImageSpec,
    Manifest,
    MaskSpec,
    MemorySpec,
    PresenceSpec,
    ProfileSpec,
    TextSpec,
    TilesSpec,
)
from clsclip_runtime.documents import DocumentError, parse_json
from clsclip_runtime.errors import BundleError
from clsclip_runtime.extras import upgrade_advice

SCHEMA_VERSION: int = FORMATS["bundle_schema"]
"""The manifest layout that this version reads and writes."""

KNOWN_REQUIREMENTS: frozenset[str] = frozenset(FORMATS["requires"])
"""Entries of ``requires`` that this version fulfils."""

DETECTOR_FORMATS: tuple[str, ...] = tuple(FORMATS["detector"]["output_formats"])
CHANNEL_ORDERS: tuple[str, ...] = tuple(FORMATS["detector"]["channel_orders"])
LETTERBOXES: tuple[str, ...] = tuple(FORMATS["detector"]["letterboxes"])
DETECTOR_INPUT_TYPES: tuple[str, ...] = tuple(FORMATS["detector"]["input_types"])
DETECTOR_NAME_CHARACTERS = 256
"""Longest class name of a detector."""

RESIZES: tuple[str, ...] = tuple(FORMATS["resizes"])
INTERPOLATIONS: tuple[str, ...] = tuple(FORMATS["interpolations"])

DTYPES: tuple[str, ...] = tuple(FORMATS["dtypes"])
RESERVED_NAMES: frozenset[str] = frozenset(FORMATS["reserved_names"])
"""Names of graphs' inputs and outputs that no feature may have."""

MAX_DETECTOR_CLASSES = 65536
MAX_DETECTOR_PIXELS = 1 << 25
"""Of one call of a detector, all its pictures together."""

MAX_DETECTOR_BATCH = 1024
DETECTOR_SIDES = 32, 8192
"""Shortest and longest side of a detector's input in pixels."""

LIMITS: dict[str, int] = FORMATS["limits"]
"""Largest values and longest lists of a manifest."""

_MAX_RANK = 8
_MAX_VALUES: int = LIMITS["feature_values"]


_MOST_BIAS = 1e9

_MOST_SCALES, _MOST_TILES = 4, 8
"""Of tiles: scales, and tiles along a side."""


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


def parse_manifest(document: bytes, folder: object = "OLD") -> Manifest:
    """Parse and check ``manifest.json``.

    Args:
        document: the file.
        folder: of the bundle, for messages.

    Raises:
        BundleError: it is not JSON, is of another schema, asks for what this version does not know, or a required key
            is missing or wrong.
    """
    try:
        data = parse_json(document)
    except DocumentError as error:
        raise BundleError(
            f"manifest.json is not valid JSON ({error}). The bundle is damaged: get it again or export it again"
        ) from error
    top = Section(data)
    version = top.integer("schema_version", 1, 2**31)
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"the bundle has schema version {version}, and this clsclip reads version {SCHEMA_VERSION}. "
            f"{upgrade_advice()}"
        )
    if version < SCHEMA_VERSION:
        raise BundleError(
            f"the bundle has schema version {version}, which clsclip 0.1 wrote. "
            f"Run: clsclip-bundle upgrade {folder} NEW"
        )
    for name in top.strings("requires"):
        if name not in KNOWN_REQUIREMENTS:
            raise BundleError(f"the bundle needs {name!r}, which this clsclip does not know. Upgrade clsclip")
    image, mask, memory, profile = (top.section(key) for key in ("image", "mask", "memory", "profile"))
    license_of = top.section("license")
    presence = top.optional("presence") if top.get("presence") is not None else None
    detector, tiles, domain = (top.optional(key) for key in ("detector", "tiles", "domain"))
    features = _features(top)
    most = 2**53
    size = image.integer("size", 1, LIMITS["image_size"])
    height, width = (mask.integer(side, 1, LIMITS["mask_size"]) for side in ("height", "width"))
    text = _text(top.section("text"), {one.name for one in features})
    manifest = Manifest(
        name=top.text("name"),
        description=" ".join(_text_or_empty(top, "description").split()),
        license=license_of.text("weights"),
        license_parts=_parts(license_of),
        precision=top.text("precision"),
        model=dict(top.section("model").data) if "model" in top.data else {},
        image=ImageSpec(
            size=size,
            mean=image.channels("mean", positive=False),
            std=image.channels("std", positive=True),
            resize=image.choice("resize", RESIZES),
            interpolation=image.choice("interpolation", INTERPOLATIONS),
        ),
        features=features,
        text=text,
        mask=MaskSpec(
            threshold=mask.number("threshold", *MASK_THRESHOLDS, inclusive=True),
            height=height,
            width=width,
        ),
        presence=None
        if presence is None
        else PresenceSpec(
            source=presence.choice("from", (FROM_FILTER, FROM_TRUNK)),
            form=presence.choice("form", (PROBABILITY, LOGIT)),
            threshold=presence.number("threshold", 0.0, 1.0, inclusive=True),
            least_confidence=presence.number("least_confidence", 0.0, MOST_CONFIDENCE, inclusive=True)
            if presence.data.get("least_confidence") is not None
            else 0.0,
        ),
        memory=MemorySpec(
            # What is known to be held counts, whatever is stated: pixels, features, logits, token ids.
            crop_bytes=max(memory.integer("crop_bytes", 0, most), 12 * size**2 + sum(one.bytes for one in features)),
            pair_bytes=max(memory.integer("pair_bytes", 0, most), 4 * height * width),
            presence_pair_bytes=memory.integer("presence_pair_bytes", 0, most),
            word_bytes=max(
                memory.integer("word_bytes", 0, most), 8 * text.context_length + sum(one.bytes for one in text.features)
            ),
        ),
        profile=ProfileSpec(*(_range(profile, axis) for axis in ("crops", "classes", "pairs"))),
        files=_files(top.section("files")),
        raw=data,
        detector=None if detector is None else detector_of(detector),
        tiles=None if tiles is None else _tiles(tiles),
        domain=None if domain is None else _domain(domain, features),
    )
    for key in FORMATS["reserved_keys"]:
        top.optional(key)
    return manifest


def _tiles(section: Section) -> TilesSpec:
    scales = section.whole_numbers("scales", _MOST_SCALES, 1, _MOST_TILES)
    if not scales or len(set(scales)) < len(scales):
        raise bad_value(section.key("scales"), "at least one number, each once", scales)
    return TilesSpec(
        scales=scales,
        overlap=section.number("overlap", 0.0, 0.75, inclusive=True),
        presence_threshold=section.number("presence_threshold", 0.0, 1.0, inclusive=True),
    )


def _domain(section: Section, features: tuple[FeatureSpec, ...]) -> DomainSpec:
    test = section.optional("test")
    found = None
    if test is not None:
        weights, widths = test.section("weights"), {one.name: one.shape[-1] for one in features if one.shape}
        if not weights.data or not weights.data.keys() <= widths.keys():
            raise bad_value(
                test.key("weights"), "lists by the names of image features that are no single numbers", weights.data
            )
        found = DomainTest(
            {name: weights.numbers(name, 2 * widths[name]) for name in weights.data},
            test.number("bias", -_MOST_BIAS, _MOST_BIAS, inclusive=True),
        )
    return DomainSpec(section.text("name"), " ".join(section.text("description").split()), found)


def _features(section: Section) -> tuple[FeatureSpec, ...]:
    found: list[FeatureSpec] = []
    for one in section.sections("features", LIMITS["features"]):
        name = one.text("name")
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,63}", name) or name in RESERVED_NAMES:
            raise bad_value(one.key("name"), "a plain name that is not one of the graphs' own", name)
        if name in {other.name for other in found}:
            raise bad_value(one.key("name"), "a name of its own", name)
        shape = one.whole_numbers("shape", _MAX_RANK, 1, _MAX_VALUES)
        if math.prod(shape) > _MAX_VALUES:
            raise bad_value(one.key("shape"), f"a shape of at most {_MAX_VALUES} values", list(shape))
        unit_norm = one.flag("unit_norm") if "unit_norm" in one.data else False
        if unit_norm and len(shape) != 1:
            raise bad_value(one.key("unit_norm"), "false where the feature is no vector", unit_norm)
        needed_by = one.strings("needed_by")
        if not needed_by:
            raise bad_value(one.key("needed_by"), f"a list of {' or '.join(NEEDED_BY)}", list(needed_by))
        for reader in needed_by:
            if reader not in NEEDED_BY:
                raise BundleError(
                    f"manifest.json says that {name} is needed by {reader!r}, which this clsclip does not know. "
                    "Upgrade clsclip"
                )
        found.append(FeatureSpec(name, shape, one.choice("dtype", DTYPES), needed_by, unit_norm))
    return tuple(found)


def _text(section: Section, taken: set[str]) -> TextSpec:
    features, templates = (
        _features(section),
        section.templates("templates", LIMITS["templates"], LIMITS["template_characters"]),
    )
    for one in features:
        if one.name in taken:
            raise bad_value(section.key("features"), "names that no image feature has", one.name)
        if len(one.shape) != 1 and len(templates) > 1:
            raise bad_value(
                section.key("templates"),
                f"one template: {one.name} is no vector and cannot be averaged",
                list(templates),
            )
    matching = section.data.get("matching")
    if matching is not None and not any(one.name == matching and one.unit_norm for one in features):
        raise bad_value(section.key("matching"), "the name of a text feature of unit norm, or null", matching)
    return TextSpec(
        context_length=section.integer("context_length", 1, LIMITS["context_length"]),
        templates=templates,
        pad_token_id=section.integer("pad_token_id", 0, 2**31),
        features=features,
        matching=matching,
    )


def _range(section: Section, axis: str) -> tuple[int, int, int]:
    values = section.whole_numbers(axis, 3, 1, 65536)
    if len(values) != 3 or not values[0] <= values[1] <= values[2]:
        raise bad_value(section.key(axis), "smallest, usual and largest number, ascending", list(values))
    return values[0], values[1], values[2]


def _text_or_empty(section: Section, key: str) -> str:
    value = section.data.get(key, "")
    if not isinstance(value, str) or len(value) > LIMITS["text_characters"]:
        raise bad_value(section.key(key), f"a text of at most {LIMITS['text_characters']} characters", value)
    return value


def _parts(section: Section) -> dict[str, str]:
    parts = section.optional("parts")
    return {} if parts is None else {key: parts.text(key) for key in parts.data}


def _files(section: Section) -> dict[str, FileEntry]:
    found: dict[str, FileEntry] = {}
    if len(section.data) > LIMITS["files"]:
        raise BundleError(f"manifest.json lists more than {LIMITS['files']} files. Export the bundle again")
    for name in section.data:
        check_file_name(name)
        entry = section.section(name)
        digest = entry.text("sha256").lower()
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise bad_value(entry.key("sha256"), "64 hexadecimal digits", digest)
        found[name] = FileEntry(sha256=digest, bytes=entry.integer("bytes", 0, 2**63))
    return found


def detector_of(section: Section) -> DetectorSpec:
    """How a detector is run, of a part of a manifest. BundleError where a value is wrong."""
    batch = section.get("batch")
    spec = DetectorSpec(
        output_format=section.choice("output_format", DETECTOR_FORMATS),
        names=section.names("names", MAX_DETECTOR_CLASSES, DETECTOR_NAME_CHARACTERS),
        height=section.integer("height", *DETECTOR_SIDES),
        width=section.integer("width", *DETECTOR_SIDES),
        channel_order=section.choice("channel_order", CHANNEL_ORDERS),
        input_scale=section.number("input_scale", 0, 65535, inclusive=False),
        letterbox=section.choice("letterbox", LETTERBOXES),
        batch=None if batch is None else section.integer("batch", 1, MAX_DETECTOR_BATCH),
        input_type=section.choice("input_type", DETECTOR_INPUT_TYPES),
        class_agnostic=section.flag("class_agnostic"),
        license=section.text("license"),
    )
    if spec.height * spec.width * (spec.batch or 1) > MAX_DETECTOR_PIXELS:
        wanted = f"such that one call has at most {MAX_DETECTOR_PIXELS:,} pixels"
        raise bad_value(section.key("batch"), wanted, batch)
    return spec
