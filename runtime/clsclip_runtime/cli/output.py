"""What commands print: one line for a message, one JSON document a line."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

import click

from clsclip_runtime.errors import OutputError


def one_line(message: object) -> str:
    """A message as one printable line, whatever names and reasons it quotes."""
    text = " ".join(str(message).split())
    text = "".join("?" if unicodedata.category(character) == "Cc" else character for character in text)
    return text.encode("utf-8", "replace").decode("utf-8")


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document as one line on standard output.

    Raises:
        BrokenPipeError: its reader is gone.
        OutputError: there is no standard output.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed, and JSON goes there. Send it to a file: > results.jsonl")
    click.echo(json.dumps(document, allow_nan=False))


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
