"""``clsclip-bundle``: what can be done with a bundle besides running it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from clsclip_runtime.bundle.upgrade import NEW_SCHEMA, upgrade_bundle
from clsclip_runtime.cli.messages import FAILURE, INTERRUPTED, WRONG_USE, fail
from clsclip_runtime.errors import ClsclipRuntimeError, OptionError
from clsclip_runtime.version import __version__

PROGRAM = "clsclip-bundle"

_FOLDER = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def command() -> None:
    """Work on bundles, the folders that clsclip-export writes."""


@command.command()
@click.argument("old", type=_FOLDER)
@click.argument("new", type=_FOLDER)
@click.option("--force", is_flag=True, help="Replace NEW if it exists, once the upgraded bundle is complete.")
def upgrade(old: Path, new: Path, force: bool) -> None:
    """Write the bundle OLD, which clsclip 0.1 made, as NEW, which this version reads.

    Masks stay the same bit for bit. OLD is verified first, and left as it is.
    """
    for note in upgrade_bundle(old, new, force=force):
        click.echo(f"note: {note}", err=True)
    click.echo(f"{new} written: schema version {NEW_SCHEMA}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for wrong use, 1 for a failure, 130 on interrupt."""
    try:
        return int(command.main(argv, prog_name=PROGRAM, standalone_mode=False) or 0)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ClsclipRuntimeError as error:
        return fail(error, WRONG_USE if isinstance(error, OptionError) else FAILURE, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
