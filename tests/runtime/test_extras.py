"""What extras bring, held against setup.cfg, and the command that installs them, held against what is installed."""

from __future__ import annotations

import configparser
import json
import re
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from clsclip_runtime import extras

ROOT = Path(__file__).parents[2]

DISTRIBUTIONS = {
    "open_clip": "open_clip_torch",
    "pi_heif": "pi-heif",
    "prometheus_client": "prometheus-client",
    "resvg_py": "resvg-py",
    "skimage": "scikit-image",
    # open_clip_torch brings both.
    "torch": "open_clip_torch",
    "torchvision": "open_clip_torch",
    "ultralytics": "ultralytics-opencv-headless",
}

GPU_COMMAND = "pip install '.[gpu]' && pip uninstall -y onnxruntime && pip install --no-deps onnxruntime-gpu"


def requirements() -> dict[str, set[str]]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return {
        extra: {re.split(r"[<>=!;\[ ]", line)[0] for line in lines.splitlines() if line}
        for extra, lines in parser["options.extras_require"].items()
    }


def test_every_extra_brings_what_it_is_said_to_bring() -> None:
    known = requirements()
    for module, names in extras.MODULES.items():
        for name in names:
            assert DISTRIBUTIONS.get(module, module) in known[name], (module, name)


def test_the_extra_of_the_program_comes_first() -> None:
    assert extras.extra_of("torch.nn", "export") == "export"
    assert extras.extra_of("torch", "bench") == extras.extra_of("torch") == "train"
    assert extras.extra_of("os") is None


def installed(monkeypatch: pytest.MonkeyPatch, *origins: str | None) -> None:
    """Pretend that these ``direct_url.json`` are those of clsclip."""
    found = [SimpleNamespace(read_text=lambda name, text=text: text) for text in origins]
    monkeypatch.setattr(metadata, "distributions", lambda name: found)
    monkeypatch.setattr(extras.shutil, "which", lambda name: str(Path(sys.executable).with_name(name)))


@pytest.mark.parametrize("editable", [False, True])
def test_the_command_names_the_folder_that_it_was_installed_from(
    editable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "setup.cfg").touch()
    text = json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True} if editable else {}})
    installed(monkeypatch, None, "not JSON", text)
    flag = "--editable " if editable else ""
    monkeypatch.chdir(tmp_path)
    assert extras.install_command("train") == f"pip install {flag}'{folder}[train]'"
    monkeypatch.chdir(folder)
    assert extras.install_command("train") == f"pip install {flag}'.[train]'"
    (folder / "setup.cfg").unlink()
    assert extras.install_command("train") == "pip install 'clsclip[train]'"


@pytest.mark.parametrize("text", [None, '{"url": "https://host/clsclip.whl"}', '{"url": 3}', "[]"])
def test_elsewhere_the_command_names_the_package(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, text)
    assert extras.install_command("bench") == "pip install 'clsclip[bench]'"


def test_another_pythons_pip_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, None)
    monkeypatch.setattr(extras.shutil, "which", lambda name: "/elsewhere/bin/pip")
    assert extras.install_command("bench") == f"{sys.executable} -m pip install 'clsclip[bench]'"


def test_where_pip_knows_nothing_the_folder_of_the_source_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No index has clsclip: a bare name would bring nothing, or what somebody else calls so."""
    installed(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert extras.install_command("train") == f"pip install --editable '{ROOT}[train]'"
    assert extras.upgrade_advice().endswith(f"run pip install --editable '{ROOT}'")
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site-packages" / "clsclip_runtime" / "extras.py"))
    assert extras.install_command("train") == "cd SOURCE_OF_CLSCLIP && pip install '.[train]'"
    assert "clsclip" not in extras.upgrade_advice().partition("pip install")[2]


@pytest.mark.parametrize("both", [False, True])
def test_the_gpu_command(both: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "setup.cfg").touch()
    installed(monkeypatch, json.dumps({"url": tmp_path.as_uri()}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "installed", lambda name: "1.0" if both else None)
    first = "pip uninstall -y onnxruntime-gpu && " if both else ""
    assert extras.gpu_command() == first + GPU_COMMAND
    assert extras.onnxruntime_command() == (extras.gpu_command() if both else "pip install onnxruntime")


def test_the_documentation_names_the_gpu_command() -> None:
    for page in ("README.md", "docs/guides/gpu.md"):
        assert GPU_COMMAND in (ROOT / page).read_text("utf-8"), page
