"""Commands look up no name, write nothing outside of what they were asked for, and libraries print no line."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMAGE = ROOT / "examples" / "cluttered.png"
STICKERS = ROOT / "models" / "stickers"
ALONE = ["unshare", "--net", "--mount", "--map-root-user"]
STAYS = """
import sys, time
from clsclip_runtime.cli.infer import main
code = main(sys.argv[1:])
time.sleep(5)  # ONNX Runtime and OpenVINO report by threads of their own, within two seconds
sys.exit(code)
"""


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system gives no network of its own (unshare)")


def watch(tmp_path: Path, *command: str | Path, **variables: str) -> tuple[list[str], list[str], str]:
    """Names looked up, files in the home folder, and standard error."""
    home, report = tmp_path / "home", tmp_path / "names.txt"
    home.mkdir(exist_ok=True)
    kept = ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"HOME": str(home), "CLSCLIP_CACHE": str(tmp_path / "cache"), **variables}
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / one) for one in (".", "runtime", "export", "benchmarks"))
    asked = [*ALONE, sys.executable, "-m", "tests.watching", str(report), "1", *map(str, command)]
    done = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    files = [path.relative_to(home).as_posix() for path in sorted(home.rglob("*")) if path.is_file()]
    return report.read_text().split(), files, done.stderr


def infer(tmp_path: Path, backend: str, **variables: str) -> tuple[list[str], list[str], str]:
    options = [
        IMAGE,
        "--classes",
        "dog",
        "--backend",
        backend,
        "--out",
        tmp_path / "out",
        "--formats",
        "png,overlay,coco",
    ]
    return watch(tmp_path, sys.executable, "-c", STAYS, *options, **variables)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime-cpu", "openvino"])
def test_segmenting_is_quiet(backend: str, tmp_path: Path) -> None:
    if backend == "openvino" and find_spec("openvino") is None:
        pytest.skip("openvino is not installed: pip install openvino")
    assert infer(tmp_path, backend) == ([], [], "")


@pytest.mark.slow
def test_the_watch_sees_what_is_sent(tmp_path: Path) -> None:
    """Else the tests beside this one would pass whatever is sent."""
    code = (
        "import socket; from contextlib import suppress\nwith suppress(OSError): socket.getaddrinfo('seen.example', 1)"
    )
    names, files, _ = watch(
        tmp_path, sys.executable, "-c", f"{code}\nopen(__import__('os').environ['HOME'] + '/x', 'w')"
    )
    assert (names, files) == (["seen.example"], ["x"])


@pytest.mark.slow
@pytest.mark.parametrize("program", ["export", "evaluate", "draw", "plot"])
def test_training_and_export_are_quiet(program: str, tmp_path: Path) -> None:
    for package in ("torch", "open_clip", "onnxscript", "matplotlib"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    commands = {
        "export": ("clsclip_export.cli", "--ckpt", STICKERS / "last.safetensors", "--out", tmp_path / "a.clsclip"),
        "evaluate": ("clsclip.cli.evaluate", "run", "--help"),
        "draw": (
            *("clsclip.cli.evaluate", "attention", IMAGE, "dog", "--model", STICKERS / "last.safetensors"),
            *("--out", tmp_path / "a.png"),
        ),
        "plot": (
            *("clsclip_bench.cli", "--minutes", "0.05", "--backend", "onnxruntime-cpu", "--classes", "1"),
            *("--plot", tmp_path / "a.png"),
        ),
    }
    module, *options = commands[program]
    names, files, _ = watch(tmp_path, sys.executable, "-m", module, *options)
    assert (names, files) == ([], [])
