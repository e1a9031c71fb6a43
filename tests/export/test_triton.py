"""Model repositories of Triton: what is in them. A real Triton runs them in tests/serve/test_triton.py."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import onnx
import pytest

from clsclip_export.cli import main
from clsclip_runtime import Segmenter
from clsclip_runtime.bundle.opening import EMBEDDED
from tests.runtime.backends.fakes import engines_of, write_engine
from tests.runtime.tiny_bundle import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("triton") / "tiny.clsclip")


def fields(config: Path) -> dict[str, list[str]]:
    """Values of the plain fields of a config.pbtxt."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"(\w+): (\"[^\"]*\"|\[[^\]]*\]|[\w.-]+)", config.read_text("utf-8")):
        found.setdefault(name, []).append(value.strip('"'))
    return found


def test_the_runtime_in_one_model(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "models"
    assert main(["--from-bundle", str(bundle), "--triton", str(out), "--triton-environment", "env"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["clsclip"]
    with Segmenter.load(out / "clsclip/1/bundle.clsclip") as one:
        assert one.bundle.manifest.name
    config = fields(out / "clsclip/config.pbtxt")
    assert config["backend"] == ["python"] and config["max_batch_size"] == ["8"]
    assert config["kind"] == ["KIND_CPU"] and "true" in config["allow_ragged_batch"]
    assert str(Path("env").absolute()) in config["string_value"]
    assert "RuntimeModel" in (out / "clsclip/1/model.py").read_text()
    assert main(["--from-bundle", str(bundle), "--triton", str(out)]) == 2
    assert main(["--from-bundle", str(bundle), "--triton", str(out), "--force", "--triton-gpu"]) == 0
    assert fields(out / "clsclip/config.pbtxt")["kind"] == ["KIND_GPU"]


def test_graphs_are_models_of_their_own(tmp_path: Path) -> None:
    out = tmp_path / "models"
    # A copy: weights get hard links, which onnx's own checker refuses, and the embedded model is read by other tests.
    copy = Path(shutil.copytree(EMBEDDED, tmp_path / "copy.clsclip"))
    assert main(["--from-bundle", str(copy), "--triton", str(out), "--triton-layout", "graphs"]) == 0
    names = {path.name for path in out.iterdir()}
    graphs = {"image_encoder", "text_encoder", "presence", "trunk"}
    assert names == {"clsclip", *(f"clsclip_{one}" for one in graphs)}
    batched = {"image_encoder": 8, "text_encoder": 8, "presence": 0, "trunk": 0}
    for graph in graphs:
        model = onnx.load(EMBEDDED / f"{graph}.onnx", load_external_data=False)
        config = fields(out / f"clsclip_{graph}/config.pbtxt")
        assert config["backend"] == ["onnxruntime"] and config["max_batch_size"] == [str(batched[graph])]
        values = [*model.graph.input, *model.graph.output]
        assert config["name"][1:] == [one.name for one in values]
        for one, dims in zip(values, config["dims"], strict=True):
            sides = [side.dim_value or -1 for side in one.type.tensor_type.shape.dim]
            assert json.loads(dims) == (sides[1:] if batched[graph] else sides)
        assert (out / f"clsclip_{graph}/1/model.onnx").read_bytes() == (EMBEDDED / f"{graph}.onnx").read_bytes()
    for graph in ("image_encoder", "trunk"):  # and no links, which ONNX Runtime refuses
        weights = out / f"clsclip_{graph}/1/vision.weights"
        assert not weights.is_symlink() and weights.stat().st_size == (EMBEDDED / "vision.weights").stat().st_size
    assert "FrontModel" in (out / "clsclip/1/model.py").read_text()


def test_engines_of_tensorrt(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSCLIP_CACHE", str(tmp_path / "cache"))
    own = shutil.copytree(bundle, tmp_path / "own.clsclip")
    engines = engines_of(own)
    options = ["--from-bundle", str(own), "--triton", str(tmp_path / "out"), "--triton-layout", "graphs"]
    options += ["--triton-platform", "tensorrt", "--triton-engines", str(engines)]
    plan = write_engine(own / "image_encoder.onnx")
    assert main(options) == 1
    assert "has no engine of this trunk.onnx" in capsys.readouterr().err and not (tmp_path / "out").exists()
    write_engine(own / "trunk.onnx", onnx={"trunk.onnx": "0" * 64})
    assert main(options) == 1
    assert "is of another bundle" in capsys.readouterr().err
    trunk = write_engine(own / "trunk.onnx")
    for name in {path.stem for path in own.glob("*.onnx")} & {"stem"}:
        write_engine(own / f"{name}.onnx")
    assert main(options) == 0
    assert (tmp_path / "out/clsclip_trunk/1/model.plan").read_bytes() == trunk.read_bytes()
    assert (tmp_path / "out/clsclip_image_encoder/1/model.plan").read_bytes() == plan.read_bytes()
    encoder = fields(tmp_path / "out/clsclip_image_encoder/config.pbtxt")
    assert encoder["platform"] == ["tensorrt_plan"] and encoder["kind"] == ["KIND_GPU"]
    with Segmenter.load(own) as one:
        profile = one.bundle.manifest.profile
    assert encoder["max_batch_size"] == [str(min(8, profile.crops[2]))]
    assert str(profile.pairs[2]) in fields(tmp_path / "out/clsclip/config.pbtxt")["string_value"]
    assert fields(tmp_path / "out/clsclip_text_encoder/config.pbtxt")["kind"] == ["KIND_CPU"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--triton", "x", "--ckpt", __file__], "exclude each other"),
        (["--triton-gpu"], "--triton"),
        (["--triton", "x", "--engine", "tensorrt"], "as it is"),
        (["--triton", "x", "--triton-platform", "tensorrt"], "--triton-engines"),
    ],
)
def test_wrong_use(bundle: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from-bundle", str(bundle), *options]) == 2
    assert re.search(told, capsys.readouterr().err)
