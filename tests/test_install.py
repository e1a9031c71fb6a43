"""A plain install is the runtime alone: no torch, no onnx, and the embedded model works."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.network
def test_plain_install(tmp_path: Path) -> None:
    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", "env")
    binaries = tmp_path / "env" / "bin"
    run(binaries / "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT))
    installed = {package["name"] for package in json.loads(run(binaries / "pip", "list", "--format", "json"))}
    assert "clsclip" in installed
    assert not installed & {"torch", "onnx", "open_clip_torch"}
    image = ROOT / "examples" / "cluttered.png"
    result = json.loads(run(binaries / "clsclip-infer", image, "--json", "--classes", "bottle", "pizza"))
    assert [one["status"] for one in result["classes"]] == ["found", "absent"]
    code = "from clsclip import Segmenter; print(Segmenter.load()(__import__('sys').argv[1], ['dog'])['dog'].status)"
    assert run(binaries / "python", "-c", code, image) == "found\n"
    for program, options, extra in (
        ("clsclip-export", ("--ckpt", ROOT / "models" / "stickers" / "last.safetensors", "--out", "x"), "export"),
        ("clsclip-train", ("--towers", "x", "--data", "folder", "--root", "x", "--out", "x"), "train"),
        ("clsclip-eval", ("run", "--data", "folder", "--root", "x"), "train"),
        ("clsclip-bench", ("--plot", "x.png"), "bench"),
    ):
        run(binaries / program, "--help")
        done = subprocess.run(
            (binaries / program, *options), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in (1, 2) and len(done.stderr.splitlines()) == 1
        assert done.stderr.endswith(f"pip install '{ROOT}[{extra}]'\n")


def test_every_package_and_data_file_is_installed() -> None:
    """A folder that setup.cfg does not list is missing only in an installation, where nobody looks."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    listed = set(config["options"]["packages"].split())
    folders = dict(line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines())
    found, data = set(), set()
    for package, folder in folders.items():
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT / folder)
            if "__pycache__" in path.parts or path.is_dir():
                continue
            if path.name == "__init__.py":
                found.add(".".join((package, *inside.parts[:-1])))
            elif path.suffix != ".py":
                data.add((package, inside.as_posix()))
    assert listed == found
    patterns = config["options.package_data"]
    for package, file in sorted(data):
        owners = [
            (one, one.removeprefix(package).strip(".").replace(".", "/"))
            for one in patterns
            if one.split(".")[0] == package
        ]
        fits = [
            True
            for one, start in owners
            for pattern in patterns[one].split()
            if PurePosixPath(file).match(f"{start}/{pattern}" if start else pattern)
        ]
        assert fits, f"{package}: {file} is not among package_data"


def test_there_is_one_opencv() -> None:
    """Two of its packages write into one folder, and which of them is imported then is chance."""
    found = metadata.packages_distributions().get("cv2", [])
    assert len(set(found)) <= 1, found
