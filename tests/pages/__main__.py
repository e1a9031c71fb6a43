"""Run the code of README.md and docs/ as a reader would, page by page, and list what cannot run here.

    python -m tests.pages [PAGE ...] [--list] [--work DIR]

Each page has a folder of its own with the pictures, videos, words and models that it names (``tests.pages.material``).
What its comments leave out is listed with the reason; see ``tests.pages.blocks``. No network is used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tests.pages.blocks import EVERYWHERE, ROOT, blocks, pages


@click.command()
@click.argument("chosen", nargs=-1, metavar="[PAGE]...")
@click.option("--list", "only_list", is_flag=True, help="Run nothing; list what would not be run.")
@click.option("--work", default=ROOT / "build" / "pages", type=click.Path(path_type=Path), help="Folders of the pages.")
def main(chosen: tuple[str, ...], only_list: bool, work: Path) -> None:
    """Run pages; exit code 1 if a command of one fails."""
    known = {path.relative_to(ROOT).as_posix(): path for path in pages() if path.is_file()}
    wrong = [name for name in chosen if name not in known]
    if wrong:
        raise click.UsageError(f"no page {wrong[0]}. There are: {', '.join(known)}")
    failed, left_out = [], []
    for name, path in known.items():
        if chosen and name not in chosen:
            continue
        found = list(blocks(path))
        count = sum(len(block.commands) for block in found)
        left_out += [(f"{name}:{block.line}", *one) for block in found for one in block.left_out]
        if only_list or not count:
            continue
        folder, begin = work / name.replace("/", "-").removesuffix(".md"), time.monotonic()
        code = run(path, folder)
        click.echo(f"{'failed' if code else 'ok    '} {name}: {count} commands, {time.monotonic() - begin:.0f} s")
        failed += [name] if code else []
    click.echo("\nNot run here:")
    for line in told(left_out):
        click.echo(f"  {line}")
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}; see log.txt in their folders below {work}")


def told(left_out: list[tuple[str, str, str]]) -> Iterator[str]:
    """A line for every block and reason; what is left out on every page is counted together.

    Args:
        left_out: place, command and reason of each.
    """
    everywhere = {why for _, why in EVERYWHERE}
    places: dict[tuple[str, str], list[str]] = {}
    for where, command, reason in left_out:
        places.setdefault(("" if reason in everywhere else where, reason), []).append(" ".join(command.split()))
    for (where, reason), commands in places.items():
        count = f"{len(commands)} {'command' if len(commands) == 1 else 'commands'}"
        yield f"{where}: {reason} ({count}: {commands[0][:60]})" if where else f"{count} of all pages: {reason}"


def run(page: Path, folder: Path) -> int:
    """Run one page in an empty folder; what it prints is kept in ``log.txt`` and shown where it fails."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths = [ROOT, ROOT / "runtime", ROOT / "export", ROOT / "benchmarks"]
    programs = Path(sys.executable).parent
    environment = os.environ | {
        "CLSCLIP_CACHE": str(folder / ".cache"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "MPLBACKEND": "Agg",
    }
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as file:
        command = [sys.executable, "-m", "tests.pages.page", str(page), str(folder)]
        code = subprocess.run(
            command, env=environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        ).returncode
    if code:
        click.echo("".join(f"    {line}\n" for line in log.read_text("utf-8", "replace").splitlines()[-25:]))
    return code


if __name__ == "__main__":
    main()
