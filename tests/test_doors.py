"""Doors that stay shut: what only one module may do, found in the source of every package."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

import pytest

from tests.test_rooms import PACKAGES, modules

DOORS = {"clsclip_runtime.paths", "clsclip_runtime.scratch", "clsclip_runtime.system"}
"""Modules that write files: under a new name that takes the place of the old file, never through a link."""

ELSEWHERE = {
    ("clsclip_bench.worker", "os.fdopen"),  # standard output, for the parent process
    ("clsclip_bench.worker", "np.save"),  # in a temporary folder of the parent process
    ("clsclip_runtime.cli.runner", "os.open"),  # the null device
}
"""Calls that write no file of a user."""


def writes(call: ast.Call) -> str | None:
    """The name of a call that writes a file by its name, None of any other."""
    function = call.func
    if isinstance(function, ast.Name):
        return "open" if function.id == "open" and _for_writing(call, 1) else None
    if not isinstance(function, ast.Attribute):
        return None
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    name = f"{owner}.{function.attr}"
    if function.attr in ("write_bytes", "write_text", "tofile", "symlink_to", "hardlink_to"):
        return name
    if name in ("np.save", "np.savez", "np.savez_compressed", "tempfile.mkstemp", "tempfile.NamedTemporaryFile"):
        return name
    if name == "os.open":
        return name if re.search("O_WRONLY|O_RDWR|O_CREAT|O_APPEND|O_TRUNC", ast.dump(call)) else None
    if name == "os.fdopen":
        return name if _for_writing(call, 1) else None
    return name if function.attr == "open" and owner != "av" and _for_writing(call, 0) else None


def _for_writing(call: ast.Call, place: int) -> bool:
    """Whether the mode of a call that opens something writes; it is the argument ``mode``, or stands at ``place``."""
    given = [one.value for one in call.keywords if one.arg == "mode"] or call.args[place : place + 1]
    modes = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return any(set(mode) <= set("rwxabt+U") and set(mode) & set("wxa+") for mode in modes)


def found(rule: Callable[[ast.Call], str | None]) -> Iterator[tuple[str, str, int]]:
    """Module, call and line of every call that a rule names."""
    for package in PACKAGES:
        for module, tree in modules(package):
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and (name := rule(node)):
                    yield module, name, node.lineno


def test_files_are_written_by_one_door() -> None:
    wrong = [
        f"{module}:{line} {name}"
        for module, name, line in found(writes)
        if module not in DOORS and (module, name) not in ELSEWHERE
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("open(path, 'wb')", "open"),
        ("open(path, mode='a')", "open"),
        ("open(path)", None),
        ("open(path, 'rb')", None),
        ("path.open('x')", "path.open"),
        ("path.open('r+b')", "path.open"),
        ("path.open(mode='w')", "path.open"),
        ("path.open()", None),
        ("(folder / name).open('wb')", ".open"),
        ("path.write_bytes(b'')", "path.write_bytes"),
        ("(a / b).write_text('')", ".write_text"),
        ("write_text(path, '')", None),
        ("os.open(path, os.O_WRONLY | os.O_CREAT)", "os.open"),
        ("os.open(path, os.O_RDONLY)", None),
        ("os.fdopen(1, 'w')", "os.fdopen"),
        ("tempfile.mkstemp()", "tempfile.mkstemp"),
        ("tempfile.NamedTemporaryFile()", "tempfile.NamedTemporaryFile"),
        ("np.save(path, array)", "np.save"),
        ("Image.open(path)", None),
        ("av.open(file, 'w')", None),
    ],
)
def test_what_the_rule_finds(text: str, name: str | None) -> None:
    (node,) = (one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Call))
    assert writes(node) == name
