"""PyTorch's zip archives, TorchScript's too: tensors by name, and nothing in them is run.

The pickle inside is walked opcode by opcode. What it would call or build becomes a plain record of what was asked; only
tensors, lists and dictionaries are understood. So whole models and checkpoints with their settings can be read as well.
"""

from __future__ import annotations

import math
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

MOST_PICKLE = 1 << 26
"""Bytes of the pickle, which holds names and settings and no weights."""

MOST_CODE = 1 << 22
"""Bytes of TorchScript code that are searched for the activation."""

_MOST_DEPTH = 64
_CODE: dict[str, re.Pattern[bytes]] = {
    # A traced archive keeps 1.702 in its constants: a sigmoid of a product tells QuickGELU in any case.
    "quick_gelu": re.compile(rb"1\.702|sigmoid\(torch\.mul\(|\b(\w+) = torch\.mul\([^\n]*\n[^\n]*torch\.sigmoid\(\1\)"),
    "gelu_tanh": re.compile(rb"torch\.gelu\([^\n]*tanh"),
    "gelu": re.compile(rb"torch\.gelu\((?![^\n]*tanh)"),
}
"""What the code of TorchScript says of each activation."""

_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")

_TYPES = {
    **{"FloatStorage": torch.float32, "HalfStorage": torch.float16, "DoubleStorage": torch.float64},
    **{"BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32},
    **{"ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8},
    **{"BoolStorage": torch.bool, "UntypedStorage": torch.uint8},
}
_UNNAMED = ("_parameters", "_buffers", "_modules")
"""Where PyTorch's modules keep their parts: no part of a weight's name."""


class ArchiveError(ValueError):
    """An archive cannot be read; the message says why, without the file's name.

    Attributes:
        remedy: whether fetching the file again would not help.
    """

    def __init__(self, message: str, remedy: bool = False) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Archive:
    """What was found.

    Attributes:
        tensors: by name, nested names joined by dots.
        script: whether it is a TorchScript archive.
        activation: ``quick_gelu``, ``gelu`` or ``gelu_tanh``, joined by plus signs, where its code tells.
    """

    tensors: dict[str, Tensor]
    script: bool
    activation: str | None


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str


@dataclass(frozen=True)
class _View:
    """A tensor: a view of a storage, in elements of its type."""

    storage: _Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Name:
    """A class or function that the pickle names."""

    text: str


@dataclass(eq=False)
class _Record:
    """An object that the pickle would make."""

    kind: str
    items: dict[Any, Any] = field(default_factory=dict)


class _Mark:
    """Where a group of values begins."""


def read_archive(path: Path) -> Archive:
    """Read every tensor of an archive.

    Raises:
        ArchiveError: it is damaged, or its tensors are of a kind that weights are not.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as opened:
            return _Reader(opened).archive()
    except ArchiveError:
        raise
    except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError, KeyError, struct.error, zlib.error) as error:
        raise ArchiveError(f"it is a damaged zip archive: {error}") from error


class _Reader:
    """Reads one open archive."""

    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._zip = opened
        entries = {one.filename: one for one in opened.infolist()}
        if len(entries) != len(opened.infolist()):
            raise ArchiveError("it holds two records of one name")
        roots = [
            name.removesuffix("data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            inside = next((name for name in entries if name.lower().endswith(_WEIGHTS)), None)
            if inside is not None:
                raise ArchiveError(f"it is a zip archive that holds {inside[-80:]!a}. Unpack it, and give that", True)
            raise ArchiveError("it is a zip archive, and not PyTorch's", True)
        self._root, self._entries = roots[0], entries
        self._bytes: dict[str, bytearray] = {}

    def archive(self) -> Archive:
        order = self._entries.get(f"{self._root}byteorder")
        if order is not None and self._zip.read(order) != b"little":
            raise ArchiveError("it was written on a machine of another byte order")
        entry = self._entries[f"{self._root}data.pkl"]
        if entry.file_size > MOST_PICKLE:
            raise ArchiveError(f"its data.pkl has {entry.file_size} bytes, which names of weights do not need")
        with self._zip.open(entry) as stream:
            views = dict(_named(_walked(stream)))
        script = f"{self._root}constants.pkl" in self._entries
        return Archive({name: self._tensor(view) for name, view in views.items()}, script, self._activation())

    def _activation(self) -> str | None:
        """What the code of a TorchScript archive computes."""
        left, found = MOST_CODE, set()
        for name, entry in self._entries.items():
            if name.startswith(f"{self._root}code/") and name.endswith(".py") and entry.file_size <= left:
                left -= entry.file_size
                code = self._zip.read(entry)
                found |= {activation for activation, pattern in _CODE.items() if pattern.search(code)}
        return "+".join(sorted(found)) or None

    def _tensor(self, view: _View) -> Tensor:
        count = math.prod(view.shape)
        if count == 0:
            return torch.empty(view.shape, dtype=view.dtype)
        content = self._content(view.storage.key)
        most = len(content) // view.dtype.itemsize
        last = view.offset + sum((size - 1) * step for size, step in zip(view.shape, view.stride, strict=True))
        if count > most or last >= most:
            raise ArchiveError("a tensor reaches beyond its record")
        whole = torch.frombuffer(content, dtype=view.dtype, count=most)
        return whole.as_strided(view.shape, view.stride, view.offset).contiguous()

    def _content(self, key: str) -> bytearray:
        if key not in self._bytes:
            entry = self._entries.get(f"{self._root}data/{key}")
            if entry is None or entry.compress_type != zipfile.ZIP_STORED:
                raise ArchiveError(f"the record data/{key[:40]} is absent or compressed")
            self._bytes[key] = bytearray(self._zip.read(entry))
        return self._bytes[key]


def _named(root: Any) -> Iterator[tuple[str, _View]]:
    """Tensors of nested dictionaries, lists and objects by their names."""
    pending: list[tuple[str, Any, int]] = [("", root, 0)]
    seen: set[int] = set()
    while pending:
        name, value, depth = pending.pop()
        if isinstance(value, _View):
            yield name, value
            continue
        if id(value) in seen or depth > _MOST_DEPTH:
            continue
        if isinstance(value, _Record):
            children = value.items
        elif isinstance(value, dict):
            children = value
        elif isinstance(value, (list, tuple)):
            children = dict(enumerate(value))
        else:
            continue
        seen.add(id(value))
        for key, child in children.items():
            if isinstance(key, (str, int)):
                inner = name if key in _UNNAMED else f"{name}.{key}" if name else str(key)
                pending.append((inner, child, depth + 1))


def _walked(stream: IO[bytes]) -> Any:
    """What a pickle describes.

    Raises:
        ArchiveError: it is damaged, or uses what archives of weights do not.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.take(opcode.name, argument)
    except ArchiveError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ArchiveError(f"its data.pkl is damaged: {error}") from error
    raise ArchiveError("its data.pkl has no end")


class _Machine:
    """The stack and memory of a pickle; values are plain, calls are recorded."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memory: dict[int, Any] = {}

    def take(self, name: str, argument: Any) -> None:
        """Do one opcode."""
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            stack.append(argument)
        elif name in _TUPLES:
            count = _TUPLES[name]
            values = tuple(stack[-count:])
            del stack[-count:]
            stack.append(values)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self._memory[len(self._memory) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memory[int(argument)])
        elif name not in ("PROTO", "FRAME"):
            handler = _HANDLERS.get(name)
            if handler is None:
                raise ArchiveError(f"its data.pkl has the instruction {name}, which weights do not need")
            handler(self, argument)

    def marked(self) -> list[Any]:
        """Take off what lies above the last mark, and the mark."""
        at = max(place for place, value in enumerate(self.stack) if value is _Mark)
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def global_(self, argument: str) -> None:
        self.stack.append(_Name(argument.replace(" ", ".")))

    def stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_Name(f"{module}.{name}"))

    def call(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(_called(function, arguments))

    def tuple_(self, _: Any) -> None:
        self.stack.append(tuple(self.marked()))

    def list_(self, _: Any) -> None:
        self.stack.append(self.marked())

    def dict_(self, _: Any) -> None:
        values = self.marked()
        self.stack.append(dict(zip(values[::2], values[1::2], strict=True)))

    def append(self, _: Any) -> None:
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    def appends(self, _: Any) -> None:
        values = self.marked()
        _extend(self.stack[-1], values)

    def setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], key, value)

    def setitems(self, _: Any) -> None:
        values = self.marked()
        for key, value in zip(values[::2], values[1::2], strict=True):
            _put(self.stack[-1], key, value)

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict) and isinstance(self.stack[-1], (_Record, dict)):
                for key, value in part.items():
                    _put(self.stack[-1], key, value)

    def persistent(self, _: Any) -> None:
        what = self.stack.pop()
        if not isinstance(what, tuple) or len(what) < 3 or what[0] != "storage" or not isinstance(what[1], _Name):
            raise ArchiveError("its data.pkl refers to something else than records")
        kind = what[1].text.rpartition(".")[2]
        if kind not in _TYPES:
            known = ", ".join(_TYPES)
            raise ArchiveError(f"it holds {kind[:40]}, as quantized weights do, and is read with {known}", True)
        self.stack.append(_Storage(_TYPES[kind], str(what[2])))

    def mark(self, _: Any) -> None:
        self.stack.append(_Mark)

    def pop(self, _: Any) -> None:
        self.stack.pop()

    def pop_mark(self, _: Any) -> None:
        self.marked()


def _called(function: Any, arguments: Any) -> Any:
    """The value of a call: tensors and containers, else a record of it."""
    name = function.text if isinstance(function, _Name) else ""
    short = name.rpartition(".")[2]
    if name.startswith("torch._utils._rebuild_tensor"):
        storage, offset, shape, stride = arguments[:4]
        dtype = _dtype(arguments[6]) if short == "_rebuild_tensor_v3" else storage.dtype
        sizes, steps = tuple(map(_count, shape)), tuple(map(_count, stride))
        if len(sizes) != len(steps) or not isinstance(storage, _Storage):
            raise ArchiveError("a tensor's description is damaged")
        return _View(storage, dtype, _count(offset), sizes, steps)
    if name.startswith(("torch._utils._rebuild_parameter", "torch.jit._pickle.")) and arguments:
        return arguments[0]
    if name == "collections.OrderedDict":
        return {}
    return _Record(name)


def _dtype(name: Any) -> torch.dtype:
    found = getattr(torch, name.text.rpartition(".")[2], None) if isinstance(name, _Name) else None
    if not isinstance(found, torch.dtype):
        raise ArchiveError("a tensor's type is unknown")
    return found


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ArchiveError("a tensor's description is damaged")
    return value


def _put(target: Any, key: Any, value: Any) -> None:
    """An item of a dictionary or of an object."""
    if isinstance(key, (str, int)):
        items = target.items if isinstance(target, _Record) else target
        items[key] = value


def _extend(target: Any, values: list[Any]) -> None:
    """Items of a list; those of other objects have no names."""
    if isinstance(target, list):
        target.extend(values)


_CONSTANTS: dict[str, Callable[[], Any]] = {
    **{"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list},
    **{"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False},
}
_LITERALS = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_HANDLERS: dict[str, Callable[[_Machine, Any], None]] = {
    **{"GLOBAL": _Machine.global_, "STACK_GLOBAL": _Machine.stack_global, "BINPERSID": _Machine.persistent},
    **{"REDUCE": _Machine.call, "NEWOBJ": _Machine.call, "BUILD": _Machine.build, "MARK": _Machine.mark},
    **{"TUPLE": _Machine.tuple_, "LIST": _Machine.list_, "FROZENSET": _Machine.list_, "DICT": _Machine.dict_},
    **{"APPEND": _Machine.append, "APPENDS": _Machine.appends, "ADDITEMS": _Machine.appends},
    **{"SETITEM": _Machine.setitem, "SETITEMS": _Machine.setitems, "POP": _Machine.pop, "POP_MARK": _Machine.pop_mark},
}
