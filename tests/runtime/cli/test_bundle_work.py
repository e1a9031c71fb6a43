"""``clsclip-bundle inspect``, ``verify``, ``compare`` and ``edit``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from clsclip_runtime import Segmenter
from clsclip_runtime.bundle.opening import EMBEDDED, Bundle
from clsclip_runtime.cli.bundle import main
from tests.runtime.tiny_bundle import make_bundle, paint


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "one.clsclip")


def image(folder: Path) -> Path:
    path = folder / "p.png"
    Image.fromarray(paint({"red": (slice(1, 4), slice(1, 4)), "blue": (slice(5, 7), slice(4, 8))})).save(path)
    return path


def test_inspect(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "tiny" and found["licenses"] == {"weights": "Apache-2.0"}
    assert found["trust"] == "validation: mIoU 100.0, leakage 0.00 on 4 pictures"
    assert found["disk_bytes"] == sum(path.stat().st_size for path in bundle.iterdir() if path.name != "manifest.json")
    assert found["cost"]["ms_1_words"] > 0 and found["cost"]["ms_20_words"] > 0
    assert found["cost"]["peak_memory_bytes"] > 1 << 20
    assert main(["inspect", str(bundle), "--no-cost"]) == 0
    out = capsys.readouterr().out
    assert "licenses             weights Apache-2.0" in out and "cost" not in out


def test_inspect_names_the_licenses_of_all_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(
        tmp_path / "m", edit=lambda document: document["license"].update(parts={"detector.onnx": "AGPL-3.0"})
    )
    assert main(["inspect", str(bundle), "--no-cost"]) == 0
    assert "weights Apache-2.0, detector AGPL-3.0" in capsys.readouterr().out


def test_verify(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle)]) == 0
    assert "every one is what the manifest states" in capsys.readouterr().out
    trunk = bundle / "trunk.onnx"
    trunk.write_bytes(trunk.read_bytes()[:-1] + b"x")
    assert main(["verify", str(bundle)]) == 1
    assert "trunk.onnx" in capsys.readouterr().err


def test_edit_changes_what_a_runtime_reads(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Bundle.open(bundle)
    values = ("--name", "mine", "--license", "MIT", "--description", "Knows paint.", "--template", "a {}")
    thresholds = ("--mask-threshold", "0.7", "--presence-threshold", "0.25")
    assert main(["edit", str(bundle), *values, *thresholds]) == 0
    assert "mask threshold was 0.5 and is 0.7" in capsys.readouterr().out
    after = Bundle.open(bundle)
    manifest = after.manifest
    assert (manifest.name, manifest.license, manifest.description) == ("mine", "MIT", "Knows paint.")
    assert manifest.text.templates == ("a {}",) and manifest.mask.threshold == 0.7
    assert manifest.presence is not None and manifest.presence.threshold == 0.25
    assert manifest.raw["edited"][0]["mask_threshold"] == {"was": 0.5, "is": 0.7}
    assert after.fingerprint != before.fingerprint and manifest.files == before.manifest.files
    with Segmenter.load(bundle, "onnxruntime-cpu", word_cache=False) as segmenter:
        assert segmenter(paint({"red": (slice(1, 4), slice(1, 4))}), ["red"]).mask_threshold == 0.7
    assert main(["edit", str(bundle), "--name", "mine"]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert Bundle.open(bundle).fingerprint == after.fingerprint


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ((), 2, "Give what to change"),
        (("--mask-threshold", "1.5"), 2, "mask.threshold"),
        (("--mask-threshold", "nan"), 2, "cannot be stored"),
        (("--presence-threshold", "-1"), 2, "presence.threshold"),
        (("--template", "no place"), 2, "templates"),
        (("--name", ""), 2, "name"),
    ],
)
def test_what_cannot_be_stored_changes_nothing(
    options: tuple[str, ...], code: int, says: str, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (bundle / "manifest.json").read_bytes()
    assert main(["edit", str(bundle), *options]) == code
    assert says in capsys.readouterr().err
    assert (bundle / "manifest.json").read_bytes() == before


def test_the_embedded_model_is_not_edited(capsys: pytest.CaptureFixture[str]) -> None:
    before = (EMBEDDED / "manifest.json").read_bytes()
    assert main(["edit", str(EMBEDDED), "--name", "mine"]) == 2
    assert "belongs to the installation" in capsys.readouterr().err
    assert (EMBEDDED / "manifest.json").read_bytes() == before


def test_presence_that_is_not_there_cannot_be_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", str(make_bundle(tmp_path / "m", presence=False)), "--presence-threshold", "0.5"]) == 2
    assert "gives no presence" in capsys.readouterr().err


def test_compare(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_bundle(tmp_path / "two.clsclip", edit=lambda document: document["mask"].update(threshold=0.9))
    path = image(tmp_path)
    assert main(["compare", str(bundle), str(other), str(path), "--classes", "red,blue,green", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"] == [{"key": "mask.threshold", "first": 0.5, "second": 0.9}] and found["files"] == []
    (row,) = found["pictures"]
    assert row["words_marked"] == 2 and 0.3 < row["mean_iou"] < 1 and row["presence_difference"] == 0
    assert main(["compare", str(bundle), str(bundle), str(path), "--classes", "red,blue"]) == 0
    assert "all files are equal" in (out := capsys.readouterr().out) and "mean IoU 1.0000 of 2 words" in out
