"""What C++ reads of strangers' graphs and manifests: the same is taken and refused as in Python, by the same error."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.bundle.graph_rules import BUNDLES, DETECTORS, UnknownGraphError, checked
from clsclip_runtime.bundle.manifest import parse_manifest
from clsclip_runtime.bundle.onnx_graph import NotOnnxError
from clsclip_runtime.bundle.opening import EMBEDDED
from clsclip_runtime.errors import BundleError
from tests.cpp.c_api import ROOT, CError, CSegmenter
from tests.cpp.opaque_bundle import make_opaque_bundle
from tests.cpp.parts import Parts, PartsError
from tests.cpp.test_features import SCENE, same_results
from tests.fuzz.bundles import files
from tests.fuzz.graphs import ENCODINGS, GRAPHS, Graphs, flipped
from tests.runtime.bundle.sizes import DIVISIONS, SIZES, divided
from tests.runtime.bundle.test_clip_bounds import BOUNDS, TYPED
from tests.runtime.bundle.test_clip_bounds import write as write_clips
from tests.runtime.bundle.test_onnx_walk import ENCODINGS as BY_HAND
from tests.runtime.bundle.test_onnx_walk import STRUCTURES, changed, with_node
from tests.runtime.bundle.test_schema import WRONG, document
from tests.runtime.tiny_bundle import make_bundle, sign

FOR_PEOPLE = {"opset", "tools", "provenance", "parity", "clsclip_version", "upgraded_from", "model", "graphs"}
"""What a manifest tells, and no runtime reads."""

TINY = ROOT / "runtime" / "cpp" / "tests" / "tiny.clsclip"


def outcome(content: bytes, *, detector: bool = False) -> str | None:
    """Which error the Python runtime refuses a graph with; None where it takes it."""
    try:
        checked(content, DETECTORS if detector else BUNDLES)
    except NotOnnxError:
        return "NotOnnxError"
    except UnknownGraphError:
        return "UnknownGraphError"
    return None


def same(parts: Parts, path: Path, content: bytes, what: str) -> str | None:
    """Compare both runtimes on a graph; returns how it ended."""
    path.write_bytes(content)
    for detector in (False, True):
        found = parts("walk", file=str(path), detector=detector)
        assert found.get("refused") == outcome(content, detector=detector), (what, found)
    return outcome(content)


def test_honest_graphs_are_taken(parts: Parts) -> None:
    for path in sorted(EMBEDDED.glob("*.onnx")):
        found, mine = parts("walk", file=str(path)), checked(path.read_bytes(), BUNDLES)
        assert (found["nodes"], found["tensors"]) == (len(mine.graph.nodes), len(mine.graph.tensors))
        assert found["ir_version"] == mine.ir_version


@pytest.mark.parametrize(("kind", "name"), TYPED)
def test_clips_get_the_same_bounds(parts: Parts, tmp_path: Path, kind: int, name: str) -> None:
    write_clips(tmp_path / "g.onnx", kind, BOUNDS[name])
    parts("graph_bytes", file=str(tmp_path / "g.onnx"), out=str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == read_graph(tmp_path / "g.onnx").inside


@pytest.mark.parametrize("name", BY_HAND)
def test_encodings_that_no_exporter_writes(parts: Parts, tmp_path: Path, name: str) -> None:
    assert same(parts, tmp_path / "g.onnx", BY_HAND[name][0], name) is not None


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_that_no_exporter_makes(parts: Parts, tmp_path: Path, name: str) -> None:
    assert same(parts, tmp_path / "g.onnx", changed(STRUCTURES[name][0]), name) is not None


@pytest.mark.parametrize(("content", "taken"), (every := {**DIVISIONS, **SIZES}).values(), ids=every)
def test_engines_divide_by_no_zero(parts: Parts, tmp_path: Path, content: bytes, taken: bool) -> None:
    path = tmp_path / "g.onnx"
    assert same(parts, path, content, "sizes") == (None if taken else "UnknownGraphError")
    if not taken:
        with pytest.raises(UnknownGraphError) as mine:
            checked(content, BUNDLES)
        assert parts("walk", file=str(path))["why"] == str(mine.value)


def test_odd_shapes_and_names_end_alike(parts: Parts, tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    for by in (80, 0):
        path.write_bytes(divided(by, "Mod"))
        assert ("refused" in parts("walk", file=str(path), detector=True)) == (by == 0)
    for shape in ([0, 2**62], [2**62, 0], [2**40, 2**40, 0]):
        tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=shape, raw_data=b"")
        content = changed(lambda model, one=tensor: model.graph.initializer.append(one))
        assert same(parts, path, content, str(shape)) == "NotOnnxError"
    unnamed = onnx.helper.make_node("Concat", ["crop_index"] * 2, [""], axis=0)
    assert same(parts, path, changed(with_node(unnamed)), "no name") is None


def test_mutants_end_alike(parts: Parts, tmp_path: Path) -> None:
    """A short part of the campaigns, without engines: both walls say the same of every one."""
    mutator, outcomes = Graphs(), set()
    for number in range(160):
        draw = random.Random(number)
        name = GRAPHS[number % 4]
        if number % 2:
            content = flipped(draw, files()[name])
        elif number % 4:
            content = draw.choice(ENCODINGS)[1](draw, files()[name])
        else:
            folder = tmp_path / str(number)
            folder.mkdir()
            mutator.make(5 + 2 * number, folder)  # its structure is changed
            (changed_file,) = (one for one in folder.glob("*.onnx") if not one.is_symlink())
            content = changed_file.read_bytes()
        outcomes.add(same(parts, tmp_path / "g.onnx", content, f"{number}, {name}"))
    assert outcomes == {None, "NotOnnxError", "UnknownGraphError"}


def manifest(parts: Parts, content: Any) -> bool:
    """Whether both runtimes take a manifest; they must agree."""
    text = json.dumps(content)
    try:
        parse_manifest(text.encode())
        mine = True
    except BundleError:
        mine = False
    try:
        theirs = bool(parts("manifest", document=text))
    except PartsError as error:
        assert error.kind == "BundleError"
        theirs = False
    assert mine == theirs, f"taken in Python: {mine}, in C++: {theirs}"
    return mine


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_manifests_are_refused(parts: Parts, kind: str) -> None:
    edited = document()
    WRONG[kind](edited)
    assert not manifest(parts, edited)


def test_good_manifests_are_taken(parts: Parts) -> None:
    assert manifest(parts, document())
    assert manifest(parts, document() | {"future": {"anything": 1}, "presence": None})
    assert manifest(parts, document() | {"tiles": {"scales": [1, 8], "overlap": 0, "presence_threshold": 1}})


def test_texts_and_models_that_python_refuses(parts: Parts) -> None:
    assert manifest(parts, document() | {"description": "\u00fc" * 4096})
    assert not manifest(parts, document() | {"description": "\u00fc" * 4097})
    assert not manifest(parts, document() | {"description": None})
    assert not manifest(parts, document() | {"model": None})
    assert manifest(parts, {key: value for key, value in document().items() if key not in ("model", "description")})


def test_domains_are_checked_alike(parts: Parts) -> None:
    feature = next(one for one in document()["features"] if one["shape"])
    weights = [0.5] * (2 * feature["shape"][-1])
    right = {"name": "photographs", "description": "Of streets.", "test": None}
    test = {"weights": {feature["name"]: weights}, "bias": -1.5}
    for domain, taken in (
        (right, True),
        (right | {"test": test}, True),
        (right | {"test": test | {"weights": {feature["name"]: weights[1:]}}}, False),
        (right | {"test": test | {"weights": {"of_tomorrow": weights}}}, False),
        (right | {"test": test | {"weights": {}}}, False),
        (right | {"test": test | {"bias": "1"}}, False),
        ({}, False),
        ({"name": "photographs"}, False),
    ):
        assert manifest(parts, document() | {"domain": domain}) == taken


def test_any_value_anywhere_ends_alike(parts: Parts) -> None:
    values = (None, True, -1, 0, 1, 2.5, 1e30, "", "x", [], {}, [1, 2, 3], ["a"], {"a": 1})
    draw, taken, known = random.Random(5), 0, [one for one in document() if one not in FOR_PEOPLE]
    for _ in range(400):
        edited: Any = document()
        del edited["license"]["notes"]  # for people too
        place: Any = edited
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            keys = known if place is edited else keys
            key = draw.choice(keys)
            if not isinstance(place[key], (dict, list)) or not place[key] or draw.random() < 0.3:
                break
            place = place[key]
        place[key] = draw.choice(values)
        taken += manifest(parts, edited)
    assert 20 < taken < 380


def snapshot(folder: Path, source: Path) -> Path:
    """A bundle as the cache of a hub keeps it: a folder of links to files that are named by their content."""
    blobs, revision = folder / "blobs", folder / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    revision.mkdir(parents=True)
    for path in source.iterdir():
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        (revision / path.name).symlink_to(f"../../blobs/{digest}")
    return revision


def test_a_folder_of_links_is_a_bundle(tmp_path: Path) -> None:
    folder = snapshot(tmp_path / "hub", TINY)
    (tmp_path / "link").symlink_to(folder)
    areas = []
    for path in (TINY, folder, tmp_path / "link"):
        segmenter = CSegmenter(path)
        areas.append(int(segmenter(SCENE, ["red"]).masks.sum()))
        segmenter.close()
    assert areas == [140] * 3


@pytest.mark.parametrize("name", ["trunk.onnx", "vision.weights", "tokenizer.json", "manifest.json"])
def test_links_to_what_is_no_such_file_are_refused(tmp_path: Path, name: str) -> None:
    folder = snapshot(tmp_path / "hub", TINY)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "other").write_bytes((folder / name).read_bytes() + b" ")
    for target in (tmp_path / "pipe", tmp_path, tmp_path / "none", folder / name, "/dev/zero", tmp_path / "other"):
        if name == "manifest.json" and target == tmp_path / "other":
            continue  # nothing states what it must be
        (folder / name).unlink()
        (folder / name).symlink_to(target)
        with pytest.raises(CError):
            CSegmenter(folder)


def test_a_presence_graph_that_nothing_uses_is_not_loaded(tmp_path: Path) -> None:
    """It is verified like every file, and no engine sees it: its inputs are none that there are."""
    folder = make_opaque_bundle(tmp_path / "opaque.clsclip", presence=None)
    one = onnx.helper.make_tensor_value_info("of_tomorrow", onnx.TensorProto.FLOAT, [1])
    other = onnx.helper.make_tensor_value_info("presence", onnx.TensorProto.FLOAT, ["c", "k"])
    node = onnx.helper.make_node("Add", ["of_tomorrow", "of_tomorrow"], ["presence"])
    graph = onnx.helper.make_graph([node], "unused", [one], [other])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "presence.onnx")
    document = json.loads((folder / "manifest.json").read_text("utf-8"))
    sign(folder, document)
    assert document["presence"] is None and "presence.onnx" in document["files"]
    same_results(folder).close()


def stem_bundle(folder: Path, **changes: bool) -> Path:
    """A bundle whose stem gives nothing but zeros, so that masks tell whether it ran."""
    make_bundle(folder, stem_graph=True, **changes)
    shutil.copy(TINY / "tokenizer.json", folder)
    shutil.copy(TINY / "text_encoder.onnx", folder)
    model = onnx.load(folder / "stem.onnx", load_external_data=False)
    for node in model.graph.node:
        if "stem_tokens" in node.output:
            node.output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Sub", ["before", "before"], ["stem_tokens"]))
    (folder / "stem.onnx").write_bytes(model.SerializeToString())
    sign(folder, json.loads((folder / "manifest.json").read_text("utf-8")))
    return folder


def test_the_stem_is_used_where_presence_is_not_asked(tmp_path: Path) -> None:
    folder = stem_bundle(tmp_path / "stem")
    for usual in (0, 1):
        cpp = CSegmenter(folder, presence_filter=usual)
        for asked in (0, 1, 0):
            found = cpp(SCENE, ["red"], presence_filter=asked)
            assert np.isnan(found.presence).all() == (asked == 0)
            assert (int(found.masks.sum()) == 140) == (asked == 1)
        cpp.close()


def test_a_stem_that_lacks_what_the_trunk_takes_is_not_used(tmp_path: Path) -> None:
    cpp = CSegmenter(stem_bundle(tmp_path / "stem", trunk_takes_patch_features=True), presence_filter=0)
    assert int(cpp(SCENE, ["red"]).masks.sum()) == 140
    cpp.close()
