"""Pages that list keys have all of them and no others; the changelog has every old name; the build can fail."""

from __future__ import annotations

import configparser
import importlib.util
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clsclip_runtime import RegionFile, Segmenter

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUNTIME = ROOT / "runtime" / "clsclip_runtime"


def listed(page: str) -> set[str]:
    """What the first columns of a page's tables name in code."""
    rows = re.findall(r"^\| (`[^|]*) \|", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """``a``, ``a.b`` and ``c[].d`` of a JSON document."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield (where := f"{path}.{key}" if path else key)
            yield from keys_of(inside, where)
    elif isinstance(value, list):
        for inside in value:
            yield from keys_of(inside, f"{path}[]")


def properties_of(schema: dict[str, Any], whole: dict[str, Any], path: str = "") -> Iterator[str]:
    """The same of a JSON Schema."""
    if reference := schema.get("$ref"):
        schema = whole["$defs"][reference.rpartition("/")[2]]
    for one in schema.get("anyOf", ()):
        yield from properties_of(one, whole, path)
    for key, inside in schema.get("properties", {}).items():
        yield (where := f"{path}.{key}" if path else key)
        yield from properties_of(inside, whole, where)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from properties_of(schema[key], whole, f"{path}[]")


def test_the_page_of_the_bundle_has_every_key_of_the_schema_and_no_other() -> None:
    schema = json.loads((RUNTIME / "bundle" / "manifest.schema.json").read_text("utf-8"))
    of_graphs = {name for name in listed("reference/bundle.md") if name.endswith((".onnx", ".json", ".safetensors"))}
    named = listed("reference/bundle.md") - of_graphs - {"vision.weights"}
    assert named == set(properties_of(schema, schema))


@pytest.fixture(scope="module")
def results() -> list[Any]:
    """Of a whole image, found and outside of what the filter lets through; and of named regions."""
    examples = ROOT / "examples"
    with Segmenter.load(threads=1) as segmenter:
        whole = segmenter(examples / "cluttered.png", ["boat", "fish"], max_classes=1)
        boxes = RegionFile(examples / "tiny.json").of("tiny.png")
        closer = segmenter(examples / "tiny.png", ["folder", "pizza"], regions=boxes)
    assert {one.status for one in whole} == {"found", "filtered"}
    assert closer["folder"].status == "found"
    return [whole, closer]


def test_the_page_of_results_has_every_key_of_json_and_no_other(results: list[Any]) -> None:
    page = "reference/results.md"
    text = (DOCS / page).read_text("utf-8")
    documented = listed(page)
    of_videos = {"frames", "dropped", "complete", "seconds", "files"}
    arrays = set(re.findall(r"^\| `(\w+)` \| \(", text, re.MULTILINE))
    found = {key for result in results for key in keys_of(result.to_json()) if not key.startswith("timings_ms.")}
    assert documented - of_videos - (arrays - found) == found
    steps = {key for result in results for key in result.to_json()["timings_ms"]}
    assert steps <= set(re.findall(r"`(\w+)`", text))


def test_the_page_of_results_has_every_array_of_npz_and_no_other(results: list[Any], tmp_path: Path) -> None:
    text = (DOCS / "reference" / "results.md").read_text("utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| (\(.*?\) \w+) \|", text, re.MULTILINE))
    for result in results:
        (path,) = result.save(tmp_path, ["npz"])
        with np.load(path) as saved:
            assert set(documented) == set(saved.files)
            for name, told in documented.items():
                shape, _, kind = told.rpartition(" ")
                assert saved[name].ndim == len(re.findall(r"[\w]+", shape)), name
                assert {"text": "U"}.get(kind, kind) in (saved[name].dtype.kind, saved[name].dtype.name), name


def test_the_changelog_names_every_old_name() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    names = set(re.findall(r"[\w.-]+", text)) | set(re.findall(r"\w+", text))
    old = json.loads((RUNTIME / "renamed.json").read_text("utf-8"))
    sections = [section for key, section in old.items() if key not in ("about", "values")]
    missing = [name for section in sections for name in section if not set(name.split()) <= names]
    assert missing == []


@pytest.mark.parametrize("page", ["README.md", "docs/guides/first-steps.md"])
def test_tables_of_extras_have_all_of_them(page: str) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    rows = re.findall(r"^\| (`[^|]*) \| [^|]*", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(config["options.extras_require"]) <= named


@pytest.fixture(scope="module")
def hooks() -> Any:
    """The module that builds the pages."""
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NO_VERBS = re.compile(r"(The|A|An|All|Every|One|What|Whether|How|Where|Which|Of|For)\b|\(")


@pytest.mark.long
def test_docstrings_of_the_reference_begin_with_a_verb(hooks: Any) -> None:
    nouns = []
    for package, (_, names) in hooks.packages().items():
        for name in names:
            thing = getattr(importlib.import_module(package), name)
            members = vars(thing).items() if inspect.isclass(thing) else [("", thing)]
            for member, value in members:
                function = getattr(value, "__func__", value)
                text = inspect.getdoc(function) or ""
                if inspect.isfunction(function) and not member.startswith("_") and NO_VERBS.match(text):
                    nouns.append(f"{package}.{name}.{member}: {text.splitlines()[0]}")
    assert nouns == []


@pytest.mark.parametrize(
    ("markdown", "told"),
    [
        ("```sh\nclsclip-doctor --json\n```\n", []),
        ("```sh\nclsclip-doctor --jsons\n```\n", ["clsclip-doctor has no option --jsons"]),
        (
            "```sh\ncat a | clsclip-infer - \\\n    --gate clip --classes a\n```\n",
            ["clsclip-infer has no option --gate"],
        ),
        ("```sh\nother --gate clip\n```\n", []),
        ("See `tests/docs/test_pages.py` and `docs/`.\n", []),
        ("See `tests/docs/nothing.py`.\n", ["there is no tests/docs/nothing.py"]),
        ("Give `--crop-margin 0.1`, or `--margin`.\n", ["no command has the option --margin"]),
    ],
)
def test_options_and_files_that_do_not_exist_fail_the_build(
    hooks: Any, markdown: str, told: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    light = ("clsclip-doctor", "clsclip-infer")
    known = hooks.commands()
    monkeypatch.setattr(hooks, "commands", lambda: {name: known[name] for name in light})
    page = SimpleNamespace(file=SimpleNamespace(src_path="page.md", generated_by=None))
    assert hooks.on_page_markdown(markdown, page, None, None) == markdown
    assert caplog.messages == [f"page.md: {message}" for message in told]


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/a.css">',
        '<img srcset="https://images.example/a.png 2x">',
        '<div class="mermaid">a</div>',
    ],
)
def test_pages_that_load_from_other_sites_fail_the_build(hooks: Any, tmp_path: Path, text: str) -> None:
    from mkdocs.exceptions import PluginError

    (tmp_path / "ok.html").write_text('<a href="https://arxiv.org">paper</a><img src="a.png"><link href="a.css">')
    hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
    (tmp_path / "page.html").write_text(text)
    with pytest.raises(PluginError, match=r"page\.html loads"):
        hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))


def test_style_sheets_that_load_from_other_sites_fail_the_build(hooks: Any, tmp_path: Path) -> None:
    from mkdocs.exceptions import PluginError

    (tmp_path / "a.css").write_text("a { background: url('https://images.example/a.png') }")
    with pytest.raises(PluginError, match=r"images\.example"):
        hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
