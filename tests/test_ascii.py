"""Every command where terminal and locale are ASCII alone, with names and words that are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runtime.tiny_bundle import make_bundle, paint

pytestmark = pytest.mark.slow

NAME = "写真 naïve"
COMMANDS = {
    "infer": "clsclip_runtime.cli.infer",
    "bundle": "clsclip_runtime.cli.bundle",
    "doctor": "clsclip_runtime.cli.doctor",
    "bench": "clsclip_bench.cli",
    "eval": "clsclip.cli.evaluate",
    "train": "clsclip.cli.train",
    "export": "clsclip_export.cli",
}


def run(command: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own; what it prints must be ASCII."""
    code = f"import sys; from {COMMANDS[command]} import main; sys.exit(main(sys.argv[1:]))"
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict", "CLSCLIP_CACHE": "off"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        cwd=cwd,
        env=environment,
        encoding="ascii",
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, masks, classes and a bundle, of names that are not ASCII."""
    place = tmp_path_factory.mktemp("ascii")
    make_bundle(place / f"{NAME}.clsclip")
    for kind in ("images", "masks"):
        (place / NAME / kind).mkdir(parents=True)
    scene = paint({"red": (slice(1, 4), slice(1, 5))})
    Image.fromarray(scene).save(place / NAME / "images" / f"{NAME}.png")
    mask = (scene[..., 0] == 255) & (scene[..., 1] == 0)
    Image.fromarray(mask.astype(np.uint8) * 2).save(place / NAME / "masks" / f"{NAME}.png")
    (place / NAME / "classes.txt").write_text("犬\n赤 = red | 犬\n", "utf-8")
    (place / f"{NAME}.txt").write_text("犬\n“red”\ndining_table\n", "utf-8")
    return place


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("infer", [f"{NAME}/images", "--classes", "red", "犬", "赤 = red | green", "--model", f"{NAME}.clsclip"]),
        ("infer", [f"{NAME}/images", "--classes-file", f"{NAME}.txt", "--model", f"{NAME}.clsclip", "--json"]),
        ("doctor", ["--model", f"{NAME}.clsclip"]),
        ("eval", ["run", "--data", "folder", "--root", NAME, "--model", f"{NAME}.clsclip"]),
        ("export", ["--from-bundle", f"{NAME}.clsclip", "--out", f"{NAME} 2.clsclip", "--classes-file", f"{NAME}.txt"]),
    ],
)
def test_work_is_done(command: str, arguments: list[str], folder: Path) -> None:
    done = run(command, *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("infer", ["写真.png", "--classes", "犬"]),
        ("bundle", ["upgrade", "写真.clsclip", "b.clsclip"]),
        ("doctor", ["--model", "写真.clsclip"]),
        ("bench", ["--model", "写真.clsclip"]),
        ("eval", ["run", "--data", "folder", "--root", "写真"]),
        ("train", ["--data", "folder", "--root", "写真", "--towers", "塔", "--out", "写真 2"]),
        ("export", ["--ckpt", "写真.safetensors", "--out", "b.clsclip"]),
    ],
)
def test_mistakes_are_told(command: str, arguments: list[str], folder: Path) -> None:
    done = run(command, *arguments, cwd=folder)
    told = done.stdout + done.stderr
    assert done.returncode in (1, 2) and "Traceback" not in told and "unexpected" not in told
    assert "\\u5199\\u771f" in told or "\\u5854" in told, told
