"""The JSON Schema of the manifest beside the parser; ``tests/manifest_schema.py`` compares them in all other tests."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsclip_runtime.bundle import manifest as manifest_module
from clsclip_runtime.bundle.opening import EMBEDDED
from clsclip_runtime.errors import BundleError
from tests.manifest_schema import VALIDATOR, faults
from tests.runtime.tiny_bundle import DETECTOR


def document() -> dict[str, Any]:
    """The embedded bundle's manifest, with every optional key."""
    found: dict[str, Any] = json.loads((EMBEDDED / "manifest.json").read_text("utf-8"))
    entry = {"sha256": "0" * 64, "bytes": 1}
    found["detector"] = copy.deepcopy(DETECTOR)
    found["files"] |= {"detector.onnx": entry, "text_tokens.safetensors": entry}
    found["license"]["parts"] = {"detector.onnx": "AGPL-3.0"}
    found |= {"domain": None, "validation": {}, "background": {}, "tiles": None, "export_options": {}}
    return found


def change(keys: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Set a dotted key; numbers are positions in a list."""

    def edit(target: Any) -> None:
        *parents, last = keys.split(".")
        for parent in parents:
            target = target[int(parent)] if parent.isdecimal() else target[parent]
        target[last] = value

    return edit


def drop(*keys: str) -> Callable[[dict[str, Any]], None]:
    """Remove files."""

    def edit(target: dict[str, Any]) -> None:
        for key in keys:
            del target["files"][key]

    return edit


WRONG: dict[str, Callable[[dict[str, Any]], None]] = {
    f"{keys} = {str(value)[:40]}": change(keys, value)
    for keys, values in {
        "schema_version": (1, 3, "2", True, None),
        "name": ("", " ", 3, None),
        "description": (3, None),
        "requires": ("x", [3], {}),
        "model": ([], "x"),
        "license": ({}, {"weights": ""}, "Apache-2.0"),
        "license.parts": ({"a": 3}, ["a"]),
        "image.size": (0, 8193, 1.5, "128", True),
        "image.mean": ([1, 2], [1, 2, "3"], 3),
        "image.std": ([1, 0, 1], [1, 1, -1]),
        "image.resize": ("letterbox",),
        "image.interpolation": ("magic", None),
        "features": ([], {}, None, [3]),
        "features.0.name": ("9a", "a-b", "a" * 65, "pixel_values", "presence", "", 3),
        "features.0.shape": ([0], [-1], [1.5], [1] * 9, [2**31], "128", [True], None),
        "features.0.dtype": ("float16", None),
        "features.0.needed_by": ([], ["decoder"], "trunk", None),
        "text.context_length": (0, 65537),
        "text.templates": ([], ["a picture"], ["{} {}"], [3], "{}"),
        "text.pad_token_id": (-1, 1.0),
        "text.features": ([], None),
        "text.features.0.shape": ([0],),
        "text.features.1.unit_norm": (1, "yes"),
        "text.matching": (3, "a b"),
        "mask.threshold": (0, 1, "0.5"),
        "mask.height": (0, 8193),
        "presence": ({}, 3, {"from": "filter", "form": "probability"}),
        "presence.from": ("gate", None),
        "presence.form": ("chance", None),
        "presence.threshold": (-0.1, 1.1),
        "presence.least_confidence": (-0.1, 50.5, "2", True),
        "memory.pair_bytes": (-1, 1.5, None),
        "profile.pairs": ([1, 2], [0, 1, 2], [1, 2, 3, 4], "1,2,3"),
        "precision": ("", None),
        "files": ([], None),
        "files.vision.weights": (None,),
        "detector": ([], 3, {}),
        "detector.output_format": ("yolov99",),
        "detector.names": ([], ["cat", 3], ["cat", " "], ["c" * 257], ["a\x1b[31m"]),
        "detector.height": (31, 8193, True),
        "detector.channel_order": ("bgra",),
        "detector.input_scale": (0, -1, "1"),
        "detector.letterbox": ("centre",),
        "detector.batch": (0, 1025),
        "detector.class_agnostic": (0, None),
        "domain": ([], 3),
        "graphs": ([],),
    }.items()
    for value in values
    if keys != "files.vision.weights"
}
for name in ("../a", "/a", "a/../b", "a\\b", "C:x", "a//b", "./a", "a/", "", "a\0b", "..", "a\nb", "a*", 'a"'):
    WRONG[f"the file {name!r}"] = lambda target, name=name: target["files"].update(  # type: ignore[misc]
        {name: {"sha256": "0" * 64, "bytes": 1}}
    )
for entry in ({}, {"sha256": "zz", "bytes": 1}, {"sha256": "0" * 64, "bytes": -1}, {"sha256": "0" * 64}, 3):
    WRONG[f"an entry {entry}"] = lambda target, entry=entry: target["files"].update({"a": entry})  # type: ignore[misc]

INCOMPLETE = {
    "no trunk": drop("trunk.onnx"),
    "no image encoder": drop("image_encoder.onnx"),
    "a tokenizer alone": drop("text_encoder.onnx"),
    "no tokenizer": drop("tokenizer.json"),
    "no words": drop("text_encoder.onnx", "tokenizer.json", "text_tokens.safetensors"),
    "no presence graph": drop("presence.onnx"),
    "no detector": drop("detector.onnx"),
}


def test_good_manifests_are_taken() -> None:
    assert faults(json.loads((EMBEDDED / "manifest.json").read_text("utf-8"))) == []
    assert faults(document()) == []
    assert faults({**document(), "future": {"anything": 1}}) == []
    for edit in (
        drop("text_encoder.onnx", "tokenizer.json"),
        change("requires", ["a feature of tomorrow"]),
        change("features.0.shape", []),
        change("text.matching", None),
        change("license.parts", {}),
        change("presence", None),
    ):
        changed = document()
        edit(changed)
        assert faults(changed) == []


@pytest.mark.parametrize("kind", WRONG)
def test_what_the_parser_refuses_the_schema_refuses(kind: str) -> None:
    changed = document()
    WRONG[kind](changed)
    assert faults(changed, with_files=False)
    with pytest.raises(BundleError):
        manifest_module.parse_manifest(json.dumps(changed).encode())


@pytest.mark.parametrize("kind", INCOMPLETE)
def test_files_that_must_be_there(kind: str) -> None:
    changed = document()
    INCOMPLETE[kind](changed)
    assert faults(changed)


def test_several_templates_need_vectors() -> None:
    changed = document()
    changed["text"]["templates"] = ["a {}", "the {}"]
    assert faults(changed) == []
    for shape in ([], [77, 128]):
        changed["text"]["features"][0]["shape"] = shape
        assert faults(changed)
        with pytest.raises(BundleError, match="one template"):
            manifest_module.parse_manifest(json.dumps(changed).encode())
    changed["text"]["features"][0]["shape"] = [128]
    changed["text"]["features"][1]["shape"] = [1, 128]
    changed["text"]["templates"] = ["a {}"]
    assert faults(changed), "only a vector has unit norm"


def test_the_schema_has_every_key_that_is_written() -> None:
    known = VALIDATOR.schema["properties"]
    assert set(document()) <= set(known)
    assert set(DETECTOR) == set(known["detector"]["anyOf"][1]["properties"])
    for section in ("image", "mask", "memory", "profile", "text"):
        assert set(document()[section]) <= set(known[section]["properties"])


def test_the_schema_is_in_the_package() -> None:
    listed = (Path(__file__).parents[3] / "setup.cfg").read_text("utf-8")
    assert "bundle/manifest.schema.json" in listed
