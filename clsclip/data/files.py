"""Reading pictures, masks and lists, with errors that name the file."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clsclip.errors import DataError
from clsclip_runtime.errors import ImageError
from clsclip_runtime.images import SUFFIXES, open_image, open_stored
from clsclip_runtime.system import open_regular

SHOWN_NAMES = 5
"""Names that an error lists before it says how many more there are."""

_MASK_MODES = ("P", "L", "1")
_COLOR_MODES = ("RGB", "RGBA", "LA")

MOST_LIST_BYTES = 1 << 26
"""Of a text file: names of a million pictures."""

MASK_SUFFIXES = frozenset((".png", ".tif", ".tiff", ".bmp", ".gif"))
"""Of formats that keep every value; JPEG does not."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class LastFew(Generic[T]):
    """Keeps the last few things that were made, since pictures are asked for several times in a row."""

    def __init__(self, size: int = 4) -> None:
        self._size = size
        self._made: OrderedDict[int, T] = OrderedDict()

    def get(self, index: int, make: Callable[[int], T]) -> T:
        """What ``make(index)`` gives, from memory when it was made lately."""
        if index in self._made:
            self._made.move_to_end(index)
            return self._made[index]
        value = self._made[index] = make(index)
        while len(self._made) > self._size:
            self._made.popitem(last=False)
        return value

    def __getstate__(self) -> dict[str, object]:
        # A worker process needs none of it.
        return {"_size": self._size, "_made": OrderedDict()}


def read_image(path: Path) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3) uint8 RGB, upright. DataError when it cannot be read."""
    try:
        return np.array(open_image(path).image, np.uint8)
    except ImageError as error:
        raise DataError(f"{error}.") from error


def read_labels(path: Path) -> NDArray[np.uint8]:
    """An indexed or grey PNG as (H, W) uint8: the values as stored, not their colours.

    Raises:
        DataError: it is absent, damaged, or coloured. Pixels in color that are all gray are taken as gray.
    """
    try:
        mask = open_stored(path)
    except ImageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise DataError(f"No mask {path}.") from error
        raise DataError(f"{error}.") from error
    if mask.info.get("frames", 1) > 1:
        raise DataError(f"{path} is no mask: it has {mask.info['frames']} frames. Save the one that is meant.")
    if mask.mode in _COLOR_MODES:
        mask = _gray(mask, path)
    if mask.mode not in _MASK_MODES:
        raise DataError(
            f"{path} is no mask: its pixels are {mask.mode}. A mask is an indexed or grey PNG of 8 bits; "
            "save it as one."
        )
    return np.array(mask, np.uint8)


def _gray(mask: Image.Image, path: Path) -> Image.Image:
    """The one value of every pixel of a colored picture that is gray. DataError where colors differ."""
    bands = mask.split()
    first = np.asarray(bands[0])
    colors = bands[:-1] if mask.mode.endswith("A") else bands
    if not all((np.asarray(band) == first).all() for band in colors):
        raise DataError(
            f"{path} is no mask: its pixels are {mask.mode}. A mask is an indexed or grey PNG of 8 bits; "
            "save it as one."
        )
    return bands[0]


def read_lines(path: Path, *, pipe: bool = False) -> list[str]:
    """Lines of a text of at most 64 MiB, stripped, without empty ones; ``pipe`` waits for one that a caller names.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") if pipe else open_regular(path) as file:
            content = file.read(MOST_LIST_BYTES + 1)
        if len(content) > MOST_LIST_BYTES:
            raise DataError(f"{path} is over {MOST_LIST_BYTES >> 20} MiB, which no list is.")
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"No list {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {getattr(error, 'strerror', None) or error}.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def bare_name(line: str) -> str:
    """A listed name without the suffix of a picture; other dots belong to the name."""
    return line[: -len(Path(line).suffix)] if Path(line).suffix.lower() in SUFFIXES else line


def check_same_size(image: NDArray[np.uint8], labels: NDArray[np.uint8], mask_path: Path) -> None:
    """DataError unless a mask has its picture's size."""
    if image.shape[:2] != labels.shape[:2]:
        raise DataError(
            f"{mask_path} is {labels.shape[1]}x{labels.shape[0]} and its picture "
            f"{image.shape[1]}x{image.shape[0]}. Both must have the same size."
        )


def names_in(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Files of a folder with one of some suffixes, by name without suffix, sorted; none that is hidden, as ``._x.jpg``.

    DataError without the folder.
    """
    try:
        paths = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")
        )
    except FileNotFoundError as error:
        raise DataError(f"No folder {folder}.") from error
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}.") from error
    found = {path.stem: path for path in paths}
    if len(found) < len(paths):
        twice = next(path for path in paths if found[path.stem] != path)
        raise DataError(f"{twice} and {found[twice.stem].name} have the same name. Remove one of them.")
    return found


def without_suffix(paths: Mapping[str, Path]) -> dict[str, Path]:
    """Files by their path without suffix. DataError where two have the same."""
    found: dict[str, Path] = {}
    for name, path in paths.items():
        stem = name[: -len(Path(name).suffix)]
        if stem in found:
            raise DataError(f"{path} and {found[stem].name} have the same name. Remove one of them.")
        found[stem] = path
    return found


def drop_missing(missing: Sequence[str], total: int, where: Path, allow_missing: bool) -> None:
    """Say once how many files are not there: an error, or a warning when that is allowed.

    Args:
        missing: names of the absent files.
        total: how many are needed.
        where: the folder to name.
        allow_missing: warn instead of raising.
    """
    if not missing:
        return
    shown = ", ".join(missing[:SHOWN_NAMES]) + (", ..." if len(missing) > SHOWN_NAMES else "")
    message = f"{len(missing)} of {total} files are not in {where}: {shown}"
    if not allow_missing:
        raise DataError(
            f"{message}. Nothing is downloaded: put them there, or allow missing ones (--allow-missing) and go without."
        )
    _log.warning("%s; going on without them", message)


def unique(names: Iterable[str]) -> list[str]:
    """The names in their order, each once."""
    return list(dict.fromkeys(names))
