"""Where pictures lie that annotations name: tools write names with other folders, other cases, other slashes."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from clsclip.errors import DataError
from clsclip_runtime.images import SUFFIXES, is_other
from clsclip_runtime.paths import absence, is_dir

MOST_CHARACTERS = 4096
"""Of a path, on systems that have a bound."""

_MOST_PARTS = 64


def images_below(root: Path, suffixes: frozenset[str] = SUFFIXES) -> dict[str, Path]:
    """Files with one of some suffixes in a folder and those below it, by their path from there with ``/``, sorted.

    Names that begin with a point are hidden files, such as ``._x.jpg`` of macOS, and are left out.

    Raises:
        DataError: there is no such folder.
    """
    return dict(sorted((name, path) for name, path in _files_below(root) if path.suffix.lower() in suffixes))


def has_many(root: Path, count: int) -> bool:
    """Whether there are so many images in a folder and those below it; no more are looked at than that takes."""
    found = (name for name, _ in _files_below(root) if os.path.splitext(name)[1].lower() in SUFFIXES)  # noqa: PTH122
    return len(list(islice(found, count))) == count


def _files_below(root: Path) -> Iterator[tuple[str, Path]]:
    """Files in a folder and those below it that are not hidden, by their path from there. DataError without it."""
    if not is_dir(root):
        raise DataError(f"{absence(root, 'folder').capitalize()}.")
    entered: set[str] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:  # a link that leads back
            below.clear()
            continue
        entered.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                path = Path(folder) / name
                yield path.relative_to(root).as_posix(), path


def taken_within(names: Collection[str], seconds: float | None) -> Iterator[str]:
    """All names in their order; with ``seconds``, names from all over, at least one, until that time is over."""
    if seconds is None:
        yield from names
        return
    end, ordered = time.monotonic() + seconds, list(names)
    for number, at in enumerate(np.random.default_rng(0).permutation(len(ordered)).tolist()):
        if number and time.monotonic() > end:
            return
        yield ordered[at]


def path_parts(path: str) -> list[str]:
    """The folders and the file of a path as programs of any system write it, the last of them where there are many."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")][-_MOST_PARTS:]


class Places:
    """Finds pictures in a folder by the names that annotations give them.

    Args:
        root: the folder; pictures in folders below it are found too.

    Attributes:
        files: the pictures, by their path from the folder, sorted.
        others: names of files that may be pictures and cannot be read as one.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        found = list(_files_below(root))
        self.files = dict(sorted((name, path) for name, path in found if path.suffix.lower() in SUFFIXES))
        self.others = [path.name for _, path in found if is_other(path.name)]
        self._by_path: dict[str, list[str]] = {}
        self._by_name: dict[str, list[str]] = {}
        for one in self.files:
            self._by_path.setdefault(one.casefold(), []).append(one)
            self._by_name.setdefault(one.rpartition("/")[2].casefold(), []).append(one)

    def find(self, name: str) -> str | None:
        """The path from the folder of what a name means; None where there is none, or several.

        Folders that a name begins with may lead elsewhere: the longest end of it that is a file counts. Nothing outside
        of the folder is ever found.
        """
        for form in self._forms(name[:MOST_CHARACTERS]):
            parts = path_parts(form)
            for at in range(len(parts)):
                end = "/".join(parts[at:])
                if end in self.files:
                    return end
                alike = self._by_path.get(end.casefold(), ())
                if len(alike) == 1:
                    return alike[0]
            alike = self._by_name.get(parts[-1].casefold(), ()) if parts else ()
            if len(alike) == 1:
                return alike[0]
        return None

    @staticmethod
    def _forms(name: str) -> list[str]:
        """A name as it is, as the address that it may be, and without what Label Studio puts before uploaded files."""
        forms = [name]
        try:
            parts = urlsplit(name)
            forms += [*parse_qs(parts.query).get("d", ()), unquote(parts.path)]
        except ValueError:
            pass
        head, _, last = forms[-1].rpartition("/")
        mark, _, rest = last.partition("-")
        if rest and len(mark) == 8 and all(one in "0123456789abcdef" for one in mark):
            forms.append(f"{head}/{rest}")
        return list(dict.fromkeys(one for one in forms if one))
