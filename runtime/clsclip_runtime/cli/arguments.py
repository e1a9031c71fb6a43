"""What the command line says: words until the next option, and what the sources mean."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import click

from clsclip_runtime.cli.sections import Command
from clsclip_runtime.images import SUFFIXES, by_suffix, is_other
from clsclip_runtime.images.addresses import kind_of_address, suffix_of_address
from clsclip_runtime.paths import absence, exists, is_dir, is_file, readable

PROGRAM = "clsclip-infer"

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "asf", "avi", "flv", "h264", "h265", "hevc", "m2ts", "m4v", "mjpeg", "mjpg"),
        *("mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "ts", "vob", "webm", "wmv", "y4m"),
    )
)
STREAM_SCHEMES = ("http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "srt", "tcp", "udp")
STANDARD_INPUT = "-"

Kind: TypeAlias = Literal["picture", "video", "camera", "stream", "pipe"]
Piped: TypeAlias = "Literal['picture', 'stream', 'video'] | tuple[int, int]"
"""What standard input gives: one picture, pictures one after another, a video, or raw RGB frames of (width, height)."""


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


class MultiWordCommand(Command):
    """A command whose option ``--classes`` takes words until the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spread the words, then let click parse."""
        return super().parse_args(ctx, spread_words(args, "--classes"))


def parse_pairs(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Parse ``NAME=VALUE`` pairs. click.BadParameter for what is none."""
    pairs = []
    for value in values:
        name, equals, given = value.partition("=")
        if not equals or not name or not given:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE")
        pairs.append((name, given))
    return tuple(pairs)


def parse_piped(ctx: click.Context, param: click.Parameter, value: str) -> Piped:
    """Parse ``--stdin``: ``picture``, ``stream``, ``video`` or ``WIDTHxHEIGHT``; see ``Piped``. A click ``callback``.

    Raises:
        click.BadParameter: it is none of them.
    """
    if value == "picture":
        return "picture"
    if value == "stream":
        return "stream"
    if value == "video":
        return "video"
    size = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", value)
    if size is None:
        raise click.BadParameter(
            f"'{value}' is not picture, stream, video, or the size of raw RGB frames such as 640x480"
        )
    return int(size[1]), int(size[2])


@dataclass(frozen=True)
class NamedSource:
    """A source of the command line.

    Attributes:
        path: a path, ``-``, the number of a camera, or an address.
        stem: how its output files begin.
        kind: a ``picture``, or what gives many frames.
        root: the folder that names of outputs for other programs are relative to; empty where there is none.
    """

    path: str
    stem: str
    kind: Kind = "picture"
    root: str = ""

    @property
    def relative(self) -> str:
        """The path below ``root`` with slashes, as documents name a picture; of others the file's name."""
        path = Path(self.path)
        if self.root and "://" not in self.path and self.path != STANDARD_INPUT:
            try:
                return readable(Path(os.path.realpath(path.parent), path.name).relative_to(self.root).as_posix())
            except ValueError:  # a link led there, or it is on another drive
                return readable(path.as_posix())
        return readable(path.name if "://" not in self.path and self.path != STANDARD_INPUT else self.stem)


def find_sources(
    sources: Iterable[str], piped: Piped = "picture", *, recursive: bool = False, leave_out: Path | None = None
) -> list[NamedSource]:
    """What files, folders, glob patterns, numbers and addresses mean, each once, in order, with distinct stems.

    Args:
        sources: as typed.
        piped: what standard input gives.
        recursive: look into the sub-folders of folders.
        leave_out: a folder that is not looked into: that of the outputs.

    Raises:
        click.UsageError: a file does not exist, or a folder or pattern has no picture.
    """
    sources = list(sources)
    walk = partial(walk_folder, leave_out=leave_out) if recursive else None
    found = [one for source in sources for one in _expand(source, piped, walk)]
    once: dict[str, tuple[str, Kind]] = {}
    for path, kind in found:
        on_disk = kind == "video" or (kind == "picture" and path != STANDARD_INPUT and not _scheme(path))
        once.setdefault(os.path.realpath(path) if on_disk else f"{kind} {path}", (path, kind))
    return _name(once.values(), common_root(sources))


def is_many(sources: Iterable[str]) -> bool:
    """Whether sources, as typed, are several or may be: a folder, a pattern, or more than one."""
    given = list(sources)
    return len(given) > 1 or any(is_dir(one) or (not exists(one) and glob.has_magic(one)) for one in given)


def common_root(sources: Iterable[str]) -> str:
    """The real folder that holds all files that sources, as typed, may mean; empty where there is none."""
    roots = []
    for source in sources:
        if source == STANDARD_INPUT or "://" in source:
            continue
        path = Path(source)
        if is_dir(path):
            roots.append(os.path.realpath(path))
        elif exists(path) or not glob.has_magic(source):
            roots.append(os.path.realpath(path.parent))
        else:
            roots.append(os.path.realpath(_folder_of(path)))
    try:
        return os.path.commonpath(roots) if roots else ""
    except ValueError:  # on several drives
        return ""


def _expand(source: str, piped: Piped, walk: Callable[[Path], list[Path]] | None = None) -> list[tuple[str, Kind]]:
    path = Path(source)
    if source == STANDARD_INPUT:
        return [(source, "picture" if piped == "picture" else "pipe")]
    if not source or "\0" in source:
        raise click.UsageError("SOURCE is empty. Give a picture, a folder or a pattern such as 'pictures/*.jpg'")
    if _scheme(source) in ("http", "https") and suffix_of_address(source) not in VIDEO_SUFFIXES:
        return [(source, kind_of_address(source))]
    if _scheme(source) in STREAM_SCHEMES:
        return [(source, "stream")]
    if is_dir(path):
        folders = [path] if walk is None else walk(path)
        return [(str(child), "picture") for child in _images_of(path, folders, recursive=walk is not None)]
    if exists(path):
        return [_file(source)]
    if re.fullmatch(r"[0-9]{1,3}", source):
        return [(str(int(source)), "camera")]
    if glob.has_magic(source):
        return [_file(match) for match in _matching(source)]
    if "://" in source:
        raise click.UsageError(
            f"no stream can be read by {_scheme(source)}://. Give one of {', '.join(STREAM_SCHEMES)}"
        )
    raise click.UsageError(absence(source))


def _matching(pattern: str) -> list[str]:
    """The files that a pattern fits. click.UsageError if there is none.

    Brackets in a folder that is there are a part of its name, and so they are in a file's name where nothing else fits.
    """
    path = Path(pattern)
    folder = _folder_of(path)
    rest = pattern if folder == Path() else str(path.relative_to(folder))
    literal = "" if folder == Path() else glob.escape(str(folder)) + os.sep
    for wanted in dict.fromkeys((literal + rest, literal + rest.replace("[", "[[]"))):
        # glob.glob, because Path.glob takes no absolute patterns.
        found = sorted(match for match in glob.glob(wanted, recursive=True) if is_file(match))  # noqa: PTH207
        if found:
            return found
    _listed(folder)
    raise click.UsageError(f"no file matches {pattern}")


def _folder_of(pattern: Path) -> Path:
    """The folder that a pattern begins with."""
    return next((one for one in pattern.parents if is_dir(one)), Path())


def walk_folder(folder: Path, leave_out: Path | None = None) -> list[Path]:
    """A folder and all folders in it, sorted; hidden ones, links to folders and ``leave_out`` are not looked into.

    Raises:
        click.UsageError: one may not be looked into.
    """
    found, waiting = [], [folder]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += reversed([inner for inner in sub_folders(one, leave_out) if not inner.is_symlink()])
    return found


def sub_folders(folder: Path, leave_out: Path | None = None) -> list[Path]:
    """The folders in a folder that are not hidden and not ``leave_out``. click.UsageError if it cannot be listed."""
    real = None if leave_out is None else os.path.realpath(leave_out)
    inside = (one for one in _listed(folder) if not one.name.startswith(".") and is_dir(one))
    return [one for one in inside if os.path.realpath(one) != real]


def notes_about_folders(sources: Iterable[str], *, recursive: bool, leave_out: Path | None = None) -> list[str]:
    """Sentences about folders that were passed over, and about files that cannot be read as images."""
    notes = []
    for source in sources:
        path = Path(source)
        if source == STANDARD_INPUT or "://" in source or not is_dir(path):
            continue
        within = walk_folder(path, leave_out) if recursive else [path]
        others = [child.name for one in within for child in _listed(one) if is_other(child.name) and is_file(child)]
        if others:
            notes.append(f"{source} has files that are no images which can be read, passed over: {by_suffix(others)}")
        if not recursive:
            count = len(sub_folders(path, leave_out))
            if count:
                what = "a sub-folder, which was" if count == 1 else f"{count} sub-folders, which were"
                notes.append(f"{source} has {what} passed over. Add --recursive for what is in there")
            continue
        links = [one for folder in within for one in sub_folders(folder, leave_out) if one.is_symlink()]
        if links:
            notes.append(f"links to folders were passed over: {links[0]}{' and more' if len(links) > 1 else ''}")
        if leave_out is not None and any(
            os.path.realpath(one) == os.path.realpath(leave_out) for folder in within for one in sub_folders(folder)
        ):
            notes.append(f"{leave_out} was passed over: the outputs go there")
    return notes


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, sorted. click.UsageError if it may not be looked into."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise click.UsageError(f"cannot look into the folder {folder}: {error.strerror or error}") from error


def _scheme(source: str) -> str:
    return source.partition("://")[0].lower() if "://" in source else ""


def _file(path: str) -> tuple[str, Kind]:
    return path, "video" if Path(path).suffix.lower() in VIDEO_SUFFIXES else "picture"


def _images_of(folder: Path, folders: Iterable[Path], *, recursive: bool) -> list[Path]:
    """The pictures of a folder, which are in ``folders``: itself and, with ``recursive``, its sub-folders."""
    inside = (child for one in folders for child in _listed(one))
    files = [child for child in inside if not child.name.startswith(".") and is_file(child)]
    found = [child for child in files if child.suffix.lower() in SUFFIXES]
    if found:
        return found
    videos = {child.suffix for child in files if child.suffix.lower() in VIDEO_SUFFIXES}
    if videos:
        raise click.UsageError(f"the folder {folder} has no pictures. For its videos: '{folder / '*'}{min(videos)}'")
    if not recursive and sub_folders(folder):
        raise click.UsageError(f"the folder {folder} has no pictures, only sub-folders. Look into them: --recursive")
    raise click.UsageError(f"the folder {folder} has no pictures. Give a folder with JPEG, PNG, ... files")


def _name(found: Iterable[tuple[str, Kind]], root: str) -> list[NamedSource]:
    """Stems are numbered where two sources (``a/x.jpg``, ``b/x.png``) would write the same files."""
    from clsclip_runtime.results.files import folded

    taken: set[str] = set()
    last: dict[str, int] = {}
    named = []
    for path, kind in found:
        base = stem = _stem(path, kind)
        while folded(stem) in taken:
            last[base] = last.get(base, 1) + 1
            stem = f"{base}-{last[base]}"
        taken.add(folded(stem))
        named.append(NamedSource(path, stem, kind, root))
    return named


def _stem(path: str, kind: Kind) -> str:
    from clsclip_runtime.results.files import default_stem

    if kind == "camera":
        return f"camera{path}"
    if kind == "pipe":
        return "video"
    if _scheme(path):
        try:
            of_address = Path(urlsplit(path).path).stem
        except ValueError:
            of_address = ""
        return default_stem(of_address) if of_address else kind
    return default_stem("<stdin>" if path == STANDARD_INPUT else path)
