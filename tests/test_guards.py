"""What the code must not do by itself, because one place does it right for all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("runtime/clsclip_runtime", "clsclip", "export/clsclip_export", "benchmarks")

METHODS = {
    "exists": "paths.exists: Path.exists raises for long names and folders that may not be entered",
    "is_dir": "paths.is_dir: Path.is_dir raises for long names and folders that may not be entered",
    "is_file": "paths.is_file: Path.is_file raises for long names and folders that may not be entered",
    "expanduser": "paths.expanded: Path.expanduser raises for users who have no home",
    "isprintable": "errors.printable, options.is_name: what Python takes for printable changes with its version",
    "secho": "cli.output.echo: what is printed must be made printable",
}
ALLOWED = {
    "runtime/clsclip_runtime/paths.py": {"expanduser"},
    "runtime/clsclip_runtime/errors.py": {"isprintable"},
}
PRINTERS = {
    "runtime/clsclip_runtime/cli/output.py",  # is the one place
    "export/clsclip_export/ultralytics_worker.py",  # a child whose output is read
}
"""Files that may call ``print`` and ``click.echo``."""


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def calls(path: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, name, whether it has arguments) of every call; ``click.echo`` has its module's name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                name = f"click.{name}" if node.func.value.id == "click" else name
            yield node.lineno, name, bool(node.args)


def faults(path: Path, name: str) -> list[str]:
    found = []
    for line, call, has_arguments in calls(path):
        if call in METHODS and not has_arguments and call not in ALLOWED.get(name, set()):
            found.append(f"{name}:{line}: use {METHODS[call]}")
        if call in ("print", "click.echo", "click.secho") and name not in PRINTERS and "benchmarks/" not in name:
            found.append(f"{name}:{line}: use cli.output.echo: what is printed must be made printable")
    return found


def test_paths_are_looked_at_and_texts_printed_in_one_way() -> None:
    found = [fault for path in sources() for fault in faults(path, path.relative_to(ROOT).as_posix())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line", ["path.is_file()", "Path(x).exists()", "name.isprintable()", "click.echo(name)", "print(name)"]
)
def test_the_rule_finds_what_it_forbids(line: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(f"import click\n{line}\n", encoding="utf-8")
    assert len(faults(file, "clsclip/module.py")) == 1
