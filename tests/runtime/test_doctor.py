"""clsclip-doctor tells the truth: of this machine, and of machines that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import clsclip_runtime.doctor as doctor_module
from clsclip_runtime import Segmenter
from clsclip_runtime.backends import select
from clsclip_runtime.backends.cuda.driver import Driver, Gpu, ask_driver
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition
from clsclip_runtime.cli.doctor import command, main
from clsclip_runtime.doctor import Finding, examine
from clsclip_runtime.errors import BackendError
from clsclip_runtime.protocols import GraphFile
from tests.runtime.tiny_bundle import AUTO_HERE, make_bundle

from .backends.fakes import MACHINE, VERSION, write_engine

pytestmark = pytest.mark.usefixtures("user_cache")

H200 = Driver("13.0", (Gpu("NVIDIA H200", "9.0", 141 << 30),), None)


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, [*arguments], standalone_mode=False, catch_exceptions=False)
    return int(done.return_value), done.output


def findings(bundle: Path) -> dict[tuple[str, str], Finding]:
    return {(one.group, one.name): one for one in examine(bundle)}


def test_this_machine(bundle: Path) -> None:
    code, output = run("--model", str(bundle))
    assert code == 0
    for name in select.BACKENDS:
        assert sum(line.split()[1:2] == [name] for line in output.splitlines() if line.startswith("  ")) >= 1, name
    assert "ok   onnxruntime-cpu         segmented a picture in" in output
    if not ask_driver().gpus:
        assert "fail tensorrt                TensorRT needs an NVIDIA GPU" in output
        assert output.rstrip().endswith(f"{AUTO_HERE} is what auto takes here.")
        assert run("--model", str(bundle), "--backend", "tensorrt")[0] == 1
    assert run("--model", str(bundle), "--backend", "onnxruntime-cpu")[0] == 0


def test_json(bundle: Path) -> None:
    code, output = run("--model", str(bundle), "--json")
    document = json.loads(output)
    assert code == 0
    assert "onnxruntime-cpu" in document["works"]
    assert {one["group"] for one in document["findings"]} == set(doctor_module.GROUPS)
    assert all(one["state"] in ("ok", "fail", "info") for one in document["findings"])


def test_bad_bundles_and_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "none")]) == 1
    assert "no such bundle" in capsys.readouterr().out
    damaged = make_bundle(tmp_path / "damaged.clsclip")
    (damaged / "trunk.onnx").write_bytes(b"x")
    assert main(["--model", str(damaged)]) == 1
    assert "trunk.onnx" in capsys.readouterr().out
    assert main(["--backend", "cuda"]) == 2
    half = make_bundle(tmp_path / "bf16.clsclip", edit=lambda document: document.update(precision="bf16"))
    assert main(["--model", str(half)]) == 0, "its graphs are FP32 all the same"


def test_a_machine_with_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> TensorRtEdition:
        if name == "tensorrt":
            return TensorRtEdition(name, None, VERSION)
        raise BackendError("tensorrt-rtx is not installed (x). Run: pip install tensorrt-rtx-cu13")

    monkeypatch.setattr(doctor_module, "ask_driver", lambda: H200)
    monkeypatch.setattr(doctor_module, "find_edition", find)
    monkeypatch.setattr(doctor_module, "driver_version", lambda: "580.1")
    bundle = make_bundle(tmp_path / "tiny.clsclip")
    fits = write_engine(bundle / "trunk.onnx")
    write_engine(bundle / "image_encoder.onnx", version="10.13.0.1")
    write_engine(bundle / "presence.onnx", gpu="NVIDIA A100", compute_capability="8.0")
    write_engine(bundle / "text_encoder.onnx", edition="tensorrt-rtx", gpu="any", compute_capability="any")
    found = findings(bundle)
    gpu = found["machine", "NVIDIA H200"]
    assert (gpu.state, gpu.detail) == ("ok", "141 GiB, compute capability 9.0, CUDA up to 13.0, driver 580.1")
    assert found["TensorRT", "tensorrt-rtx"].fix == "pip install tensorrt-rtx-cu13"
    assert found["engines", "trunk.onnx fp32"].state == "ok"
    assert f"fits {MACHINE}" in found["engines", "trunk.onnx fp32"].detail
    for name, reason in (
        ("image_encoder.onnx", "built by tensorrt 10.13.0.1"),
        ("presence.onnx", "for NVIDIA A100 (sm_80)"),
    ):
        one = found["engines", f"{name} fp32"]
        assert one.state == "fail"
        assert reason in one.detail
        assert one.fix == f"clsclip-export --from-bundle {bundle} --engine tensorrt"
    assert "needs tensorrt-rtx 10.16.1.11, which is not installed" in found["engines", "text_encoder.onnx fp32"].detail
    fits.write_bytes(fits.read_bytes()[:-1])
    one = findings(bundle)["engines", "trunk.onnx fp32"]
    assert one.state == "fail"
    assert "damaged" in one.detail


def test_backends_are_tried_and_not_guessed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(threads: int | None) -> Any:
        class Breaks(OnnxRuntimeCpu):
            def load(self, file: GraphFile) -> Any:
                raise BackendError(f"{file.path.name} does not load. Run: fix it")

        return Breaks()

    monkeypatch.setitem(select.BACKENDS, "onnxruntime-cuda", breaks)
    one = findings(bundle)["backends", "onnxruntime-cuda"]
    assert (one.state, one.fix) == ("fail", "fix it"), "it can be made, and still does not run the bundle"
    broken = ("onnxruntime-cuda", "openvino", "onnxruntime-cpu")
    for name in broken:
        monkeypatch.setitem(select.BACKENDS, name, breaks)
    code, output = run("--model", str(bundle))
    assert code == 1
    assert output.splitlines()[-1] == "Nothing here runs this bundle."
    assert output.count("does not load") == len(broken), "each by its own reason"


def test_the_cache_is_measured_and_cleared(bundle: Path, user_cache: Path) -> None:
    with Segmenter.load(bundle, backend="onnxruntime-cpu") as segmenter:
        segmenter(np.zeros((32, 32, 3), np.uint8), ["cat"])
    plan = write_engine(bundle / "trunk.onnx")
    mine = user_cache / "words" / "mine.txt"
    mine.write_text("not of this program", "utf-8")
    words = sum(path.stat().st_size for path in (user_cache / "words").glob("*.sqlite*"))
    assert words > 0
    found = {one.name: one.detail for one in doctor_module.cache()}
    assert found["words"] == f"{user_cache / 'words'}, {words / 2**20:.1f} MiB"
    code, output = run("--clear-cache", "words", "--clear-cache", "engines", "--json")
    removed = json.loads(output)["removed_bytes"]
    assert code == 0
    assert removed["words"] == words
    assert removed["engines"] > 0
    assert not plan.exists()
    assert list((user_cache / "words").iterdir()) == [mine]
    assert run("--clear-cache", "words") == (0, f"words: removed 0 files, 0.0 MiB ({user_cache / 'words'})\n")


def test_without_a_cache_nothing_is_kept_or_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLSCLIP_CACHE", "off")
    assert [one.detail for one in doctor_module.cache()] == ["none is kept (CLSCLIP_CACHE=off, or no home folder)"] * 2
    assert run("--clear-cache", "words") == (0, "words: removed 0 files, 0.0 MiB (there is no cache)\n")
