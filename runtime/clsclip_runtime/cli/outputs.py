"""The files of a run: none of them is a file that is still to be read, and a record says what they were made of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsclip_runtime.documents import parse_json
from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import append_line, is_file, plain, readable, write_text
from clsclip_runtime.results.files import folded
from clsclip_runtime.system import open_regular

RECORD = ".clsclip-outputs.jsonl"
"""Beside the outputs: a line for each picture, with what its files were made of."""

_MOST_BYTES = 1 << 30
_MOST_LINKS = 40
_STALE_LINES = 1000


def refuse_overwriting(inputs: Iterable[str | os.PathLike[str]], outputs: Iterable[Path], folder: Path) -> None:
    """Refuse outputs that would take the place of an input, before anything is written.

    Args:
        inputs: files that are read, whatever links lead to them.
        outputs: files, and folders of files, directly in ``folder``.
        folder: may not be there yet.

    Raises:
        OutputError: an output is an input, or a folder that holds one.
    """
    real = os.path.realpath(folder)
    # Output folders are rarely where the inputs are, and a run may have millions of outputs: look here first.
    files: dict[str, set[str]] = {}
    holders: set[str] = set()
    for place in (place for path in inputs for place in _places(path)):
        parent, name = os.path.split(place)
        if parent == real:
            files.setdefault(folded(name), set()).add(name)
        elif os.path.dirname(parent) == real:  # noqa: PTH120
            holders.add(os.path.basename(parent))  # noqa: PTH119
    if not files and not holders:
        return
    for path in outputs:
        same = files.get(folded(path.name), set())
        if path.name in same or path.name in holders or any(_is_same(path, Path(real, name)) for name in same):
            raise OutputError(f"{path} is or holds one of the pictures and would be overwritten. Change --out")


def _places(path: str | os.PathLike[str]) -> Iterator[str]:
    """Every place that is looked at when a path is read: its own, those of links, and that of the file."""
    for _ in range(_MOST_LINKS):
        parent, name = os.path.split(os.fspath(path))
        place = os.path.join(os.path.realpath(parent), name)  # noqa: PTH118
        yield place
        try:
            path = os.path.join(os.path.dirname(place), os.readlink(place))  # noqa: PTH115, PTH118, PTH120
        except OSError:
            return


def _is_same(first: Path, second: Path) -> bool:
    """Whether two names that differ in case alone are one file here."""
    try:
        return first.samefile(second)
    except OSError:
        return False


@dataclass(frozen=True)
class Origin:
    """What the files of one picture were made of.

    Attributes:
        source: its real path.
        size, mtime_ns: of the picture's file.
        how: digest of everything else: words, options, model.
    """

    source: str
    size: int
    mtime_ns: int
    how: str


@dataclass
class Made:
    """The files of one picture.

    Attributes:
        origin: what they were made of.
        formats: in which they are.
        sizes: bytes by name, of those that are the picture's alone.
    """

    origin: Origin
    formats: set[str]
    sizes: dict[str, int]

    def has(self, path: Path) -> bool:
        """Whether a file is there as it was made, by its size; a link is another's."""
        try:
            size = path.lstat().st_size if is_file(path) and not path.is_symlink() else 0
        except OSError:
            return False
        return size > 0 and size == self.sizes.get(readable(path.name), size)


class Record:
    """What the files of an output folder were made of. Damage, or a line that a kill cut, loses that line only."""

    def __init__(self, folder: Path, how: Mapping[str, Any]) -> None:
        """Begin a run.

        Args:
            folder: of the outputs; the record is a file in it.
            how: everything that the outputs depend on, besides the pictures, as JSON knows it.
        """
        self._path = folder / RECORD
        text = json.dumps(plain(how), sort_keys=True, default=str)
        self._how = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def origin(self, source: str) -> Origin | None:
        """What files of this picture will be made of, if they are made now; None where the picture is no file."""
        try:
            found = os.stat(source)  # noqa: PTH116
        except (OSError, ValueError):
            return None
        return Origin(os.path.realpath(source), found.st_size, found.st_mtime_ns, self._how)

    def add(self, stem: str, origin: Origin, formats: Iterable[str], files: Iterable[Path] = ()) -> None:
        """Note that the files of a stem in these formats were made. OutputError."""
        sizes = {readable(path.name): path.stat().st_size for path in files if is_file(path)}
        # The line begins with a new line: the one before may have been cut.
        append_line(self._path, "\n" + _line(stem, Made(origin, set(formats), sizes)))

    def read(self) -> dict[str, Made]:
        """By stem, what its files were made of, and the formats. The latest origin counts."""
        try:
            if self._path.is_symlink():
                return {}
            with open_regular(self._path) as file:
                size = os.fstat(file.fileno()).st_size
                lines = file.read(size).decode("utf-8", "replace").splitlines() if size <= _MOST_BYTES else []
        except OSError:
            return {}
        found: dict[str, Made] = {}
        for line in lines:
            try:
                one = parse_json(line)
                stem, formats = str(one["stem"]), {str(name) for name in one["formats"]}
                origin = Origin(str(one["source"]), int(one["size"]), int(one["mtime_ns"]), str(one["how"]))
                sizes = {str(name): int(size) for name, size in dict(one.get("sizes", {})).items()}
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
            known = found.get(stem)
            if known is not None and known.origin == origin:
                formats, sizes = known.formats | formats, known.sizes | sizes
            found[stem] = Made(origin, formats, sizes)
        if len(lines) > 2 * 2 * len(found) + _STALE_LINES:
            write_text(self._path, "".join(f"{_line(stem, one)}\n" for stem, one in found.items()))
        return found


def _line(stem: str, made: Made) -> str:
    return json.dumps({"stem": stem, "formats": sorted(made.formats), "sizes": made.sizes} | vars(made.origin))
