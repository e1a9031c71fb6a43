"""What commands print: one line for a message, one JSON document a line."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

import click


def one_line(message: object) -> str:
    """A message as one printable line, whatever names and reasons it quotes."""
    text = " ".join(str(message).split())
    text = "".join("?" if unicodedata.category(character) == "Cc" else character for character in text)
    return text.encode("utf-8", "replace").decode("utf-8")


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document as one line on standard output. BrokenPipeError if its reader is gone."""
    click.echo(json.dumps(document, allow_nan=False))
