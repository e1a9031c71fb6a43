"""``clsclip-bundle``: what can be done with a bundle besides running it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from clsclip_runtime.bundle.upgrade import NEW_SCHEMA, upgrade_bundle
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.errors import one_line
from clsclip_runtime.paths import readable
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
@json_option("One JSON document on standard output.")
def upgrade(old: Path, new: Path, force: bool, as_json: bool) -> None:
    """Write the bundle OLD, which clsclip 0.1 made, as NEW, which this version reads.

    Masks stay the same bit for bit. OLD is verified first, and left as it is.
    """
    notes = upgrade_bundle(old, new, force=force)
    if as_json:
        print_json({"bundle": readable(new), "schema_version": NEW_SCHEMA, "notes": list(notes)})
        return
    for note in notes:
        echo(f"note: {one_line(note)}", err=True)
    echo(f"{new} written: schema version {NEW_SCHEMA}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command(command, PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
