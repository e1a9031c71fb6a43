"""Libraries are imported so that they report nothing, and what they say is told by its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from clsclip_runtime import libraries


def run(code: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in (*libraries.QUIET, "XDG_CACHE_HOME")}
    environment |= {"HOME": str(home), "CI": "", **variables}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)


def test_openvino_reports_nothing_unless_the_user_allows_it(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install openvino")
    pytest.importorskip("openvino_telemetry", reason="openvino without its reports")
    code = """
import sys
from clsclip_runtime.libraries import import_openvino
import_openvino()
# Nothing is sent from this test: where reports are allowed, its import alone is seen.
print("openvino_telemetry" in sys.modules, "openvino" in sys.modules)
"""
    assert run(code, tmp_path).stdout.split() == ["False", "True"]
    assert list(tmp_path.iterdir()) == []
    consent = tmp_path / "intel" / "openvino_telemetry"
    consent.parent.mkdir()
    consent.write_text("0")
    assert run(code, tmp_path).stdout.split() == ["False", "True"]
    consent.write_text("1")
    assert libraries_allow(tmp_path)
    consent.write_bytes(b"\xff")
    assert not libraries_allow(tmp_path)


def libraries_allow(home: Path) -> bool:
    code = "from clsclip_runtime import libraries; print(libraries._openvino_may_report())"
    return run(code, home).stdout == "True\n"


def test_variables_of_the_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in libraries.QUIET:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    libraries.be_quiet()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
    assert all(os.environ[name] == value for name, value in libraries.QUIET.items() if name.startswith(("HF", "YOLO")))


def test_half_of_onnxruntime_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left after one of two packages with the same files was removed can be imported, and has nothing."""
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(ImportError, match="two packages share them, and one was removed"):
        libraries.import_onnxruntime()


def test_an_onnxruntime_that_was_imported_before_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    told: list[str] = []
    fake = ModuleType("onnxruntime")
    fake.InferenceSession = object  # type: ignore[attr-defined]
    fake.disable_telemetry_events = lambda: told.append("off")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    libraries.import_onnxruntime()
    assert told == ["off"]
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    libraries.import_onnxruntime()
    assert told == ["off"], "the user wants it"


@pytest.mark.parametrize("cache", ["own", "off"])
def test_matplotlib_keeps_its_files_in_the_cache(cache: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    code = "import os, clsclip_runtime.libraries as l; print(l._matplotlib_folder())"
    folder = Path(run(code, tmp_path, CLSCLIP_CACHE="off" if cache == "off" else str(tmp_path / cache)).stdout.strip())
    if cache == "off":
        assert not folder.is_relative_to(tmp_path) and not folder.exists(), "it goes with the process"
    else:
        assert folder == tmp_path / "own" / "matplotlib" and folder.is_dir()


def test_of_a_long_reason_the_end_is_kept() -> None:
    reason = libraries.reason_of(ValueError("x" * 900 + "\n Unsupported model IR version: 99"))
    assert reason.startswith("... x") and reason.endswith("x Unsupported model IR version: 99")
    assert len(reason) == 404
    assert libraries.reason_of(ValueError(" a\n b ")) == "a b"
    assert libraries.reason_of(MemoryError()) == "MemoryError"
