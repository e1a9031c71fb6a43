"""A release: versions agree, licenses come along, and the wheel alone passes the quick start without a network."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import clsclip
from clsclip_runtime.version import __version__
from tests import release
from tests.pages.blocks import blocks

ROOT = Path(__file__).parents[1]


def test_one_version_everywhere() -> None:
    assert clsclip.__version__ == __version__
    assert set(release.stated_versions().values()) == {__version__}
    scripts = re.findall(r"^    clsclip-[a-z]+ = ([\w.]+):main$", (ROOT / "setup.cfg").read_text("utf-8"), re.MULTILINE)
    assert len(scripts) >= 9
    for module in scripts:
        loaded = importlib.import_module(module)
        command = next(
            value
            for name in ("command", "group", "main")
            if isinstance(value := getattr(loaded, name, None), click.Command)
        )
        done = CliRunner().invoke(command, ["--version"])
        assert done.exit_code == 0 and __version__ in done.output, (module, done.output)


def test_a_wrong_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "__version__", "9.9.9")
    done = CliRunner().invoke(release.main, ["--out", "nowhere"])
    assert done.exit_code == 1 and "the version is 9.9.9" in done.output


def test_the_citation_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == __version__
    assert citation["preferred-citation"]["url"] == "https://arxiv.org/abs/2304.06212"
    assert citation["preferred-citation"]["title"] in (ROOT / "README.md").read_text("utf-8")


def test_the_notice_names_what_comes_along() -> None:
    notice = " ".join((ROOT / "NOTICE").read_text("utf-8").split())
    for name in (
        "Noto Emoji",
        "SIL Open Font License 1.1",
        "Fluent Emoji 3D",
        "MIT License",
        "x264 and x265 (GPL-2.0",
        "AGPL-3.0",
        "libde265 (LGPL-3.0)",
    ):
        assert name in notice, name


def test_issues_ask_for_what_the_doctor_says() -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "fault.yml").read_text("utf-8"))
    asked = {one["id"]: one for one in form["body"] if "id" in one}
    assert "clsclip-doctor --json" in asked["doctor"]["attributes"]["label"]
    assert asked["doctor"]["validations"]["required"]


@pytest.mark.slow
def test_the_wheel_alone_passes_the_quick_start_without_a_network(tmp_path: Path) -> None:
    """Installed into an empty folder by pip without an index; its dependencies are those of this environment."""
    source, wheel = release.build(tmp_path / "dist")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names if ".dist-info/" in name}
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"NOTICE", "CITATION.cff", "docs/index.md", "examples/cluttered.png", "runtime/cpp/CMakeLists.txt"} <= inside
    assert not any(name.startswith(("models/", "build/", "tests/.")) for name in inside)
    site, work = tmp_path / "site", tmp_path / "work"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(pip, check=True, timeout=120)
    work.mkdir()
    shutil.copytree(ROOT / "examples", work / "examples")
    (program,) = [one.commands[0] for one in blocks(ROOT / "README.md") if one.language == "python"]
    (work / "quick_start.py").write_text(program, "utf-8")
    environment = os.environ | {"PYTHONPATH": str(site), "CLSCLIP_CACHE": "off", "HOME": str(work)}
    alone = ["unshare", "--map-root-user", "--net"] if shutil.which("unshare") else []

    def run(*command: str) -> str:
        done = subprocess.run(
            [*alone, sys.executable, *command], cwd=work, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import clsclip_runtime; print(clsclip_runtime.__file__)").startswith(str(site))
    assert run("quick_start.py").startswith("found ")
    assert (work / "out" / "cluttered_overlay.png").is_file()
    told = run("-m", "clsclip_runtime", "examples/cluttered.png", "--json", "--classes", "bottle", "pizza")
    assert [one["status"] for one in json.loads(told)["classes"]] == ["found", "absent"]
