"""Export: parity with PyTorch, one weights file, nothing half-written; and the runtime on what was written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from clsclip.checkpoint import load_checkpoint, save_checkpoint
from clsclip.model import ClsClip
from clsclip.reproduce.naming import normalise
from clsclip.tower_files import save_towers
from clsclip_export import bundle as bundle_module
from clsclip_export.bundle import write_bundle
from clsclip_export.detector import DetectorSource, prepared_detector
from clsclip_export.errors import ParityError
from clsclip_export.manifest import TEMPLATES
from clsclip_export.options import BundleOptions
from clsclip_export.parity import TOLERANCE
from clsclip_export.profiles import Profile
from clsclip_export.weights import WEIGHTS_FILE
from clsclip_runtime import Bundle, OutputError
from clsclip_runtime.bundle.specs import TilesSpec
from clsclip_runtime.errors import BundleError
from tests.runtime.detectors.doubles import save_onnx
from tests.tiny import tiny_config, tiny_model, tiny_towers

VARIANTS = {"exact": (), "both": ("text_token", "similarity")}


def make_checkpoint(folder: Path, inputs: tuple[str, ...] = ()) -> Path:
    save_towers(tiny_towers(), tiny_config(), folder / "towers")
    path = folder / "last.safetensors"
    save_checkpoint(tiny_model(decoder_inputs=inputs), path, "towers", {"steps": 1, "description": "A test."})
    return path


@pytest.fixture(scope="module", params=["exact", pytest.param("both", marks=pytest.mark.slow)])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ClsClip, Path]:
    folder = tmp_path_factory.mktemp("export")
    model, header = load_checkpoint(make_checkpoint(folder, VARIANTS[request.param]))
    out = folder / "tiny.clsclip"
    with prepared_detector(
        DetectorSource(save_onnx(folder / "mine.onnx", np.zeros((1, 6, 84))), ["a", "b"])
    ) as detector:
        parity = write_bundle(model, header, out, BundleOptions("tiny", detector=detector, tiles_presence=0.7))
    assert {(row.crops, row.classes, row.pairs) for row in parity} == set(Profile().batches())
    assert max(row.difference for row in parity) <= TOLERANCE
    return model, out


def test_bundle_is_whole_and_shares_weights(exported: tuple[ClsClip, Path]) -> None:
    model, out = exported
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert set(manifest["files"]) == {path.name for path in out.iterdir()} - {"manifest.json"}
    assert manifest["model"]["variant"] == model.config.variant
    shared = (out / WEIGHTS_FILE).stat().st_size
    alone = sum(p.numel() * 4 for name, p in model.named_parameters() if not name.startswith("towers.text"))
    assert shared < 1.05 * alone, "a weight of several graphs must be stored once"
    inputs = [value.name for value in onnx.load(out / "segmenter.onnx", load_external_data=False).graph.input]
    assert inputs == ["pixel_values", "text_tokens", "crop_index", "class_index"]
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".tiny")]


def test_a_detector_comes_along(exported: tuple[ClsClip, Path]) -> None:
    found = Bundle.open(exported[1]).manifest.detector
    assert found is not None
    assert (found.output_format, found.names) == ("yolov8", ("a", "b"))


def test_tiles_are_written(exported: tuple[ClsClip, Path]) -> None:
    assert Bundle.open(exported[1]).manifest.tiles == TilesSpec((3,), 0.25, 0.7)


def test_runtime_draws_what_pytorch_computes(exported: tuple[ClsClip, Path]) -> None:
    from clsclip_runtime import Segmenter

    model, out = exported
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    words = ["dog", "potted plant", "犬"]
    with Segmenter.load(out) as segmenter:
        result = segmenter(pixels, classes=words, presence_threshold=0)
        alone = segmenter(pixels, classes=words, presence_filter=False)
        manifest = segmenter.bundle.manifest
    reads_features = model.decoder.similarity is not None
    assert ("stem.onnx" in manifest.files) != reads_features, "the stem is enough for the paper's exact form"
    assert (manifest.image_features("trunk") == ("stem_tokens",)) != reads_features
    with torch.no_grad():
        values = normalise(torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0), model.towers.image)
        tokens, features = model.encode_words([TEMPLATES[0].format(word) for word in words])
        logits = model(values, tokens, torch.zeros(3, dtype=torch.int64), torch.arange(3))
        _, image, patches = model.encode_image(values)
        presence = model.presence(image, patches, features)[0]
    np.testing.assert_allclose(result.logits, logits.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(alone.logits, logits.numpy(), atol=TOLERANCE)
    assert [alone[word].presence for word in words] == [None] * 3
    np.testing.assert_allclose([result[word].presence for word in words], presence.numpy(), atol=TOLERANCE)
    upsampled = torch.nn.functional.interpolate(logits[None], size=(32, 32), mode="bilinear", align_corners=False)[0]
    sure = upsampled.abs() > 1e-3
    assert np.array_equal(result.masks[sure.numpy()], (upsampled > 0).numpy()[sure.numpy()])


def existing(tmp_path: Path) -> tuple[ClsClip, dict[str, Any], Path]:
    """A model, its header, and a folder of somebody's where its bundle is to go."""
    model, header = load_checkpoint(make_checkpoint(tmp_path))
    out = tmp_path / "kept.clsclip"
    out.mkdir()
    (out / "note").write_text("mine")
    return model, header, out


def test_existing_bundle_stays_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, header, out = existing(tmp_path)
    with pytest.raises(OutputError, match="--force"):
        write_bundle(model, header, out, BundleOptions("x"))
    assert (out / "note").read_text() == "mine"

    def fails(model: ClsClip) -> None:
        assert [path for path in tmp_path.iterdir() if path.name.startswith(".")], "it has begun"
        raise ParityError("wrong")

    monkeypatch.setattr(bundle_module, "export_graphs", fails)
    with pytest.raises(ParityError, match="wrong"):
        write_bundle(model, header, out, BundleOptions("x"), force=True)
    assert (out / "note").read_text() == "mine", "a failed export must not touch the bundle that stands"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.clsclip", "last.safetensors", "towers"]


def test_what_no_runtime_takes_is_refused_before_it_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, header, out = existing(tmp_path)
    monkeypatch.setattr(bundle_module, "verify", lambda *arguments: pytest.fail("minutes of checks"))
    with pytest.raises(BundleError, match=r"the new bundle would not open, so it was not kept.*name"):
        write_bundle(model, header, out, BundleOptions(" "), force=True)
    assert (out / "note").read_text() == "mine"


@pytest.mark.slow
def test_a_model_that_is_nan_replaces_nothing(tmp_path: Path) -> None:
    model, header, out = existing(tmp_path)
    torch.nn.init.constant_(model.decoder.head.bias, float("nan"))
    with pytest.raises(ParityError, match=r"segmenter\.onnx +mask_logits.*First tensor.*is NaN, in PyTorch too"):
        write_bundle(model, header, out, BundleOptions("x"), force=True)
    assert (out / "note").read_text() == "mine", "a failed export must not touch the bundle that stands"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.clsclip", "last.safetensors", "towers"]


def run_export(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clsclip_export.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def test_command_line(tmp_path: Path) -> None:
    ckpt = make_checkpoint(tmp_path)
    out = tmp_path / "cli.clsclip"
    about = ("--name", "mine", "--license", "MIT", "--description", "Knows squares.")
    done = run_export("--ckpt", str(ckpt), "--out", str(out), *about)
    assert done.returncode == 0, done.stderr
    assert "[ok] segmenter.onnx" in done.stdout
    # What it is at, from the first second, and nothing else.
    told = done.stderr.splitlines()
    assert told[0].startswith("loading ") and all(one.startswith(("loading", "exporting", "checking")) for one in told)
    manifest = Bundle.open(out).manifest
    assert (manifest.name, manifest.license, manifest.description) == ("mine", "MIT", "Knows squares.")
    again = run_export("--ckpt", str(ckpt), "--out", str(out))
    assert again.returncode == 2
    assert "--force" in again.stderr
    other = tmp_path / "other"
    save_towers(tiny_towers(seed=8), tiny_config(), other)
    wrong = run_export("--ckpt", str(ckpt), "--towers", str(other), "--out", str(tmp_path / "b"))
    assert wrong.returncode == 1
    assert "fingerprint" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert not (tmp_path / "b").exists()
    assert run_export("--ckpt", str(tmp_path / "none"), "--out", str(out)).returncode == 2
