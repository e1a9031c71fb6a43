"""Doors that stay shut: what only one module may do, found in the source of every package.

Every kind of file has one door, in which it is checked. A module is added to a door only where it is a part of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.test_rooms import PACKAGES, modules

DOORS = {"clsclip_runtime.paths", "clsclip_runtime.scratch", "clsclip_runtime.system"}
"""Modules that write files: under a new name that takes the place of the old file, never through a link."""

ELSEWHERE = {
    ("clsclip_bench.worker", "os.fdopen"),  # standard output, for the parent process
    ("clsclip_bench.worker", "np.save"),  # in a temporary folder of the parent process
    ("clsclip_runtime.cli.output", "open"),  # the null device
    ("clsclip_runtime.cli.output", "os.fdopen"),  # standard output
    ("clsclip_runtime.isolated.child", "os.fdopen"),  # standard output, for the parent process
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


@dataclass(frozen=True)
class Reader:
    """The door of one kind of file that is read.

    Attributes:
        names: what opens such a file, as dotted names; one that ends in a dot stands for all below it.
        behind: modules that may use them.
        use: what is to be used instead.
    """

    names: frozenset[str]
    behind: frozenset[str]
    use: str

    def around(self, module: str, tree: ast.Module) -> list[str]:
        """Where a module goes around the door."""
        if module in self.behind:
            return []
        return [
            f"{module}:{line} uses {name}; use {self.use}"
            for line, name in imported_names(tree)
            if name in self.names or any(one.endswith(".") and f"{name}.".startswith(one) for one in self.names)
        ]


READERS = {
    "json": Reader(
        names=frozenset({"json.load", "json.loads", "json.JSONDecoder", "json.decoder."}),
        behind=frozenset({"clsclip_runtime.documents"}),
        use="clsclip_runtime.documents: read_json or parse_json",
    ),
    "safetensors": Reader(
        names=frozenset(
            {
                *("safetensors.safe_open", "safetensors.deserialize"),
                *(f"safetensors.{kind}.{name}" for kind in ("torch", "numpy") for name in ("load", "load_file")),
            }
        ),
        behind=frozenset(),
        use="clsclip_runtime.tensor_files.TensorFile",
    ),
    "tokenizer": Reader(
        names=frozenset(f"tokenizers.Tokenizer.{name}" for name in ("from_file", "from_str", "from_buffer")),
        behind=frozenset({"clsclip_runtime.text.tokenizer_file"}),
        use="clsclip_runtime.text.tokenizer_file.read_tokenizer",
    ),
    "pickle": Reader(
        names=frozenset({"pickle.", "marshal.", "shelve.", "dill.", "cloudpickle.", "joblib."}),
        behind=frozenset(),
        use="safetensors or JSON: unpickling runs code",
    ),
}


def imported_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every name and attribute that comes from an import."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                first = one.name.partition(".")[0]
                known[one.asname or first] = one.name if one.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            known |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    for node in ast.walk(tree):
        parts: list[str] = []
        part: ast.AST = node
        while isinstance(part, ast.Attribute):
            parts.insert(0, part.attr)
            part = part.value
        if isinstance(part, ast.Name) and part.id in known:
            yield part.lineno, ".".join([known[part.id], *parts])


@pytest.mark.parametrize("kind", READERS)
def test_files_are_read_by_one_door(kind: str) -> None:
    door = READERS[kind]
    names = {module for package in PACKAGES for module, _ in modules(package)}
    assert door.behind <= names
    assert [one for package in PACKAGES for module in modules(package) for one in door.around(*module)] == []


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("json", "import json\njson.loads('1')"),
        ("json", "from json import load as read\nread(file)"),
        ("json", "import json as j\nparse = j.loads"),
        ("json", "import json.decoder\njson.decoder.scanner"),
        ("safetensors", "from safetensors import safe_open\nsafe_open(path)"),
        ("safetensors", "import safetensors.torch\nsafetensors.torch.load_file(path)"),
        ("safetensors", "from safetensors import numpy as st\nst.load(data)"),
        ("tokenizer", "from tokenizers import Tokenizer\nTokenizer.from_file(path)"),
        ("pickle", "import pickle\npickle.loads(data)"),
    ],
)
def test_ways_around_a_door_are_found(kind: str, source: str) -> None:
    assert READERS[kind].around("clsclip_runtime.somewhere", ast.parse(source))


@pytest.mark.parametrize(
    "source",
    ["import json\njson.dumps(1)", "def loads(): ...\nloads()", "from safetensors.torch import save\nsave({})"],
)
def test_what_reads_nothing_is_free(source: str) -> None:
    assert [one for door in READERS.values() for one in door.around("somewhere", ast.parse(source))] == []
