"""The rooms of the runtime form a tree: no two of them import each other, and no module stands where a room is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "clsclip_runtime": ROOT / "runtime" / "clsclip_runtime",
    "clsclip_serve": ROOT / "runtime" / "clsclip_serve",
    "clsclip": ROOT / "clsclip",
    "clsclip_export": ROOT / "export" / "clsclip_export",
    "clsclip_bench": ROOT / "benchmarks" / "clsclip_bench",
}
RUNTIME_ROOT = {
    *("__init__", "__main__", "_types", "arrays", "caches", "doctor", "documents", "errors"),
    *("extras", "forks", "libraries", "limits", "options", "paths", "protocols", "renamed", "scratch"),
    *("segmenter", "system", "tensor_files", "version"),
}
"""Modules of the runtime that belong to no room: the facade, and what every room stands on."""


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    folder = PACKAGES[package]
    for path in sorted(folder.rglob("*.py")):
        parts = [package, *path.relative_to(folder).with_suffix("").parts]
        yield ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_text("utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Modules that are imported when the module is, types and late imports left out."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        is_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if is_types or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            skipped |= set(ast.walk(node)) - {node}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def graph(package: str, depth: int) -> dict[str, set[str]]:
    """Imports between rooms (depth 2) or modules (a larger depth) of one package."""
    known = {name for name, _ in modules(package)}
    found: dict[str, set[str]] = {}
    for name, tree in modules(package):
        own = ".".join(name.split(".")[:depth])
        for target in imported(tree):
            while target and target not in known:
                target = target.rpartition(".")[0]
            other = ".".join(target.split(".")[:depth])
            if target and other != own and target != package:
                found.setdefault(own, set()).add(other)
    return found


def circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle; empty if there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(edges.get(node, ())):
            if found := visit(other, [*path, node]):
                return found
        done.add(node)
        return []

    for node in sorted(edges):
        if found := visit(node, []):
            return found
    return []


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("depth", [2, 9], ids=["rooms", "modules"])
def test_imports_form_no_circle(package: str, depth: int) -> None:
    edges = graph(package, depth)
    assert len(edges) > 3
    assert circle(edges) == []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def test_no_module_stands_outside_its_room() -> None:
    assert {path.stem for path in PACKAGES["clsclip_runtime"].glob("*.py")} == RUNTIME_ROOT


def test_long_files_say_why() -> None:
    for folder in (*PACKAGES.values(), ROOT / "runtime" / "cpp" / "src"):
        for path in folder.rglob("*"):
            if path.suffix in (".py", ".cpp", ".hpp", ".h"):
                lines = path.read_text("utf-8").splitlines()
                reason = any(
                    word in "\n".join(lines[:8]) for word in ("Longer than", "made by", "Made by", "Generated")
                )
                assert len(lines) <= 400 or reason, f"{path.relative_to(ROOT)} has {len(lines)} lines"
