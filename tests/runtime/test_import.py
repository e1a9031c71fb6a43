"""Importing the runtime is cheap, and never pulls in what it must not need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import clsclip_runtime

HEAVY = {"torch", "onnx", "onnxruntime", "numpy", "PIL", "tokenizers", "pycocotools", "click"}
FORBIDDEN = {"torch", "av", "cv2", "torchvision", "onnx", "open_clip", "clsclip", "clsclip_export", "scipy"}


def modules_after(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``code``."""
    report = f"import sys, json\n{code}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", report, *arguments], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_loads_nothing_heavy() -> None:
    assert not modules_after("import clsclip_runtime") & HEAVY


def test_loading_needs_no_module_of_the_network() -> None:
    """Each takes as long as a small model; pictures from addresses and rare words bring them."""
    loaded = modules_after(
        "from clsclip_runtime import Segmenter\nSegmenter.load(backend='onnxruntime-cpu', word_cache=False)"
    )
    assert not loaded & {"ssl", "socket", "http", "email", "html"}


def test_running_never_loads_a_training_package(bundle: Path, photo: Path, tmp_path: Path) -> None:
    loaded = modules_after(
        "from clsclip_runtime.cli.infer import main\n"
        "assert main([sys.argv[1], '--classes', 'red', '--model', sys.argv[2], '--out', sys.argv[3],"
        " '--formats', 'png,overlay,labels,coco,npz', '-q', '--backend', 'onnxruntime-cpu']) == 0",
        str(photo),
        str(bundle),
        str(tmp_path / "out"),
    )
    assert {"onnxruntime", "tokenizers"} <= loaded
    assert not loaded & FORBIDDEN


def test_every_public_name_is_there() -> None:
    for name in clsclip_runtime.__all__:
        assert getattr(clsclip_runtime, name) is not None
    assert set(dir(clsclip_runtime)) == set(clsclip_runtime.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = clsclip_runtime.nothing


def test_the_command_is_also_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "clsclip_runtime", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert clsclip_runtime.__version__ in done.stdout
