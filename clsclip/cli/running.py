"""How a command ends: exit code 2 for wrong use, 1 for a failure, 130 on interrupt, and never a traceback."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from clsclip.errors import ClsclipError
from clsclip_runtime.errors import ClsclipRuntimeError, OptionError, WordError

WRONG_USE, FAILURE, INTERRUPTED = 2, 1, 130


def run_command(command: click.Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run a click command and return its exit code. CLSCLIP_DEBUG=1 shows tracebacks."""
    try:
        result = command.main(None if arguments is None else list(arguments), prog_name=program, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (click.Abort, KeyboardInterrupt):
        return _fail(program, "interrupted", INTERRUPTED)
    except click.ClickException as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
            error.show()
            return error.exit_code
        return _fail(program, f"{error.format_message()} (see {program} --help)", error.exit_code)
    except (WordError, OptionError) as error:
        return _fail(program, error, WRONG_USE)
    except (ClsclipError, ClsclipRuntimeError) as error:
        return _fail(program, error, FAILURE)
    except Exception as error:
        if os.environ.get("CLSCLIP_DEBUG", "") not in ("", "0"):
            raise
        message = f"unexpected {type(error).__name__}: {error}. Run with CLSCLIP_DEBUG=1 for the traceback"
        return _fail(program, message, FAILURE)


def _fail(program: str, message: object, code: int) -> int:
    click.echo(f"{program}: {' '.join(str(message).split())}", err=True)
    return code
