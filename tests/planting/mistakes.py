"""Mistakes to plant in a module, one at a time; see :func:`mistakes`.

A name that is read from an object is misspelt, an argument is dropped, the direction of a copy is reversed, a body is
emptied, a statement is left out. Annotations, docstrings, messages and what is only logged are left alone.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

KINDS = ("misspelt name", "dropped argument", "reversed copy", "emptied body", "dropped statement")

REVERSED = {
    "HostToDevice": "DeviceToHost",
    "DeviceToHost": "HostToDevice",
    "DeviceToDevice": "HostToDevice",
    "htod": "dtoh",
    "dtoh": "htod",
    "dtod": "htod",
    "to_device": "to_host",
    "to_host": "to_device",
}

LEFT_OUT = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Raise, ast.Delete)

NOT_PLANTED = {"_log", "cast", "TypeAlias", "getLogger"}
"""Calls by these names, or by methods of them, change nothing that a test should hold."""


@dataclass(frozen=True)
class Mistake:
    """One module with one mistake.

    Attributes:
        kind: one of :data:`KINDS`.
        line: where it is.
        what: for people.
        make: writes the whole module.
    """

    kind: str
    line: int
    what: str
    make: Callable[[], str]

    @property
    def source(self) -> str:
        """The whole module, made when it is asked for: that takes longer than to find the place."""
        return self.make()


def mistakes(source: str) -> Iterator[Mistake]:
    """Every mistake of :data:`KINDS` in ``source``."""
    tree = ast.parse(source)
    for number, node in enumerate(_planted(tree)):
        for kind, what, plant in _plans(node):
            yield Mistake(kind, getattr(node, "lineno", 0), what, partial(_made, tree, number, plant))


def _made(tree: ast.Module, number: int, plant: Callable[[ast.AST], None]) -> str:
    changed = copy.deepcopy(tree)
    plant(list(_planted(changed))[number])
    return ast.unparse(ast.fix_missing_locations(changed))


def _planted(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, in order, whose change a test should see."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            yield from _planted(child)


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases):
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    called = node.value if isinstance(node, ast.Expr) else node
    if isinstance(called, ast.Call):
        if isinstance(called.func, ast.Attribute) and called.func.attr in NOT_PLANTED:
            return True
        root = called.func
        while isinstance(root, ast.Attribute):
            root = root.value
        return isinstance(root, ast.Name) and root.id in NOT_PLANTED
    return False


def _plans(node: ast.AST) -> Iterator[tuple[str, str, Callable[[ast.AST], None]]]:
    """(kind, what, how to change the node's copy) of every mistake at ``node``."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        if not node.attr.startswith("__"):
            yield KINDS[0], ast.unparse(node), _set_attribute(node.attr + "_")
        other = _reverse(node.attr)
        if other:
            yield KINDS[2], f"{ast.unparse(node)} -> {other}", _set_attribute(other)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and (other := _reverse(node.value)):
        yield KINDS[2], f"{node.value} -> {other}", _set_value(other)
    if isinstance(node, ast.Call) and not _is_message(node):
        for at, argument in enumerate(node.args):
            yield KINDS[1], f"{ast.unparse(argument)} in {ast.unparse(node)}", _drop(at, "args")
        for at, keyword in enumerate(node.keywords):
            yield KINDS[1], f"{keyword.arg} in {ast.unparse(node)}", _drop(at, "keywords")
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not _is_empty(node.body):
        yield KINDS[3], f"{node.name}()", _empty
    for field in ("body", "orelse", "finalbody"):
        statements = getattr(node, field, None)
        if isinstance(node, (ast.Module, ast.ClassDef)) or not isinstance(statements, list):
            continue
        for at, statement in enumerate(statements):
            if isinstance(statement, LEFT_OUT) and not _is_left_alone(statement):
                yield KINDS[4], ast.unparse(statement).splitlines()[0], _leave_out(field, at)


def _is_message(node: ast.Call) -> bool:
    """Errors are made of words: without them they are still errors, and tests read their words."""
    return isinstance(node.func, ast.Name) and node.func.id.endswith("Error")


def _is_empty(body: list[ast.stmt]) -> bool:
    return all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in body)


def _reverse(text: str) -> str | None:
    """The name of another copy; None where it is none."""
    return next((text.replace(old, new) for old, new in REVERSED.items() if old in text and " " not in text), None)


def _set_attribute(name: str) -> Callable[[ast.AST], None]:
    return lambda node: setattr(node, "attr", name)


def _set_value(value: str) -> Callable[[ast.AST], None]:
    return lambda node: setattr(node, "value", value)


def _drop(at: int, field: str) -> Callable[[ast.AST], None]:
    return lambda node: getattr(node, field).__delitem__(at)


def _leave_out(field: str, at: int) -> Callable[[ast.AST], None]:
    return lambda node: getattr(node, field).__setitem__(at, ast.Pass())


def _empty(node: ast.AST) -> None:
    node.body = [ast.Pass()]  # type: ignore[attr-defined]
