"""Every key of a manifest: absent, of another type, or out of range."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from clsclip_runtime import BundleError
from clsclip_runtime.bundle.manifest import parse_manifest
from clsclip_runtime.bundle.specs import DetectorSpec, Manifest
from tests.runtime.tiny_bundle import DETECTOR, manifest

FEATURE: dict[str, Any] = {"name": "anything", "shape": [3], "dtype": "float32", "needed_by": ["trunk"]}


def parse(document: dict[str, Any]) -> Manifest:
    return parse_manifest(json.dumps({"files": {}, **document}).encode())


REQUIRED = [
    "schema_version",
    "name",
    "license.weights",
    "image",
    "image.size",
    "image.mean",
    "image.std",
    "image.resize",
    "image.interpolation",
    "features",
    "text.context_length",
    "text.templates",
    "text.pad_token_id",
    "text.features",
    "mask.threshold",
    "mask.height",
    "mask.width",
    "presence",
    "presence.from",
    "presence.form",
    "presence.threshold",
    "memory.crop_bytes",
    "memory.pair_bytes",
    "memory.presence_pair_bytes",
    "memory.word_bytes",
    "profile.crops",
    "profile.classes",
    "profile.pairs",
    "precision",
    "files",
]


def holder(document: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    *sections, last = key.split(".")
    for section in sections:
        document = document[section]
    return document, last


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(key: str) -> None:
    document = {"files": {}, **manifest()}
    section, last = holder(document, key)
    del section[last]
    with pytest.raises(BundleError, match=f"'{key}'"):
        parse_manifest(json.dumps(document).encode())


# An empty object is a right type for one of the keys.
@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in REQUIRED for value in (True, [], "", -1, {}) if not (key == "files" and value == {})],
)
def test_a_wrong_type_is_named(key: str, value: object) -> None:
    document = {"files": {}, **manifest()}
    section, last = holder(document, key)
    section[last] = value
    with pytest.raises(BundleError, match=key.replace(".", r"\.")):
        parse_manifest(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("image.std", [1, 0, 1], "positive"),
        ("image.mean", [1, 2], "three numbers"),
        ("image.mean", [1, 2, float("nan")], "NaN is no JSON number"),
        ("image.size", 1e3, "whole number"),
        ("image.size", 10**6, "from 1 to 2048"),
        ("image.resize", "letterbox", "knows squash"),
        ("image.interpolation", "magic", "knows nearest"),
        ("text.templates", ["a picture"], "{} once"),
        ("text.templates", ["{} {}"], "{} once"),
        ("text.templates", [3], "{} once"),
        ("text.templates", ["{}"] * 257, "a list of 1 to 256"),
        ("text.templates", ["{}" + "a" * 255], "up to 256 characters"),
        ("text.context_length", 1025, "from 1 to 1024"),
        ("mask.width", 2049, "from 1 to 2048"),
        ("name", "a" * 4097, "at most 4096 characters"),
        ("description", "a" * 4097, "at most 4096 characters"),
        ("features", [FEATURE | {"name": f"f{at}"} for at in range(65)], "a list of 1 to 64"),
        ("mask.threshold", 1, "from 1e-06 to 0.999999"),
        ("mask.threshold", 5e-324, "from 1e-06 to 0.999999"),
        ("presence.threshold", 1.5, "from 0.0 to 1.0"),
        ("description", 3, "a text"),
        ("requires", ["time travel"], "needs 'time travel'.*Upgrade clsclip"),
        ("requires", "all", "a list of texts"),
        ("presence.from", "elsewhere", "knows filter, trunk"),
        ("presence.form", "ratio", "knows probability, logit"),
        ("memory.pair_bytes", -1, "whole number"),
        ("profile.pairs", [8, 1, 32], "ascending"),
        ("profile.pairs", [1, 8], "ascending"),
        ("features", [], "a list of 1 to 64 objects"),
        ("features", [FEATURE, FEATURE], "a name of its own"),
        ("features", [FEATURE | {"name": "crop_index"}], "graphs' own"),
        ("features", [FEATURE | {"name": "a/b"}], "plain name"),
        ("features", [FEATURE | {"name": "text_tokens"}], "no image feature"),
        ("features", [FEATURE | {"shape": [0]}], "whole numbers from 1"),
        ("features", [FEATURE | {"shape": [2] * 9}], "at most 8"),
        ("features", [FEATURE | {"shape": [1 << 16, 1 << 16]}], "at most 67108864 values"),
        ("features", [FEATURE | {"dtype": "float16"}], "knows float32"),
        ("features", [FEATURE | {"needed_by": []}], "trunk or presence"),
        ("features", [FEATURE | {"needed_by": ["decoder"]}], "'decoder'.*Upgrade clsclip"),
        ("text.features", [FEATURE | {"unit_norm": True, "shape": [2, 2]}], "no vector"),
        ("text.matching", "text_tokens", "of unit norm"),
        ("domain", 3, "an object"),
        ("tiles", [], "an object"),
        ("files", {"a": {"sha256": "zz", "bytes": 1}}, "64 hexadecimal"),
        ("files", {"a": {"sha256": "0" * 64, "bytes": -1}}, "whole number"),
    ],
)
def test_values_out_of_range_are_named(key: str, value: object, reason: str) -> None:
    document = {"files": {}, **manifest()}
    section, last = holder(document, key)
    section[last] = value
    with pytest.raises(BundleError, match=reason):
        parse_manifest(json.dumps(document).encode())


def detector_of(**changes: object) -> DetectorSpec | None:
    return parse({**manifest(), "detector": {**DETECTOR, **changes}}).detector


def test_a_detector_in_the_manifest() -> None:
    assert parse(manifest()).detector is None
    assert parse({**manifest(), "detector": None}).detector is None
    found = detector_of(future=1)
    assert found == DetectorSpec(**{**DETECTOR, "names": ("cat", "hot dog"), "input_scale": 1.0})
    assert found is not None
    assert parse({**manifest(), "detector": asdict(found)}).detector == found, "what is written can be read"
    assert detector_of(batch=8) == replace(found, batch=8)


@pytest.mark.parametrize("key", DETECTOR)
def test_a_missing_key_of_a_detector_is_named(key: str) -> None:
    section = {name: value for name, value in DETECTOR.items() if name != key}
    with pytest.raises(BundleError, match=rf"'detector\.{key}'"):
        parse({**manifest(), "detector": section})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[
            (key, value)
            for key in DETECTOR
            for value in ({}, -1, "", ["x"] * 2)
            if (key, value) != ("names", ["x"] * 2)
        ],
        ("output_format", "yolov99"),
        ("names", []),
        ("names", ["cat", 3]),
        ("names", ["cat", " "]),
        ("names", ["cat", "a\x1b[31m"]),
        ("names", ["c" * 257]),
        ("names", ["c"] * 70_000),
        ("names", {"0": "cat"}),
        ("height", 31),
        ("width", 8193),
        ("width", True),
        ("input_scale", -0.5),
        ("input_scale", 0),
        ("batch", 0),
        ("batch", 2000),
        ("batch", 1000),
        ("class_agnostic", 0),
    ],
)
def test_hostile_detectors_are_refused(key: str, value: object) -> None:
    with pytest.raises(BundleError, match=rf"detector\.{key}"):
        detector_of(**{key: value})
    for section in (3, [], "yolov8"):
        with pytest.raises(BundleError, match="'detector'"):
            parse({**manifest(), "detector": section})


def test_unknown_keys_are_ignored() -> None:
    parse({**manifest(), "future": {"anything": 1}})


def test_templates_are_averaged_only_over_vectors() -> None:
    document = {"files": {}, **manifest(templates=("{}", "a {}"))}
    document["text"]["features"].append(FEATURE | {"shape": [8, 3]})
    with pytest.raises(BundleError, match="one template: anything is no vector"):
        parse_manifest(json.dumps(document).encode())
    document["text"]["templates"] = ["{}"]
    parse_manifest(json.dumps(document).encode())
