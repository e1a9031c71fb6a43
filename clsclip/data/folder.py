"""Pictures of one's own: a folder of pictures, a folder of masks, a list of classes.

ROOT/images/NAME.jpg       or png, webp, bmp
ROOT/masks/NAME.png        indexed or grey: value i is line i of classes.txt, 0 background, 255 ignore
ROOT/classes.txt           one class a line; with several prompts: helmet = safety helmet | hard hat
ROOT/train.txt, val.txt    names, one a line; without them every picture is in both
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from clsclip.data.base import IGNORE, Fold
from clsclip.data.files import (
    drop_missing,
    names_in,
    read_lines,
    unique,
)
from clsclip.data.labels import LabelledPictures
from clsclip.errors import DataError
from clsclip_runtime.errors import WordError
from clsclip_runtime.images import SUFFIXES
from clsclip_runtime.paths import is_file
from clsclip_runtime.text.typed import typed_class
from clsclip_runtime.text.words import clean_word

_log = logging.getLogger(__name__)


ADVICE = "Value i is line i of classes.txt, 0 the background, 255 ignore."


def open_folder(
    root: Path, *, novel: Sequence[str] | None = None, allow_missing: bool = False, part: str = "both"
) -> Fold:
    """A folder of one's own as a fold without number.

    Args:
        root: see the module's text.
        novel: classes held out of training, by name; None trains on all and asks for all.
        allow_missing: go on without pictures or masks that are absent.
        part: "train", "test" or "both": what is read.

    Raises:
        DataError: files are absent, classes.txt is empty or names a class twice, or a novel class is not in it.
    """
    classes, prompts = read_classes(root / "classes.txt")
    novel = None if novel is None else [word if word in classes else clean_word(word) for word in novel]
    unknown = [word for word in novel or () if word not in classes]
    if unknown:
        raise DataError(f"{unknown[0]!r} is not in {root / 'classes.txt'}; it has: {', '.join(classes)}.")
    held_out = tuple(sorted({classes.index(word) for word in novel})) if novel else tuple(range(len(classes)))
    seen = tuple(one for one in range(len(classes)) if not novel or one not in held_out)
    pictures = names_in(root / "images", SUFFIXES)
    masks = names_in(root / "masks", (".png",))

    def side(wanted: str, list_name: str, allowed: tuple[int, ...]) -> tuple[LabelledPictures, list[tuple[int, int]]]:
        if part not in (wanted, "both"):
            return LabelledPictures("folder", classes, [], ADVICE, prompts), []
        path = root / list_name
        names = unique(bare_name(line) for line in read_lines(path)) if is_file(path) else list(pictures)
        if not is_file(path):
            _log.warning("%s has no %s: every picture is taken", root, list_name)
        missing = [name for name in names if name not in pictures or name not in masks]
        drop_missing(missing, len(names), root, allow_missing)
        files = [(name, pictures[name], masks[name]) for name in names if name in pictures and name in masks]
        data = LabelledPictures("folder", classes, files, ADVICE, prompts)
        return data, [(index, one) for index in range(len(data)) for one in data.shown(index) if one in allowed]

    train, train_pairs = side("train", "train.txt", seen)
    test, test_pairs = side("test", "val.txt", held_out)
    return Fold(-1, train, test, seen, held_out, tuple(train_pairs), tuple(test_pairs))


def bare_name(line: str) -> str:
    """A listed name without the suffix of a picture; other dots belong to the name."""
    return line[: -len(Path(line).suffix)] if Path(line).suffix.lower() in SUFFIXES else line


def read_classes(path: Path) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The classes of ``classes.txt``, at most 254, and the prompts of those that have other words than their name.

    Every line is one class, whatever commas are in it: its number is what masks hold.
    """
    try:
        asked = [typed_class(line) for line in read_lines(path)]
    except WordError as error:
        raise DataError(f"{path}: {error}.") from error
    for note in (note for one in asked for note in one.notes):
        _log.warning("%s: %s", path, note)
    classes = tuple(one.classes[0] for one in asked)
    prompts = {one.classes[0]: one.prompts[0] for one in asked if one.prompts[0] != one.classes}
    if not classes:
        raise DataError(f"{path} is empty. Write one class a line, in the order of the masks' values.")
    if len(set(classes)) < len(classes):
        twice = next(word for word in classes if classes.count(word) > 1)
        raise DataError(f"{path} names {twice!r} twice. Every line is another class.")
    if len(classes) >= IGNORE:
        raise DataError(f"{path} has {len(classes)} classes; a mask of 8 bits can tell {IGNORE - 1} apart.")
    return classes, prompts
