"""What commands print, and where: nothing that a terminal would obey, and with ``--json`` nothing but JSON."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, BinaryIO, TextIO, TypeVar

import click

from clsclip_runtime.errors import ImageError, OutputError, printable

Command = TypeVar("Command", bound=Callable[..., Any])

_json_stream: TextIO | None = None
"""Where JSON goes while everything else on standard output is sent to standard error."""

_NO_OUTPUT = "standard output is closed, and JSON goes there. Send it to a file: > results.jsonl"


def echo(text: object = "", *, err: bool = False, mark: str = "") -> None:
    """Print lines, each made printable; nothing where the stream is closed.

    Args:
        text: of any number of lines.
        err: print on standard error.
        mark: printed as it is before the text: the program's own, which may have colors.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # named, because click takes UTF-8 where a stream says ASCII
        click.echo(mark + "\n".join(map(printable, str(text).split("\n"))), file=stream)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document as one line on standard output.

    Raises:
        OutputError: standard output is closed.
        BrokenPipeError: its reader is gone.
    """
    stream = _json_stream or sys.stdout
    if stream is None:
        raise OutputError(_NO_OUTPUT)
    click.echo(json.dumps(document, allow_nan=False), file=stream)


class ToldOnce:
    """Keeps what is the same for a whole run on its first line: why other backends were passed over."""

    def __init__(self) -> None:
        self._done = False

    def __call__(self, document: dict[str, Any]) -> dict[str, Any]:
        """A document of a result as it is printed next."""
        first, self._done = not self._done, True
        return document if first else document | {"backend_notes": []}


def json_option(text: str) -> Callable[[Command], Command]:
    """Decorate a click command with the switch ``--json``, its parameter ``as_json``.

    With it standard output holds what ``print_json`` prints alone: what libraries print there goes to standard error.

    Args:
        text: help.
    """

    def begin(context: click.Context, _: click.Parameter, value: bool) -> bool:
        if value and not context.resilient_parsing:
            context.with_resource(_json_alone())
        return value

    return click.option("--json", "as_json", is_flag=True, callback=begin, help=text)


@contextmanager
def _json_alone() -> Iterator[None]:
    """Send standard output, Python's and that of libraries in C, to standard error, but for ``print_json``.

    Raises:
        OutputError: standard output is closed.
    """
    global _json_stream
    before = sys.stdout
    if before is None:
        raise OutputError(_NO_OUTPUT)
    with ExitStack() as undo:
        if _number(before) == 1 and (sys.stderr is None or _number(sys.stderr) == 2):
            before.flush()
            kept = os.dup(1)
            _json_stream = undo.enter_context(os.fdopen(kept, "w", encoding="utf-8"))
            os.dup2(2, 1)
            undo.callback(os.dup2, kept, 1)
            undo.callback(_flush_c)
        else:
            _json_stream = before
        sys.stdout = sys.stderr or undo.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        try:
            yield
        finally:
            sys.stdout, _json_stream = before, None


def _number(stream: TextIO | None) -> int | None:
    """The number of a stream's descriptor; None where it has none."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _flush_c() -> None:
    """Write what libraries in C have printed and not yet written."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream, which may be missing or closed, is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def prints_to_terminal() -> bool:
    """Whether tables and JSON go to a terminal."""
    return is_terminal(_json_stream or sys.stdout)


def standard_input() -> BinaryIO:
    """Standard input as bytes. ImageError if it is closed."""
    if sys.stdin is None or getattr(sys.stdin, "closed", False):
        raise ImageError("standard input is closed, and SOURCE is -. Give a file, or pipe one in")
    return sys.stdin.buffer


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Let no print end a run: characters that an encoding lacks are written as escapes, such as ``\\u72ac``."""
    with ExitStack() as undo:
        for stream in (sys.stdout, sys.stderr):
            change, errors = getattr(stream, "reconfigure", None), getattr(stream, "errors", None)
            if change is not None and errors != "backslashreplace":
                with suppress(OSError, ValueError):
                    change(errors="backslashreplace")
                    undo.callback(_back, change, errors)
        yield


def _back(change: Callable[..., None], errors: str | None) -> None:
    with suppress(OSError, ValueError):  # closed meanwhile, or nobody reads what is left
        change(errors=errors)


def cells(text: str) -> int:
    """Columns that a terminal takes: two for wide East Asian characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def cut_left(text: str, width: int) -> str:
    """The end of a text, filled up with spaces: exactly ``width`` columns of a terminal."""
    while cells(text) > width:
        text = text[1:]
    return text + " " * (width - cells(text))
