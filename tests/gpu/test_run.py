"""The GPU script: on a GPU nothing fails; without one it says what it skipped, and its own code is tried on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from clsclip_runtime.arrays import to_host
from clsclip_runtime.backends.cuda.driver import ask_driver
from clsclip_runtime.backends.tensorrt import backend as tensorrt
from clsclip_runtime.backends.tensorrt.backend import TensorRt, TensorRtGraph
from tests.gpu import checks
from tests.gpu.kept import kept
from tests.gpu.material import PATHS, Material, trunk_operations
from tests.gpu.run import main
from tests.runtime.backends.fakes import MACHINE, FakeCuda, FakeTensorRt, make_engine_bundle
from tests.runtime.tiny_bundle import paint

pytestmark = pytest.mark.usefixtures("user_cache")


def run(out: Path, *arguments: str) -> dict[str, dict[str, str]]:
    done = CliRunner().invoke(main, ["--out", str(out), *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    steps: dict[str, dict[str, str]] = json.loads(out.read_text("utf-8"))["steps"]
    return steps


@pytest.mark.skipif(bool(ask_driver().gpus), reason="there is a GPU here")
def test_without_a_gpu(tmp_path: Path) -> None:
    steps = run(tmp_path / "results" / "none.json", "--no-full-size")
    for name, step in steps.items():
        path = name.partition(",")[0]
        expected = "passed" if path == "onnxruntime-cpu" and "bf16" not in name else "skipped"
        assert step["status"] == expected, (name, step)
        assert expected == "passed" or step["reason"]
    assert "no bf16 kernels" in steps["onnxruntime-cpu, bf16, parity"]["reason"]
    assert {name.partition(",")[0] for name in steps} == {*PATHS, "torch"}
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["none.json"]


@pytest.mark.gpu
@pytest.mark.skipif(not ask_driver().gpus, reason="there is no GPU here")
def test_on_a_gpu(tmp_path: Path) -> None:
    steps = run(tmp_path / "gpu.json")
    assert any(step["status"] == "passed" and not name.startswith("onnxruntime-cpu") for name, step in steps.items())


def test_operations_of_a_pair(tmp_path: Path) -> None:
    """By hand: one product of T x d by d x n takes 2 T d n, a layer has 12 d^2 weights and two products of scores."""
    model = {"patch_size": 16, "width": 768, "layers": 12, "navigation_layers": [2, 3, 4]}
    (tmp_path / "manifest.json").write_text(json.dumps({"image": {"size": 224}, "model": model}), "utf-8")
    layer = 2 * 197 * (4 + 8) * 768 * 768 + 2 * (2 * 197 * 197 * 768)
    assert trunk_operations(tmp_path) == 12 * layer


def test_checks_find_what_is_wrong() -> None:
    import numpy as np

    right = np.linspace(-5, 5, 3 * 16 * 16, dtype=np.float32).reshape(3, 16, 16)
    assert checks.compare(right, right, 0.0, "fp32")["max_difference"] == 0
    for precision in ("fp32", "fp16"):
        for wrong in (right[::-1], right + 0.2, np.full_like(right, np.nan)):
            with pytest.raises(checks.WrongError, match="differs from the CPU"):
                checks.compare(wrong, right, 0.0, precision)


def test_what_is_checked_of_kept_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a made-up GPU: passes as things are, and fails where the encoder's outputs take the way through the host."""
    bundle = make_engine_bundle(tmp_path / "tiny.clsclip")
    image = paint({"red": (slice(1, 4), slice(1, 5))})
    material = Material({"fp32": bundle}, [image], [], 0.0)
    cuda = FakeCuda()
    monkeypatch.setattr(
        "tests.gpu.material.backend_of",
        lambda path: lambda bundle: TensorRt(FakeTensorRt(cuda).edition(), cuda=cuda, machine=MACHINE),
    )
    figures = kept("tensorrt", "fp32", material)
    assert figures["max_difference"] == 0
    assert figures["stays"] == ["stem_tokens", "image_features", "patch_features"]
    assert figures["crossed"]["on_device"] > 0
    put = tensorrt._placed
    with monkeypatch.context() as patched:
        patched.setattr(tensorrt, "_placed", lambda loaded, name, value: put(loaded, name, to_host(value)))
        with pytest.raises(checks.WrongError, match="bytes were copied, and at most"):
            kept("tensorrt", "fp32", material)
    monkeypatch.setattr(TensorRtGraph, "run_on_device", TensorRtGraph.run)
    with pytest.raises(checks.WrongError, match="came to the host"):
        kept("tensorrt", "fp32", material)
