"""An ONNX file walked message by message, without an ONNX library.

Every field of it is seen: what this reader does not know is refused, and so is what is written as no exporter does
(:mod:`clsclip_runtime.bundle.protobuf`). What the graph means is checked in :mod:`clsclip_runtime.bundle.graph_rules`.
Longer than other files: it is one reader, message by message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from clsclip_runtime.bundle.onnx_graph import (
    BYTES_OF,
    FLOAT,
    INT64,
    SMALL,
    TENSOR,
    Bounds,
    Graph,
    Model,
    Node,
    NotOnnxError,
    Tensor,
    Value,
)
from clsclip_runtime.bundle.protobuf import FOUR_BYTES, LENGTH, VARINT, Bytes, NotProtobufError, fields, tag_of, varint
from clsclip_runtime.errors import printable

MAX_TEXT = 4096
_ENTRY_BYTES = 16
"""What an entry of the metadata counts for beside its texts: there may be many empty ones."""

MAX_VALUES = 1 << 24
"""Of a tensor that is written inside a node."""

MAX_COUNT = 1 << 48
"""Values of a tensor, without its axes of size 0: those make the others no smaller, and engines multiply them too."""

_SMALL_MESSAGE = 256
"""Bytes of types and attributes that are looked up before they are read."""

_EXTERNAL = 1

_Part = TypeVar("_Part")


def _table(names: str) -> dict[int, int]:
    """Tags of a message, each with a bit of its own or, if it may come again, 0.

    Args:
        names: such as ``"name:1b dims:1v*"``: a field's number, then v for a whole number, b for bytes, f for four
            bytes, and a star where it may come again.
    """
    wires = {"v": VARINT, "b": LENGTH, "f": FOUR_BYTES}
    parts = [part.partition(":")[2] for part in names.split()]
    return {
        tag_of(int(part.rstrip("vbf*")), wires[part.rstrip("*")[-1]]): 0 if part.endswith("*") else 1 << at
        for at, part in enumerate(parts)
    }


_MODEL = _table(
    "ir_version:1v producer_name:2b producer_version:3b domain:4b model_version:5v doc_string:6b graph:7b "
    "opset_import:8b* metadata_props:14b*"
)
_GRAPH = _table(
    "node:1b* name:2b initializer:5b* doc_string:10b input:11b* output:12b* value_info:13b* metadata_props:16b*"
)
_NODE = _table(
    "input:1b* output:2b* name:3b op_type:4b attribute:5b* doc_string:6b domain:7b overload:8b metadata_props:9b*"
)
_ATTRIBUTE = _table("name:1b f:2f i:3v s:4b t:5b floats:7f* ints:8v* strings:9b* doc_string:13b type:20v")
_TENSOR = _table(
    "dims:1v* data_type:2v float_data:4b int32_data:5b int64_data:7b name:8b raw_data:9b double_data:10b "
    "uint64_data:11b doc_string:12b external_data:13b* data_location:14v metadata_props:16b*"
)
_VALUE = _table("name:1b type:2b doc_string:3b metadata_props:4b*")
_TYPE = _table("tensor_type:1b denotation:6b")
_TENSOR_TYPE = _table("elem_type:1v shape:2b")
_SHAPE = _table("dim:1b*")
_AXIS = {tag_of(1, VARINT): 1, tag_of(2, LENGTH): 1, tag_of(3, LENGTH): 2}
"""A size, or a name, and not both."""

_ENTRY = _table("key:1b value:2b")
_OPSET = _table("domain:1b version:2v")

_VALUE_OF_ATTRIBUTE = {
    **{tag_of(2, FOUR_BYTES): 1, tag_of(3, VARINT): 2, tag_of(4, LENGTH): 3, tag_of(5, LENGTH): 4},
    **{tag_of(7, FOUR_BYTES): 6, tag_of(8, VARINT): 7, tag_of(9, LENGTH): 8},
}
"""The type of an attribute, by the field that holds its value."""

_TYPED = {
    **{tag_of(4, LENGTH): ((FLOAT,), 4), tag_of(10, LENGTH): ((11,), 8)},
    **{tag_of(5, LENGTH): ((2, 3, 4, 5, 6, 9, 10, 16), 0), tag_of(7, LENGTH): ((INT64,), 0)},
    tag_of(11, LENGTH): ((12, 13), 0),
}
"""Of fields that hold a tensor's values one by one: types of tensors that use them, and bytes of a value if that is
fixed."""


def walk(data: Bytes, bounds: Bounds) -> Model:
    """Walk the ONNX file ``data``.

    Raises:
        NotOnnxError: it is no ONNX file as exporters write them, or larger than ``bounds``.
    """
    try:
        return _Walker(data, bounds).model()
    except UnicodeDecodeError as error:
        raise NotOnnxError(f"a text is not Unicode ({error.reason})") from error


class _Walker:
    def __init__(self, data: Bytes, bounds: Bounds) -> None:
        self._data, self._bounds = data, bounds
        self._nodes = bounds.nodes
        self._metadata = bounds.metadata
        self._types: dict[bytes, tuple[int, tuple[int | str, ...] | None]] = {}
        self._attributes: dict[bytes, tuple[str, int, Any]] = {}

    def model(self) -> Model:
        """The whole file."""
        data = self._data
        if not len(data):
            raise NotOnnxError("the file is empty")
        ir_version, opsets, metadata, place = 0, {}, {}, None
        around: list[tuple[int, int]] = []
        last = 0
        for tag, start, end in fields(data, 0, len(data), _MODEL):
            number = tag >> 3
            if number == 1:
                ir_version = start
            elif number == 7:
                place = (start, end)
                # The graph's own tag and length are written anew.
                around.append((last, _start_of_field(number, start, end)))
                last = end
            elif number == 8:
                domain, version = self._opset(start, end)
                if domain in opsets:
                    raise NotOnnxError(f"the opset of the domain {domain!r} comes twice")
                opsets[domain] = version
            elif number == 14:
                key, value = self._entry(start, end)
                metadata[key] = value
            elif number in (2, 3, 4, 6):
                self._skip_text(end - start)
        if place is None:
            raise NotOnnxError("it has no graph")
        around.append((last, len(data)))
        return Model(ir_version, opsets, metadata, self._graph(*place), around)

    def _graph(self, start: int, end: int) -> Graph:
        data, found, bounds = self._data, Graph(), self._bounds
        parts: list[tuple[int, int, int]] = []
        beside, most = end - start, bounds.nodes * 8
        for tag, first, last in fields(data, start, end, _GRAPH):
            parts.append((tag >> 3, first, last))
            if tag >> 3 == 5 and last - first >= SMALL:
                beside -= last - first
            if len(parts) > most:
                raise NotOnnxError(f"it has more than {most} parts")
        if beside > bounds.bytes:
            raise NotOnnxError(
                f"it has {beside >> 20} MiB beside its weights, and at most {bounds.bytes >> 20} are read"
            )
        for number, first, last in parts:
            if number == 13:
                found.values.append(self._value(first, last))
            elif number == 1:
                found.nodes.append(self._node(first, last))
                found.places.append(len(found.spans))
                self._nodes -= 1
                if self._nodes < 0:
                    raise NotOnnxError(f"it has more than {bounds.nodes} nodes")
            elif number == 5:
                tensor = self._tensor(first, last)
                found.tensors.append(tensor)
                if tensor.place is not None or tensor.end - tensor.start >= SMALL:
                    continue
            elif number == 11:
                found.inputs.append(self._value(first, last))
            elif number == 12:
                found.outputs.append(self._value(first, last))
            elif number == 16:
                self._entry(first, last)
            else:
                self._skip_text(last - first)
            found.spans.append((_start_of_field(number, first, last), last))
        if len(found.tensors) > bounds.tensors:
            raise NotOnnxError(f"it has more than {bounds.tensors} tensors")
        return found

    def _node(self, start: int, end: int) -> Node:
        data = self._data
        inputs: list[str] = []
        outputs: list[str] = []
        operator = domain = node_name = ""
        attributes: dict[str, tuple[int, Any]] = {}
        for tag, first, last in fields(data, start, end, _NODE):
            number = tag >> 3
            if number == 1:
                inputs.append(str(data[first:last], "utf-8"))
            elif number == 2:
                outputs.append(str(data[first:last], "utf-8"))
            elif number == 3:
                node_name = self._text(first, last)
            elif number == 4:
                operator = self._text(first, last)
            elif number == 5:
                name, kind, value = self._known(self._attributes, self._attribute, first, last)
                if name in attributes:
                    raise NotOnnxError(f"the attribute {name[:40]!r} comes twice")
                attributes[name] = (kind, value)
            elif number == 7:
                domain = self._text(first, last)
            elif number == 8:
                if last > first:
                    raise NotOnnxError("a node names an overload")
            elif number == 9:
                self._entry(first, last)
            else:
                self._skip_text(last - first)
        return Node(operator, domain, tuple(inputs), tuple(outputs), attributes, node_name)

    def _attribute(self, start: int, end: int) -> tuple[str, int, Any]:
        data = self._data
        name, kind, held = "", 0, 0
        value: Any = None
        ints: list[int] = []
        for tag, first, last in fields(data, start, end, _ATTRIBUTE):
            of = _VALUE_OF_ATTRIBUTE.get(tag)
            if of is not None:
                if held not in (0, of):
                    raise NotOnnxError(f"the attribute {name[:40]!r} has two values")
                held = of
                if of == 2:
                    value = _signed(first)
                elif of == 7:
                    ints.append(_signed(first))
                elif of == TENSOR:
                    value = self._tensor(first, last, inside=True)
                elif of in (3, 8):
                    self._skip_text(last - first)
            elif tag >> 3 == 1:
                name = self._text(first, last)
            elif tag >> 3 == 20:
                kind = first
            else:
                self._skip_text(last - first)
        if held not in (0, kind) or not 1 <= kind <= 8:
            raise NotOnnxError(f"the attribute {name[:40]!r} has the type {kind} and a value of type {held}")
        if held == 0 and kind == TENSOR:
            raise NotOnnxError(f"the attribute {name[:40]!r} has no value")
        return name, kind, tuple(ints) if kind == 7 else value

    def _tensor(self, start: int, end: int, *, inside: bool = False) -> Tensor:
        data = self._data
        name, dtype, location = "", 0, 0
        shape: list[int] = []
        raw: tuple[int, int] | None = None
        typed: tuple[int, int, int] | None = None
        entries: dict[str, str] = {}
        for tag, first, last in fields(data, start, end, _TENSOR):
            number = tag >> 3
            if number == 1:
                shape.append(_signed(first))
            elif number == 2:
                dtype = first
            elif number == 8:
                name = self._text(first, last)
            elif number == 9:
                raw = (first, last)
            elif number == 13:
                key, text = self._entry(first, last)
                if key in entries:
                    raise NotOnnxError(f"{name[:40]!r} names its {key[:40]!r} twice")
                entries[key] = text
            elif number == 14:
                location = first
            elif number == 12:
                self._skip_text(last - first)
            elif number == 16:
                self._entry(first, last)
            else:
                if typed is not None:
                    raise NotOnnxError(f"the tensor {name[:40]!r} has two lists of values")
                typed = (tag, first, last)
        if dtype not in BYTES_OF:
            raise NotOnnxError(
                f"the tensor {name[:40]!r} has values of type {dtype}, which no supported exporter writes"
            )
        if len(shape) > 8 or any(size < 0 for size in shape) or math.prod(max(1, size) for size in shape) > MAX_COUNT:
            raise NotOnnxError(f"the tensor {name[:40]!r} has the shape {shape[:9]}")
        size = math.prod(shape) * BYTES_OF[dtype]
        sources = (raw is not None) + (typed is not None) + (location == _EXTERNAL)
        if sources > 1 or location not in (0, _EXTERNAL) or (entries and location != _EXTERNAL):
            raise NotOnnxError(f"the values of the tensor {name[:40]!r} lie in several places")
        place = None
        if location == _EXTERNAL:
            if inside:
                raise NotOnnxError("a node's own tensor lies in another file")
            place = _place(name, entries, size)
        elif raw is not None:
            if raw[1] - raw[0] != size:
                raise NotOnnxError(f"the tensor {name[:40]!r} has {raw[1] - raw[0]} bytes, and {size} by its shape")
        elif typed is not None:
            self._typed(name, dtype, math.prod(shape), *typed)
        elif size:
            raise NotOnnxError(f"the tensor {name[:40]!r} has no values")
        values = None
        if dtype == INT64 and math.prod(shape) <= 64:
            values = self._integers(raw, typed)
        begin, stop = raw or (0, 0)
        return Tensor(name, dtype, tuple(shape), begin, stop, place, values)

    def _typed(self, name: str, dtype: int, count: int, tag: int, start: int, end: int) -> None:
        """Values one by one: as many as the shape says."""
        types, width = _TYPED[tag]
        if dtype not in types or count > MAX_VALUES:
            raise NotOnnxError(f"the tensor {name[:40]!r} of type {dtype} keeps its values in the field {tag >> 3}")
        found = (end - start) / width if width else sum(1 for _ in self._packed(start, end))
        if found != count:
            raise NotOnnxError(f"the tensor {name[:40]!r} has {found:g} values, and {count} by its shape")

    def _packed(self, start: int, end: int) -> Iterator[int]:
        while start < end:
            value, start = varint(self._data, start, end)
            yield value

    def _integers(self, raw: tuple[int, int] | None, typed: tuple[int, int, int] | None) -> tuple[int, ...] | None:
        if raw is not None:
            start, end = raw
            content = bytes(self._data[start:end])
            return tuple(
                int.from_bytes(content[at : at + 8], "little", signed=True) for at in range(0, len(content), 8)
            )
        if typed is not None:
            return tuple(_signed(one) for one in self._packed(typed[1], typed[2]))
        return None

    def _value(self, start: int, end: int) -> Value:
        data = self._data
        name, dtype, shape = "", 0, None
        for tag, first, last in fields(data, start, end, _VALUE):
            number = tag >> 3
            if number == 1:
                name = self._text(first, last)
            elif number == 2:
                dtype, shape = self._known(self._types, self._type, first, last)
            elif number == 4:
                self._entry(first, last)
            else:
                self._skip_text(last - first)
        return Value(name, dtype, shape)

    def _known(self, known: dict[bytes, _Part], read: Callable[[int, int], _Part], start: int, end: int) -> _Part:
        """What a small message says: graphs repeat few of them some hundred times, and equal bytes say the same."""
        if end - start > _SMALL_MESSAGE:
            return read(start, end)
        content = bytes(self._data[start:end])
        found = known.get(content)
        if found is None:
            metadata = self._metadata
            found = read(start, end)
            if metadata == self._metadata:  # metadata count every time
                known[content] = found
        return found

    def _type(self, start: int, end: int) -> tuple[int, tuple[int | str, ...] | None]:
        data = self._data
        dtype, shape = 0, None
        for tag, first, last in _fields_of_type(data, start, end):
            if tag >> 3 != 1:
                self._skip_text(last - first)
                continue
            for inner, begin, stop in fields(data, first, last, _TENSOR_TYPE):
                if inner >> 3 == 1:
                    dtype = begin
                else:
                    shape = tuple(self._axis(at, until) for _, at, until in fields(data, begin, stop, _SHAPE))
                    if len(shape) > 8:
                        raise NotOnnxError(f"a value has {len(shape)} axes")
        if dtype not in BYTES_OF:
            raise NotOnnxError(f"a value has the type {dtype}, which no supported exporter writes")
        return dtype, shape

    def _axis(self, start: int, end: int) -> int | str:
        size: int | str = ""
        for tag, first, last in fields(self._data, start, end, _AXIS):
            if tag == 8:
                size = _signed(first)
                if size < -1:
                    raise NotOnnxError(f"a value has an axis of size {size}")
                if size == -1:
                    size = ""  # some exporters write -1 for an open axis
            elif tag >> 3 == 2:
                size = self._text(first, last)
            else:
                self._skip_text(last - first)
        return size

    def _opset(self, start: int, end: int) -> tuple[str, int]:
        domain, version = "", 0
        for tag, first, last in fields(self._data, start, end, _OPSET):
            if tag >> 3 == 1:
                domain = self._text(first, last)
            else:
                version = first
        return domain, version

    def _entry(self, start: int, end: int) -> tuple[str, str]:
        self._skip_text(end - start + _ENTRY_BYTES)
        key = value = ""
        for tag, first, last in fields(self._data, start, end, _ENTRY):
            text = str(self._data[first:last], "utf-8")
            if tag >> 3 == 1:
                key = text
            else:
                value = text
        return key, value

    def _text(self, start: int, end: int) -> str:
        """A name. What is not printable has no place in one."""
        text = str(self._data[start:end], "utf-8")
        if len(text) > MAX_TEXT or printable(text) != text:
            raise NotOnnxError(f"the name {text[:40]!a} is too long, or not printable")
        return text

    def _skip_text(self, size: int) -> None:
        """A description, which counts as metadata."""
        self._metadata -= size
        if self._metadata < 0:
            raise NotOnnxError(f"its metadata are over {self._bounds.metadata >> 10} KiB")


def _fields_of_type(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    try:
        yield from fields(data, start, end, _TYPE)
    except NotProtobufError as error:
        raise NotOnnxError(f"a value is no tensor ({error})") from error


def _place(name: str, entries: dict[str, str], size: int) -> tuple[str, int, int]:
    """File, offset and length of a tensor's bytes."""
    location, offset, length = entries.get("location", ""), entries.get("offset", "0"), entries.get("length", "")
    if set(entries) - {"location", "offset", "length", "checksum"} or not location:
        raise NotOnnxError(f"the tensor {name[:40]!r} names its place as no exporter does")
    for text in (offset, length or "0"):
        if not (text.isascii() and text.isdecimal() and len(text) <= 15):
            raise NotOnnxError(f"the tensor {name[:40]!r} lies at {text[:40]!a}, which is no number of bytes")
    if length and int(length) != size:
        raise NotOnnxError(f"the tensor {name[:40]!r} has {length} bytes, and {size} by its shape")
    return location, int(offset), size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _start_of_field(number: int, start: int, end: int) -> int:
    """Where the field begins whose content lies in ``start:end``: tag and length have as few bytes as can be."""
    size, before = end - start, 2 if number < 16 else 3
    while size > 0x7F:
        size >>= 7
        before += 1
    return start - before
