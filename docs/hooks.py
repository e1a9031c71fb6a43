"""Make the pages that come from the code, and check what was built.

- one page for each Python package that lists its public names in ``__all__``;
- one page for each command of setup.cfg, with the ``--help`` of it and of its subcommands;
- the notebooks of benchmarks/, the model card, the changelog and the page for contributors.

Three checks fail the build: an option that no command has, a file of the project that is not there, and a built page
that loads anything from another site.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import html.parser
import importlib
import io
import logging
import os
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"clsclip": ROOT, "clsclip_runtime": ROOT / "runtime", "clsclip_export": ROOT / "export"}
PYTHON, COMMANDS = "reference/python", "reference/commands"
MEASUREMENTS = "development/measurements"
EXAMPLES = ("judge_0005_overlay.png", "twelve.png", "tiny_whole.png", "tiny_plus.png")
MODEL_CARD = "explanation/model-card.md"
CHANGELOG = "development/changelog.md"
CONTRIBUTING = "development/contributing.md"

# A warning fails the build under --strict.
_log = logging.getLogger("mkdocs.hooks.clsclip")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:)([^)\s#]+)(#[^)\s]*)?\)")
_PATH = re.compile(r"`((?:benchmarks|docs|examples|export|models|runtime|tests)/[\w./-]+)`")
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*)")


def on_config(config: Any) -> Any:
    """Put the lists of generated pages into the navigation."""
    # The help is that of this tree, whatever is installed. (MkDocs takes back what a hook adds while it is loaded.)
    sys.path[:0] = [str(folder) for folder in (*SOURCES.values(), ROOT / "benchmarks")]
    pages = {
        "python": [f"{PYTHON}/{name}.md" for name in packages()],
        "commands": [f"{COMMANDS}/{name}.md" for name in commands()],
        "measurements": list(notebooks().values()),
    }
    for section in config.nav:
        for key, value in section.items():
            if isinstance(value, list):
                section[key] = [_filled(entry, pages) for entry in value]
                if key == "Explanation":
                    section[key].append({"Model card": MODEL_CARD})
    return config


def _filled(entry: dict[str, Any], pages: dict[str, list[Any]]) -> dict[str, Any]:
    return {title: pages.get(value, value) for title, value in entry.items()}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, and the pictures that they show."""

    def add(path: str, content: str | bytes) -> None:
        files.append(File.generated(config, path, content=content))

    for name, (title, names) in packages().items():
        add(f"{PYTHON}/{name}.md", python_page(name, title, names))
    for name, function in commands().items():
        add(f"{COMMANDS}/{name}.md", command_page(name, function))
    moved = notebooks() | {"MODEL_CARD.md": MODEL_CARD, "CHANGELOG.md": CHANGELOG, "CONTRIBUTING.md": CONTRIBUTING}
    images = {ROOT / "examples" / name for name in EXAMPLES}
    for source, path in moved.items():
        text, shown = adopted(source, path, moved)
        add(path, text)
        images |= shown
    for image in sorted(images):
        files.append(File.generated(config, f"pictures/{image.name}", abs_src_path=str(image)))
    return files


def notebooks() -> dict[str, str]:
    """The pages of the lab notebooks, by their path: benchmarks/README.md and those of its folders."""
    folders = sorted(path.parent.name for path in (ROOT / "benchmarks").glob("*/README.md"))
    pages = {f"benchmarks/{folder}/README.md": f"{MEASUREMENTS}/{folder}.md" for folder in folders}
    return {"benchmarks/README.md": f"{MEASUREMENTS}/speed.md"} | pages


def packages() -> dict[str, tuple[str, list[str]]]:
    """Title and public names of every package whose ``__init__`` has ``__all__``, by its dotted name."""
    found = {}
    for top, folder in SOURCES.items():
        for init in sorted((folder / top).rglob("__init__.py")):
            tree = ast.parse(init.read_text("utf-8"))
            for node in tree.body:
                # clsclip's own names are those of clsclip_runtime, and no list stands there.
                listed = isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
                if listed and getattr(node.targets[0], "id", "") == "__all__":
                    name = ".".join(init.parent.relative_to(folder).parts)
                    names = [one for one in ast.literal_eval(node.value) if not one.startswith("_")]
                    found[name] = (ast.get_docstring(tree) or name, names)
    return found


def python_page(package: str, docstring: str, names: list[str]) -> str:
    """A page of the public names of a package: first those that its own text shows, errors last."""
    shown = sorted(names, key=lambda name: (name.endswith("Error"), re.search(rf"\b{name}\b", docstring) is None))
    also = "\nAll names of this page are in `clsclip` too.\n" if package == "clsclip_runtime" else ""
    title = f"---\ntitle: {package}\n---\n\n# `{package}`\n\n{docstring}\n{also}"
    return "\n".join([title, *(f"::: {package}.{name}\n" for name in shown)])


def commands() -> dict[str, str]:
    """``module:function`` of every command of setup.cfg, by the command's name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = parser["options.entry_points"]["console_scripts"].split("\n")
    return dict(sorted(re.split(r"\s*=\s*", line.strip(), maxsplit=1) for line in lines if line.strip()))


_helps: dict[str, str] = {}


def command_page(name: str, function: str) -> str:
    """The help of a command and of its subcommands."""
    text = _help(name, function)
    page = [f"---\ntitle: {name}\n---\n\n# `{name}`\n\nThis is what `{name} --help` prints.\n\n```text\n{text}\n```\n"]
    for sub in subcommands(text):
        page.append(f"\n## `{name} {sub}`\n\n```text\n{_help(name, function, sub)}\n```\n")
    return "".join(page)


def subcommands(text: str) -> list[str]:
    """The names under "Commands:" of a help."""
    listed = re.search(r"^Commands:\n((?:  .*\n?)+)", text, re.MULTILINE)
    return re.findall(r"^  ([a-z][\w-]*)", listed.group(1) if listed else "", re.MULTILINE)


def _help(name: str, function: str, *sub: str) -> str:
    key = " ".join((name, *sub))
    if key not in _helps:
        module, _, attribute = function.partition(":")
        out = io.StringIO()
        argv = [name, *sub, "--help"]
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(SystemExit))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(mock.patch.object(sys, "argv", argv))
            stack.enter_context(mock.patch.dict(os.environ, COLUMNS="100"))
            getattr(importlib.import_module(module), attribute)()
        _helps[key] = out.getvalue().rstrip()
        if "Usage:" not in _helps[key]:
            raise PluginError(f"{key} --help printed no help")
    return _helps[key]


def adopted(source: str, path: str, moved: dict[str, str]) -> tuple[str, set[Path]]:
    """A file of the project as a page: links to other pages lead there, its pictures come along, others are text."""
    images = set()

    def relink(match: re.Match[str]) -> str:
        mark, text, target, anchor = match.groups(default="")
        real = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if real in moved:
            to = moved[real]
        elif mark:
            images.add(ROOT / real)
            to = f"pictures/{posixpath.basename(real)}"
        elif real.startswith("docs/"):
            to = real.removeprefix("docs/")
        else:
            return text  # it stays in the repository, and its name is enough
        return f"{mark}[{text}]({posixpath.relpath(to, posixpath.dirname(path))}{anchor})"

    text = _LINK.sub(relink, (ROOT / source).read_text("utf-8"))
    return text, images


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the lists of rooms, and check that the options and the files that a page names are there."""
    if page.file.generated_by is not None:  # it comes from the code, or tells of old names
        return markdown
    for line in _command_lines(markdown):
        name, _, rest = line.partition(" ")
        texts = _helps_of(name, rest.partition(" ")[0])
        for option in _OPTION.findall(line):
            if not any(_has(text, option) for text in texts):
                _log.warning("%s: %s has no option %s", page.file.src_path, name, option)
    everything = [text for name in commands() for text in _helps_of(name)]
    for option in re.findall(r"`(--[a-z][a-z0-9-]*)", markdown):
        if not any(_has(text, option) for text in everything):
            _log.warning("%s: no command has the option %s", page.file.src_path, option)
    for path in _PATH.findall(markdown):
        if not (ROOT / path).exists():
            _log.warning("%s: there is no %s", page.file.src_path, path)
    return re.sub(r"<!-- rooms of (\w+) -->", lambda match: rooms(match[1]), markdown)


def rooms(package: str) -> str:
    """A table of the folders of a package, each with the first sentence of its own text."""
    folder = SOURCES[package] / package
    rows = ["| Room | What it is |", "|---|---|"]
    for init in sorted(folder.glob("*/__init__.py")):
        text = ast.get_docstring(ast.parse(init.read_text("utf-8"))) or ""
        first = re.sub(r":\w+:`([^`]+)`|``([^`]+)``", lambda match: f"`{match[1] or match[2]}`", text.split("\n\n")[0])
        rows.append(f"| `{init.parent.name}/` | {first.replace(chr(10), ' ')} |")
    return "\n".join(rows)


def _command_lines(markdown: str) -> Iterator[str]:
    """The project's own commands in the shell blocks of a page, each with its arguments."""
    for block in re.findall(r"^```sh\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").split("\n"):
            for part in re.split(r"\s*(?:\||&&|\s#)\s*", line.strip()):
                if part.partition(" ")[0] in commands():
                    yield part


def _helps_of(name: str, sub: str | None = None) -> list[str]:
    """The help of a command, and of its subcommand ``sub`` if it is one; None is all of them."""
    function = commands()[name]
    listed = subcommands(_help(name, function))
    wanted = [one for one in listed if sub is None or one == sub]
    return [_help(name, function), *(_help(name, function, one) for one in wanted)]


def _has(text: str, option: str) -> bool:
    return re.search(rf"(?<![\w-]){option}(?![\w-])", text) is not None


class _Loads(html.parser.HTMLParser):
    """Addresses that a browser would load by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Keep what the tag loads; a plain link is only followed by a reader."""
        values = dict(attributes)
        if tag == "link" and values.get("rel") == "canonical":
            return
        if "mermaid" in (values.get("class") or "").split():
            self.found.append("mermaid, a script of unpkg.com")
        for name in ("src", "srcset", "data", "poster", *(["href"] if tag == "link" else [])):
            if re.match(r"\s*(?:https?:)?//", values.get(name) or ""):
                self.found.append(str(values[name]))


def on_post_build(config: Any) -> None:
    """Fail if a built page or style sheet loads anything from another site."""
    outside = []
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix == ".html":
            parser = _Loads()
            parser.feed(path.read_text("utf-8"))
            found = parser.found
        elif path.suffix == ".css":
            found = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", path.read_text("utf-8"))
        else:
            continue
        outside += [f"{path.relative_to(config.site_dir)} loads {one}" for one in found]
    if outside:
        raise PluginError("the documentation must work offline:\n" + "\n".join(outside))
