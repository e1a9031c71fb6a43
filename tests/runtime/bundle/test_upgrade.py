"""Bundles of 0.1 upgraded: the same arrays bit for bit, nothing half-written, the old one left alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image
from tokenizers import Tokenizer

from clsclip_runtime import Bundle, Segmenter
from clsclip_runtime.bundle.upgrade import upgrade_bundle
from clsclip_runtime.cli.bundle import main
from clsclip_runtime.errors import BundleError, OptionError, OutputError
from clsclip_runtime.renamed import old_names
from tests.manifest_schema import faults
from tests.runtime.bundle.schema1 import BOX, CONTEXT, SIDE, SIZE, make_schema1

WORDS = ["red", "green", "blue"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return make_schema1(tmp_path / "old.clsclip")


def content(folder: Path) -> dict[str, str]:
    """Digest of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def document_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return found


def image() -> npt.NDArray[np.uint8]:
    """Plain blocks and noise, twice the encoder's size."""
    pixels = np.random.default_rng(0).integers(0, 256, (2 * SIZE, 2 * SIZE, 3), dtype=np.uint8)
    pixels[8:32, 8:40] = (255, 0, 0)
    pixels[40:56, 16:32] = (0, 255, 0)
    return pixels


def run_graphs(folder: Path, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Presence (K,) and logits (K, h, w) as the graphs of an old bundle give them, run by hand."""

    def run(name: str, **feeds: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        given = {one.name: feeds[one.name] for one in session.get_inputs()}
        return dict(zip([one.name for one in session.get_outputs()], session.run(None, given), strict=True))

    mean, std = (np.float32(value)[:, None, None] for value in ([0.5, 0.4, 0.3], [0.25, 0.2, 0.3]))
    resized = np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    pixels = (resized.transpose(2, 0, 1).astype(np.float32) / np.float32(255) - mean) / std
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=CONTEXT, pad_id=0)
    ids = [one.ids for one in tokenizer.encode_batch([f"a picture of {word}" for word in WORDS])]
    text = run("text_encoder", token_ids=np.asarray(ids, np.int64))
    encoded = run("image_encoder", pixel_values=np.ascontiguousarray(pixels[None]))
    presence = run("gate", **encoded, **text)["presence"]
    index = np.arange(len(WORDS))
    return presence[0], run("trunk", **encoded, **text, crop_index=0 * index, class_index=index)["mask_logits"]


def test_an_upgraded_bundle_gives_the_same_arrays(old: Path, tmp_path: Path) -> None:
    before = content(old)
    assert upgrade_bundle(old, tmp_path / "new.clsclip") == []
    assert content(old) == before
    presence, logits = run_graphs(old, image())
    with Segmenter.load(tmp_path / "new.clsclip", backend="onnxruntime-cpu", word_cache=False) as segmenter:
        everything = segmenter(image(), WORDS, presence_threshold=0)
        usual = segmenter(image(), WORDS)
    assert [everything[word].presence for word in WORDS] == presence.tolist()
    np.testing.assert_array_equal(everything.logits, logits)
    # 0.1 drew the classes at or above its threshold of 0.9, which stands in the manifest still.
    drawn = [word for word, score in zip(WORDS, presence, strict=True) if score >= np.float32(0.9)]
    assert [word for word in WORDS if usual[word].status == "found"] == drawn == ["red", "green"]


def test_every_file_is_the_old_one(old: Path, tmp_path: Path) -> None:
    upgrade_bundle(old, tmp_path / "new.clsclip")
    before, after = content(old), content(tmp_path / "new.clsclip")
    assert before.pop("manifest.json") != after.pop("manifest.json")
    before["presence.onnx"] = before.pop("gate.onnx")
    assert after == before


def test_the_manifest_says_what_0_1_had_built_in(old: Path, tmp_path: Path) -> None:
    upgrade_bundle(old, tmp_path / "new.clsclip")
    document = document_of(tmp_path / "new.clsclip")
    assert document["schema_version"] == 2
    assert document["upgraded_from"] == {"schema_version": 1, "clsclip_version": "0.1.0"}
    assert document["license"] == {"weights": "Apache-2.0", "notes": ["made by hand"]}
    assert document["provenance"]["license"] == {"weights": "Apache-2.0", "notes": []}
    assert document["image"]["interpolation"] == "bicubic"
    assert document["presence"] == {"from": "filter", "form": "probability", "threshold": 0.9}
    # The presence graph does not read image_features, so no runtime need keep them.
    assert document["features"] == [
        {"name": "stem_tokens", "shape": [65, 3], "dtype": "float32", "needed_by": ["trunk"]},
        {"name": "patch_features", "shape": [64, 3], "dtype": "float32", "needed_by": ["presence"]},
    ]
    text = {"shape": [3], "dtype": "float32"}
    assert document["text"]["features"] == [
        {"name": "text_tokens", **text, "needed_by": ["trunk"], "unit_norm": False},
        {"name": "text_features", **text, "needed_by": ["presence"], "unit_norm": True},
    ]
    assert document["text"]["matching"] == "text_features"
    # By hand: 4 * (20 T d + 2 T T + h w (d // 2)), one head of width 32, 65 tokens of width 3, 8 x 8 logits.
    assert document["memory"] == {
        "crop_bytes": 2 * 3 * 32 * 32 * 4 + 4 * (20 * 65 * 3 + 2 * 65 * 65 + 1),
        "pair_bytes": 4 * (20 * 65 * 3 + 2 * 65 * 65 + 64),
        "presence_pair_bytes": 4 * 4 * 65,
        "word_bytes": 4 * (20 * 8 * 3 + 2 * 8 * 8 + 1),
    }
    assert document["profile"] == {"crops": [1, 1, 4], "classes": [1, 8, 64], "pairs": [1, 8, 32]}
    assert document["graphs"]["trunk.onnx"]["outputs"] == [
        {"name": "mask_logits", "dtype": "float32", "shape": ["P", 8, 8]}
    ]
    assert document["parity"]["max_difference"] == {"presence.onnx:presence": 1e-7, "trunk.onnx:mask_logits": 2e-6}
    for old_key in ("filter", *(one.rpartition(".")[2] for one in old_names("manifest")), *old_names("files")):
        assert f'"{old_key}' not in json.dumps({**document, "presence": None})


def test_a_bundle_without_presence(tmp_path: Path) -> None:
    old = make_schema1(tmp_path / "old.clsclip", presence=False, model={})
    upgrade_bundle(old, tmp_path / "new.clsclip")
    document = document_of(tmp_path / "new.clsclip")
    assert document["presence"] is None
    assert document["memory"]["presence_pair_bytes"] == 0
    # 0.1 took a model that states nothing for one with patches of 14 and a width of 1024: 5 tokens, 32 heads.
    assert document["memory"]["crop_bytes"] == 2 * 3 * 32 * 32 * 4 + 4 * (20 * 5 * 1024 + 2 * 32 * 5 * 5 + 512)
    with Segmenter.load(tmp_path / "new.clsclip", backend="onnxruntime-cpu", word_cache=False) as segmenter:
        result = segmenter(image(), WORDS)
    make_schema1(tmp_path / "with.clsclip")
    _, logits = run_graphs(tmp_path / "with.clsclip", image())
    np.testing.assert_array_equal(result.logits, logits)


def test_a_presence_graph_without_threshold_is_left_out_and_said(tmp_path: Path) -> None:
    old = make_schema1(tmp_path / "old.clsclip", edit=lambda document: document.update(presence=None))
    notes = upgrade_bundle(old, tmp_path / "new.clsclip")
    assert len(notes) == 1 and "gate.onnx was left out" in notes[0]
    assert not list((tmp_path / "new.clsclip").glob("*e.onnx"))


def test_a_detector_keeps_its_boxes(tmp_path: Path) -> None:
    old = make_schema1(tmp_path / "old.clsclip", detector=True)
    upgrade_bundle(old, tmp_path / "new.clsclip")
    detector = document_of(tmp_path / "new.clsclip")["detector"]
    assert {key: detector[key] for key in ("output_format", "channel_order", "input_scale", "letterbox")} == {
        "output_format": "yolov8",
        "channel_order": "rgb",
        "input_scale": 1.0,
        "letterbox": "center",
    }
    assert (detector["class_agnostic"], detector["license"], detector["source"]) == (False, "none", "made.onnx")
    image = np.zeros((SIDE // 2, SIDE, 3), np.uint8)  # lies in the middle rows of the detector's input
    with Segmenter.load(tmp_path / "new.clsclip", backend="onnxruntime-cpu", word_cache=False) as segmenter:
        assert segmenter.detector is not None
        found = segmenter.detector.batch([image], 0.5)[0]
    left, top, right, bottom = BOX
    np.testing.assert_allclose(found.boxes, [[left, top - SIDE / 4, right, bottom - SIDE / 4]])
    assert [found.names[at] for at in found.classes] == ["red"]


@pytest.mark.parametrize("options", [{}, {"detector": True}, {"presence": False}, {"model": {}}])
def test_what_comes_out_is_by_the_schema(tmp_path: Path, options: dict[str, Any]) -> None:
    upgrade_bundle(make_schema1(tmp_path / "old.clsclip", **options), tmp_path / "new.clsclip")
    assert faults(document_of(tmp_path / "new.clsclip")) == []


def damage(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (lambda folder: damage(folder, "trunk.onnx"), r"trunk\.onnx in .* is damaged"),
    "a short file": (lambda folder: (folder / "vision.weights").write_bytes(b""), r"vision\.weights in .* is damaged"),
    "a missing file": (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json in .* is missing"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), r"has no manifest\.json"),
    "no JSON": (lambda folder: (folder / "manifest.json").write_text("{"), "not valid JSON"),
    "another JSON": (lambda folder: (folder / "manifest.json").write_text("[]"), "states no schema version"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_bundle_is_refused_and_nothing_is_written(old: Path, tmp_path: Path, kind: str) -> None:
    spoil, message = DAMAGE[kind]
    spoil(old)
    with pytest.raises(BundleError, match=message):
        upgrade_bundle(old, tmp_path / "new.clsclip")
    assert [one.name for one in tmp_path.iterdir()] == ["old.clsclip"]


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "schema 2": (lambda document: document.update(schema_version=2), "schema version 2 already"),
    "schema 3": (lambda document: document.update(schema_version=3), "Upgrade clsclip"),
    "a path outside": (
        lambda document: document["files"].update({"../old.clsclip/trunk.onnx": document["files"]["trunk.onnx"]}),
        "not a plain path",
    ),
    "no image": (lambda document: document.pop("image"), "'image'"),
    "no size": (lambda document: document["image"].pop("size"), r"'image\.size'"),
    "files as a list": (lambda document: document.update(files=[]), "'files'"),
    "a mean of two": (lambda document: document["image"].update(mean=[1, 2]), r"image\.mean"),
    "no threshold": (lambda document: document["presence"].pop("threshold"), r"presence\.threshold"),
    "no trunk": (lambda document: document["files"].pop("trunk.onnx"), r"no trunk\.onnx"),
    "no presence graph": (lambda document: document["files"].pop("gate.onnx"), r"no gate\.onnx"),
}


@pytest.mark.parametrize("kind", EDITS)
def test_a_wrong_manifest_is_refused_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    edit, message = EDITS[kind]
    old = make_schema1(tmp_path / "old.clsclip", edit=lambda document: [edit(document), None][1])
    with pytest.raises(BundleError, match=message):
        upgrade_bundle(old, tmp_path / "new.clsclip")
    assert [one.name for one in tmp_path.iterdir()] == ["old.clsclip"]


def test_a_link_out_of_the_bundle_is_refused(old: Path, tmp_path: Path) -> None:
    (old / "trunk.onnx").rename(tmp_path / "trunk.onnx")
    (old / "trunk.onnx").symlink_to(tmp_path / "trunk.onnx")
    with pytest.raises(BundleError, match="leaves the bundle's folder"):
        upgrade_bundle(old, tmp_path / "new.clsclip")


def test_what_exists_is_replaced_only_by_force(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.clsclip"
    new.mkdir()
    (new / "mine").write_text("kept")
    with pytest.raises(OutputError, match="--force"):
        upgrade_bundle(old, new)
    assert (new / "mine").read_text() == "kept"
    damage(old, "trunk.onnx")
    with pytest.raises(BundleError):
        upgrade_bundle(old, new, force=True)
    assert (new / "mine").read_text() == "kept"
    damage(old, "trunk.onnx")
    upgrade_bundle(old, new, force=True)
    assert Bundle.open(new).manifest.name == "old"
    assert not (new / "mine").exists()


@pytest.mark.parametrize("where", [".", "inside", ".."])
def test_the_old_bundle_is_never_overwritten(old: Path, where: str) -> None:
    before = content(old)
    with pytest.raises(OptionError, match="left as it is"):
        upgrade_bundle(old, old / where, force=True)
    assert content(old) == before


def test_the_command(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = str(tmp_path / "new.clsclip")
    assert main(["upgrade", str(old), new]) == 0
    assert "schema version 2" in capsys.readouterr().out
    assert main(["upgrade", str(old), new]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["upgrade", str(old), new, "--force"]) == 0
    assert main(["upgrade", new, str(tmp_path / "newer.clsclip")]) == 1
    assert "already" in capsys.readouterr().err
    assert main(["upgrade", str(old), str(old), "--force"]) == 2
    assert main(["upgrade", str(old)]) == 2
    assert Segmenter.load(new).bundle.manifest.name == "old"


def test_a_bundle_of_0_1_is_refused_with_the_command_that_upgrades_it(old: Path) -> None:
    with pytest.raises(BundleError, match="clsclip-bundle upgrade"):
        Bundle.open(old)
