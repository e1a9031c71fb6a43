"""What the command line says: words until the next option, and the pictures that the sources mean."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

PICTURE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "gif", "heic", "heif", "ico", "jp2", "jpeg", "jpg", "mpo", "pbm"),
        *("pcx", "pgm", "png", "ppm", "qoi", "tga", "tif", "tiff", "webp"),
    )
)
STANDARD_INPUT = "-"


def spread_words(arguments: Sequence[str], option: str) -> list[str]:
    """``option a b c`` becomes ``option a option b option c``, which is how click takes several values.

    Words end at the next argument that begins with ``-``. ``option=value`` is one word, whatever it begins
    with; nothing after ``--`` is touched.
    """
    spread: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*spread, argument, *rest]
        if argument != option or not rest or rest[0].startswith("-"):
            spread.append(argument)
            continue
        while rest and not rest[0].startswith("-"):
            spread += [option, rest.pop(0)]
    return spread


class MultiWordCommand(click.Command):
    """A command whose option ``--classes`` takes words until the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spread the words, then let click parse."""
        return super().parse_args(ctx, spread_words(args, "--classes"))


@dataclass(frozen=True)
class NamedSource:
    """A picture of the command line: its path, or ``-``, and how its output files begin."""

    path: str
    stem: str


def find_sources(sources: Iterable[str]) -> list[NamedSource]:
    """The pictures that files, folders and glob patterns mean, each once, in order, with distinct stems.

    Raises:
        click.UsageError: a file does not exist, or a folder or pattern has no picture.
    """
    paths = [path for source in sources for path in _expand(source)]
    once: dict[str, str] = {}
    for path in paths:
        once.setdefault(path if path == STANDARD_INPUT else os.path.realpath(path), path)
    return _name(once.values())


def read_words(path: Path) -> list[str]:
    """Words of a UTF-8 file, one a line; empty lines and those that begin with ``#`` are skipped.

    Raises:
        click.UsageError: the file cannot be read or is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise click.UsageError(f"cannot read the words of {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 text. Give a file with one word a line") from error
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _expand(source: str) -> list[str]:
    path = Path(source)
    if source == STANDARD_INPUT:
        return [source]
    if not source or "\0" in source:
        raise click.UsageError("SOURCE is empty. Give a picture, a folder or a pattern such as 'pictures/*.jpg'")
    if path.is_dir():
        found = sorted(
            str(child)
            for child in path.iterdir()
            if child.suffix.lower() in PICTURE_SUFFIXES and not child.name.startswith(".") and child.is_file()
        )
        if not found:
            raise click.UsageError(f"the folder {source} has no pictures. Give a folder with JPEG, PNG, ... files")
        return found
    if path.exists():
        return [source]
    if glob.has_magic(source):
        # glob.glob, because Path.glob takes no absolute patterns.
        found = sorted(match for match in glob.glob(source, recursive=True) if Path(match).is_file())  # noqa: PTH207
        if not found:
            raise click.UsageError(f"no file matches {source}")
        return found
    raise click.UsageError(f"no such file: {source}")


def _name(paths: Iterable[str]) -> list[NamedSource]:
    """Stems are numbered where two pictures (``a/x.jpg``, ``b/x.png``) would write the same files."""
    from clsclip_runtime.saving import default_stem

    taken: set[str] = set()
    named = []
    for path in paths:
        base = default_stem("<stdin>" if path == STANDARD_INPUT else path)
        stem, number = base, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{base}-{number}"
        taken.add(stem.casefold())
        named.append(NamedSource(path, stem))
    return named
