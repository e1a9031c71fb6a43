"""How the command line speaks: exit codes, one line for an error, one JSON document a line."""

from __future__ import annotations

import json
from typing import Any

import click

from clsclip_runtime.cli.report import one_line
from clsclip_runtime.errors import OutputError

PROGRAM = "clsclip-infer"

WRONG_USE, FAILURE, INTERRUPTED = 2, 1, 130


def fail(message: object, code: int, program: str = PROGRAM) -> int:
    """Print an error as one line on standard error; returns ``code``."""
    click.echo(f"{program}: {one_line(message)}", err=True)
    return code


def print_json(document: dict[str, Any]) -> None:
    """Print a document as one line on standard output. OutputError if nobody reads it any more."""
    try:
        click.echo(json.dumps(document, allow_nan=False))
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror or error}. Who reads it?") from error
