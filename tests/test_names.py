"""Names of 0.1 are gone from everything that a user sees: help, Python, manifest, JSON, NPZ and the C headers."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import clsclip_runtime
from clsclip_runtime import Segmenter
from tests.runtime.test_renamed import COMMANDS
from tests.runtime.tiny_bundle import paint

ROOT = Path(__file__).parent.parent

OLD = set(json.loads(Path(__file__).with_name("old_names.json").read_text("utf-8"))["identifiers"])
"""The left column of the table of names, as whole identifiers."""


def identifiers(text: str) -> set[str]:
    """Identifiers of a text; an option ``--max-classes`` counts as ``max_classes``."""
    options = {one.replace("-", "_") for one in re.findall(r"--([a-z][a-z-]*)", text)}
    return set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text)) | options


def keys(value: Any) -> Iterator[str]:
    """All keys of a JSON document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            yield from commands(sub, f"{name} {sub.name}")


@pytest.mark.parametrize("program", COMMANDS)
def test_options_of_commands(program: str) -> None:
    for name, command in commands(COMMANDS[program], program):
        found = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        told = {option.lstrip("-").replace("-", "_") for option in found if option.startswith("--")}
        # The tables keep trainings in a folder of --runs, which is another thing than the runs of a mask.
        assert not (told - ({"runs"} if name == "clsclip-eval table" else set())) & OLD, name
        shown = command.get_help(click.Context(command, info_name=name))
        assert not {"--" + one.replace("_", "-") for one in OLD - {"runs"}} & set(
            re.findall(r"--[a-z][a-z-]*", shown)
        ), name


def test_public_python() -> None:
    names = set(clsclip_runtime.__all__)
    for public in clsclip_runtime.__all__:
        value = getattr(clsclip_runtime, public)
        if not inspect.isclass(value):
            continue
        members = {name for name in vars(value) if not name.startswith("_")}
        names |= members | set(getattr(value, "__dataclass_fields__", {}))
        for member in [value, *(getattr(value, name) for name in members)]:
            if callable(member) and not (inspect.isclass(member) and issubclass(member, BaseException)):
                names |= set(inspect.signature(member).parameters)
    assert "Segmenter" in names
    assert "presence_filter" in names
    assert not names & (OLD - {"areas"})


def test_keys_of_manifests_and_results(tmp_path: Path) -> None:
    with Segmenter.load() as segmenter:
        scene = paint({"red": (slice(1, 4), slice(1, 5))})
        result = segmenter(scene, ["dog", "cat"], regions=[[0, 0, 20, 20]], presence_threshold=0)
        manifest = segmenter.bundle.manifest.raw
    schema = json.loads((ROOT / "runtime/clsclip_runtime/bundle/manifest.schema.json").read_text("utf-8"))
    (path,) = result.save(tmp_path, "npz")
    with np.load(path) as arrays:
        found = {"manifest": set(keys(manifest)), "schema": set(keys(schema)), "npz": set(arrays.files)}
    found["result"] = set(keys(result.to_json()))
    for what, told in found.items():
        assert len(told) > 10
        assert not told & (OLD - ({"areas"} if what == "npz" else set())), what


def test_c_headers() -> None:
    headers = sorted((ROOT / "runtime" / "cpp" / "include").rglob("*.h*"))
    assert {header.suffix for header in headers} == {".h", ".hpp"}
    for header in headers:
        code = re.sub(r"//.*|/\*.*?\*/", "", header.read_text("utf-8"), flags=re.S if header.suffix == ".h" else 0)
        assert not identifiers(code) & OLD, header.name


def test_old_names_stand_in_no_source_file() -> None:
    """In data alone: ``renamed.json``, from which the sentences for users are made, and the list beside this file."""
    words = json.loads(Path(__file__).with_name("old_names.json").read_text("utf-8"))["sources"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    files = [ROOT / name for name in listed.stdout.split("\n") if name.endswith((".py", ".cpp", ".hpp", ".h"))]
    assert len(files) > 300
    pattern = re.compile("|".join(words))
    found = [str(path.relative_to(ROOT)) for path in files if path.exists() and pattern.search(path.read_text("utf-8"))]
    assert found == []
