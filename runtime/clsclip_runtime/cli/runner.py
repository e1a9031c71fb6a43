"""How every command runs and ends.

Exit code 0 is done, 2 wrong use, 1 a failure, 130 an interrupt (143 by SIGTERM, 129 by SIGHUP). An error is one line on
standard error, never a traceback; ``CLSCLIP_DEBUG=1`` shows tracebacks and the log as well.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence

import click

from clsclip_runtime.cli.output import echo, lenient_streams
from clsclip_runtime.cli.progress import LogHandler
from clsclip_runtime.cli.stopping import Stop, listening
from clsclip_runtime.errors import ClsclipRuntimeError, OptionError, WordError, one_line
from clsclip_runtime.extras import extra_of, install_command
from clsclip_runtime.libraries import be_quiet, installed
from clsclip_runtime.renamed import new_option

WRONG_USE, FAILURE, INTERRUPTED = 2, 1, 130

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""Of standard output. Files are told with their names, by OutputError."""


def run_command(
    command: click.Command,
    program: str,
    arguments: Sequence[str] | None = None,
    *,
    extra: str | None = None,
    errors: tuple[type[Exception], ...] = (),
) -> int:
    """Run a click command and return its exit code.

    Args:
        command: the command; it returns None or an exit code.
        program: its name.
        arguments: None is those of the process.
        extra: the extra that a plain installation lacks to run it.
        errors: errors with a message for people, beside those of the runtime.
    """
    be_quiet()
    if debugging():
        logging.basicConfig(level=logging.DEBUG, handlers=[LogHandler()])
    given = list(sys.argv[1:] if arguments is None else arguments)
    _fill_gaps()
    with lenient_streams(), listening() as stop:
        code = _guarded(command, program, given, stop, lambda error: explain(error, extra, errors))
    if code != INTERRUPTED:
        return code
    # Python remembers an interrupt that went through exec(), which imports use, and under ``python -m`` would end by
    # SIGINT, whatever the exit code. Another exec() makes it forget.
    exec("")  # noqa: S102
    return stop.code


def debugging() -> bool:
    """Whether the user wants tracebacks and the log."""
    return os.environ.get("CLSCLIP_DEBUG", "") not in ("", "0")


def _guarded(
    command: click.Command,
    program: str,
    given: list[str],
    stop: Stop,
    explained: Callable[[Exception], tuple[object, int]],
) -> int:
    try:
        code = _run(command, program, given)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except (click.Abort, KeyboardInterrupt):
        return fail(stop.reason, INTERRUPTED, program)
    except click.ClickException as error:
        return _wrong_use(error, program, given)
    except Exception as error:
        if debugging():
            echo(traceback.format_exc(), err=True)
        lost = _lost(error)
        # The terminal is gone, and what closed it asked to stop.
        if stop.number is not None and isinstance(error, OSError):
            return fail(stop.reason, INTERRUPTED, program)
        return fail(lost, FAILURE, program) if lost is not None else fail(*explained(error), program)


def fail(message: object, code: int, program: str) -> int:
    """Print an error as one line on standard error, if there is one that can be written; returns ``code``."""
    with contextlib.suppress(OSError, ValueError):
        echo(f"{program}: {one_line(message)}", err=True)
    return code


def _fill_gaps() -> None:
    """Open the null device where standard input, output or error are closed.

    A file that is opened next would take their numbers, and get what libraries print.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)


def _run(command: click.Command, program: str, arguments: list[str]) -> int:
    streams = sys.stdout, sys.stderr
    try:
        result = command.main(arguments, prog_name=program, standalone_mode=False)
    except SystemExit as error:
        # Where nobody reads standard output any more, click hides both streams behind wrappers and leaves.
        if sys.stdout is not streams[0]:
            sys.stdout, sys.stderr = streams
            raise BrokenPipeError(errno.EPIPE, "nobody reads") from None
        return error.code if isinstance(error.code, int) else FAILURE if error.code else 0
    return result if isinstance(result, int) else 0


def _wrong_use(error: click.ClickException, program: str, arguments: list[str]) -> int:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        error.show()
        return WRONG_USE
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = None if context is None else _renamed(error, context, arguments)
    path = program if context is None else context.command_path
    code = error.exit_code
    return fail(message or f"{error.format_message().rstrip('.')} (see {path} --help)", code, program)


def _renamed(error: click.ClickException, context: click.Context, arguments: list[str]) -> str | None:
    """The new name of an option or value that 0.1 had and that this command lacks."""
    known = {name for one in context.command.params for name in (*one.opts, *one.secondary_opts)}
    pairs = [_split(*pair) for pair in zip(arguments, [*arguments[1:], ""], strict=False)]
    if isinstance(error, click.NoSuchOption):
        value = next((value for option, value in pairs if option == error.option_name), "")
        return new_option(error.option_name, value, known)
    if isinstance(error, click.BadParameter) and error.param is not None:
        pairs = [pair for pair in pairs if pair[0] in error.param.opts]
    told = (new_option(option, value, known) for option, value in pairs if option in known)
    return next((one for one in told if one is not None), None)


def _split(argument: str, following: str) -> tuple[str, str]:
    """An option and its value: ``--name=value``, or ``--name value``."""
    option, is_one, value = argument.partition("=")
    return option, value if is_one else following


def _lost(error: Exception) -> str | None:
    """What to say where standard output cannot be written; from then on, it is lost without a further error."""
    if sys.stdout is None or not isinstance(error, OSError) or error.filename is not None:
        return None
    try:
        number = sys.stdout.fileno()
        if isinstance(error, BrokenPipeError):
            if hasattr(select, "poll"):
                ears = select.poll()
                ears.register(number, 0)  # errors are told without being asked for
                if not ears.poll(0):
                    return None
            message = "standard output was closed before the end"
        elif error.errno in _UNWRITABLE:
            message = f"standard output cannot be written: {error.strerror}. What is in files is complete"
        else:
            return None
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        return None
    return message


def explain(error: Exception, extra: str | None = None, errors: tuple[type[Exception], ...] = ()) -> tuple[object, int]:
    """What an error means to the user, and the exit code; see ``run_command`` for the arguments."""
    if isinstance(error, (WordError, OptionError)):
        return error, WRONG_USE
    if isinstance(error, (ClsclipRuntimeError, *errors)):
        return error, FAILURE
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        needed = extra_of(error.name, extra)
        if needed is not None:
            package, _, part = error.name.partition(".")
            here = installed(package) if part else None
            if here is not None:  # the package is there, and of another version than what needs its part
                return (
                    f"{package} {here} has no {part}, which another package needs: it is too old. "
                    f"Run: pip install --upgrade {package}",
                    FAILURE,
                )
            return f"{package} is not installed, and this command needs it. Run: {install_command(needed)}", FAILURE
    if isinstance(error, MemoryError):
        return "there is not enough memory. Give smaller pictures, fewer words, or a lower --memory-mb", FAILURE
    return f"unexpected {type(error).__name__}: {error}. Run with CLSCLIP_DEBUG=1 for the traceback", FAILURE
