"""``clsclip-doctor``: what works here, why the rest does not, and the command that fixes it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from clsclip_runtime.backends import select
from clsclip_runtime.backends.select import AUTO, BACKENDS
from clsclip_runtime.caches import bytes_of, remove, users_folder
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.sections import Command
from clsclip_runtime.doctor import FAIL, INFO, KEPT, OK, Finding, examine
from clsclip_runtime.errors import printable
from clsclip_runtime.version import __version__

PROGRAM = "clsclip-doctor"

MARKS = {OK: click.style("ok  ", fg="green"), FAIL: click.style("fail", fg="red"), INFO: "info"}
"""Of ASCII alone, which every terminal, pipe and code page has."""

_NAME_WIDTH = 24


EXAMPLES = """\b
Examples:
  clsclip-doctor
  clsclip-doctor --model model.clsclip --backend tensorrt
  clsclip-doctor --json
  clsclip-doctor --clear-cache words

\b
Exit codes: 0 a backend runs the bundle (with --backend: that one),
1 none does, 2 wrong use."""


@click.command(cls=Command, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--model", type=click.Path(path_type=Path), metavar="DIR|hf:USER/NAME", help="Bundle. Default: the embedded model."
)
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Exit with 1 unless this one works.")
@click.option(
    "--clear-cache",
    type=click.Choice(list(KEPT)),
    multiple=True,
    help="Remove these from the cache of this user, and end. Repeatable.",
)
@json_option("One JSON document instead of lines.")
@click.version_option(__version__, prog_name=PROGRAM)
def command(model: Path | None, backend: str | None, clear_cache: tuple[str, ...], as_json: bool) -> int:
    """Try every backend on this machine, and say what works, why the rest does not, and what fixes it."""
    if clear_cache:
        clear(clear_cache, as_json)
        return 0
    findings: list[Finding] = []
    for finding in examine(model):
        if not as_json:
            show(finding, first=not findings or findings[-1].group != finding.group)
        findings.append(finding)
    works = [one.name for one in findings if one.group == "backends" and one.state == OK]
    fine = backend in works if backend else bool(works)
    if as_json:
        print_json({"works": works, "findings": [asdict(one) for one in findings]})
    else:
        echo(f"\n{summary(works, backend)}")
    return 0 if fine else 1


def clear(names: Sequence[str], as_json: bool) -> None:
    """Remove what the user's cache keeps under ``names``, and say how much that was.

    Raises:
        OutputError: a file cannot be removed.
    """
    removed, folder = {}, users_folder()
    for name in names:
        files = [] if folder is None else KEPT[name](folder)
        removed[name] = bytes_of(files)
        remove(files)
        if not as_json:
            where = "there is no cache" if folder is None else folder / name
            echo(f"{name}: removed {len(files)} files, {removed[name] / 2**20:.1f} MiB ({where})")
    if as_json:
        print_json({"removed_bytes": removed})


def summary(works: list[str], backend: str | None) -> str:
    """The last line."""
    if backend and backend not in works:
        return f"{backend} does not work here."
    taken = next((name for name in AUTO if name in works and select.passed_over(name) is None), None)
    if taken is not None:
        return f"{taken} is what auto takes here."
    return f"Only by name: {', '.join(works)}." if works else "Nothing here runs this bundle."


def show(finding: Finding, *, first: bool) -> None:
    """Print one finding, and its group's name before the first of the group."""
    if first:
        echo(mark=click.style(f"\n{finding.group}", bold=True))
    width = max(60, shutil.get_terminal_size((120, 40)).columns)
    indent = " " * (_NAME_WIDTH + 7)
    lines = textwrap.wrap(finding.detail, width - len(indent), break_on_hyphens=False, break_long_words=False) or [""]
    echo(f" {finding.name:<{_NAME_WIDTH - 1}} {lines[0]}", mark=f"  {MARKS[finding.state]}")
    for line in lines[1:]:
        echo(indent + line)
    if finding.fix:
        echo(mark=indent + click.style(f"-> {printable(finding.fix)}", fg="cyan"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command(command, PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
