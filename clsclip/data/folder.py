"""Pictures of one's own: a folder of pictures, a folder of masks, a list of classes.

ROOT/images/NAME.jpg       or any other suffix of a picture; in folders below, too
ROOT/masks/NAME.png        indexed or grey: value i is line i of classes.txt, 0 background, 255 ignore
ROOT/classes.txt           one class a line; with several prompts: helmet = safety helmet | hard hat
ROOT/train.txt, val.txt    names, one a line; where one is there, the other side is the rest; without both, every
                           picture is in both

Where classes.txt has one line and no mask holds another value than 0 and 255, 255 is that class.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from clsclip.data.account import Account
from clsclip.data.base import IGNORE, Fold
from clsclip.data.class_lists import check_class_list, is_background
from clsclip.data.files import (
    MASK_SUFFIXES,
    bare_name,
    drop_missing,
    read_labels,
    read_lines,
    unique,
    without_suffix,
)
from clsclip.data.gather import count_others
from clsclip.data.labels import LabelledImages, values_of
from clsclip.data.places import Places, images_below
from clsclip.data.sides import fold_of, shared_out
from clsclip.data.summary import Summary, summarize
from clsclip.errors import DataError
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.errors import WordError
from clsclip_runtime.images import SUFFIXES
from clsclip_runtime.paths import is_file
from clsclip_runtime.text.typed import typed_class

_log = logging.getLogger(__name__)


ADVICE = "Value i is line i of classes.txt, 0 the background, 255 ignore."

_ONLY_WHITE = "masks hold 0 and 255 alone: 255 is 'ignore', so their pictures teach nothing. Save classes as 1, 2, ..."

_LISTS = {"train": "train.txt", "test": "val.txt"}
"""The list of each side."""

_FEW = 8
"""Masks that tell whether all are black and white, before all are read."""

Files = list[tuple[str, Path, Path]]


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
        DataError: files are absent, classes.txt is empty, names a class twice or has lines that are no classes, or a
            novel class is not in it.
    """
    account = Account()
    classes, prompts = read_classes(root / "classes.txt", account)
    seen, held_out = shared_out(classes, novel, str(root / "classes.txt"))
    places = Places(root / "images")
    images, masks = without_suffix(places.files), without_suffix(images_below(root / "masks", MASK_SUFFIXES))
    count_others(places, account)
    names = _names(root, images, masks, account)
    files = {
        side: _files(root, names[side], images, masks, allow_missing, account) if part in (side, "both") else []
        for side in _LISTS
    }
    every = list({name: (name, image, mask) for one in files.values() for name, image, mask in one}.values())
    values = _values(every, account)
    every = [one for one in every if one[0] in values]
    white = _is_white(values, every, classes, account)
    sides = {}
    for side, found in files.items():
        kept = [one for one in found if one[0] in values]
        sides[side] = LabelledImages("folder", classes, kept, ADVICE, prompts, account=account, white=white)
        sides[side].know(values)
    return fold_of(sides["train"], sides["test"], seen, held_out)


def first_look(root: Path, seconds: float) -> Summary | None:
    """Count what a part of the training masks hold, taken from all over the data, without reading all of them.

    Args:
        root: see the module's text.
        seconds: after which it ends.

    Returns:
        what was counted; None where all masks were read in that time, or there are none.

    Raises:
        DataError: as of ``open_folder``, as far as it is seen without the masks.
    """
    account = Account()
    classes, prompts = read_classes(root / "classes.txt")
    images, masks = (
        without_suffix(images_below(root / name, suffixes))
        for name, suffixes in (("images", SUFFIXES), ("masks", MASK_SUFFIXES))
    )
    names = _names(root, images, masks, account, quiet=True)["train"]
    files = [(name, images[name], masks[name]) for name in names if name in images and name in masks]
    data = LabelledImages("folder", classes, files, ADVICE, prompts, white=len(classes) == 1 and _looks_white(files))
    summary = summarize(data, seconds=seconds)
    return summary if 0 < summary.counted < summary.images else None


def _looks_white(files: Files) -> bool:
    """Whether the first masks hold 0 and 255 alone."""
    held: set[int] = set()
    for _, _, mask in files[:_FEW]:
        with suppress(DataError):
            held |= set(values_of(read_labels(mask)))
    return IGNORE in held and held <= {0, IGNORE}


def _names(
    root: Path, images: Mapping[str, Path], masks: Mapping[str, Path], account: Account, *, quiet: bool = False
) -> dict[str, list[str]]:
    """The pictures of each side: those in its list, else those that are not in the other's, else all."""
    listed = {side: names for side, name in _LISTS.items() if (names := _listed(root / name)) is not None}
    if len(listed) < len(_LISTS):
        bare = [name for name in masks if name not in images]
        if bare:
            account.add("masks have no picture of their name", bare[0], len(bare))
    if not listed:
        if not quiet:
            _log.warning("%s has no train.txt and no val.txt: every picture is on both sides", root)
        return {side: list(images) for side in _LISTS}
    for side, name in _LISTS.items():
        if side not in listed:
            other = next(iter(listed))
            there = set(listed[other])
            listed[side] = [one for one in images if one not in there]
            told = f"{name} is not there: the {len(listed[side]):,} pictures that are not in {_LISTS[other]} are taken"
            if not quiet:
                _log.warning("%s: %s", root, told)
    return listed


def _listed(path: Path) -> list[str] | None:
    """The names in a list; None where it is not there."""
    return unique(bare_name(line) for line in read_lines(path)) if is_file(path) else None


def _files(
    root: Path,
    names: list[str],
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    allow_missing: bool,
    account: Account,
) -> Files:
    """(name, picture, mask) of some pictures."""
    missing = [name for name in names if name not in images or name not in masks]
    drop_missing(missing, len(names), root, allow_missing)
    if missing:
        account.add("pictures or masks are not there", missing[0], len(missing))
    return [(name, images[name], masks[name]) for name in names if name in images and name in masks]


def _values(files: Files, account: Account) -> dict[str, list[int]]:
    """The values of every mask that can be read. DataError where none can."""
    found: dict[str, list[int]] = {}
    failed: list[DataError] = []
    with closing(Progress("masks", len(files))) as progress:
        for done, (name, _, mask) in enumerate(files, 1):
            if name not in found:
                try:
                    found[name] = values_of(read_labels(mask))
                except DataError as error:
                    failed.append(error)
                    account.add("pictures were left out, since their mask cannot be read", error)
            progress.update(done)
    if failed and not found:
        raise failed[0]
    return found


def _is_white(values: dict[str, list[int]], files: Files, classes: Sequence[str], account: Account) -> bool:
    """Whether masks are black and white. DataError where they are, and do not tell their classes apart."""
    white = {name: mask for name, _, mask in files if IGNORE in values[name] and set(values[name]) <= {0, IGNORE}}
    if not white:
        return False
    first = next(iter(white.values()))
    if any(set(one) - {0, IGNORE} for one in values.values()):
        account.add(_ONLY_WHITE, first, len(white))
        return False
    if len(classes) > 1:
        raise DataError(
            f"{first} has only 0 and 255, as have all masks; 255 is 'ignore', and there are {len(classes)} classes. "
            "Save each class as its own value: 1 for the first line of classes.txt, 2 for the second."
        )
    account.add(f"masks hold 0 and 255 alone: 255 was taken for {classes[0]!r}", first, len(white))
    return True


def read_classes(path: Path, account: Account | None = None) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The classes of ``classes.txt``, at most 254, and the prompts of those that have other words than their name.

    Every line is one class, whatever commas are in it: its number is what masks hold.
    """
    lines = read_lines(path)
    if len(lines) >= IGNORE:
        raise DataError(f"{path} has {len(lines)} classes; a mask of 8 bits can tell {IGNORE - 1} apart.")
    check_class_list(lines, path)
    try:
        asked = [typed_class(line) for line in lines]
    except WordError as error:
        raise DataError(f"{path}: {error}.") from error
    for line in lines:
        if is_background(line) and account is not None:
            account.add("classes are named like the background, and are trained as all others", line)
    for note in (note for one in asked for note in one.notes):
        _log.warning("%s: %s", path, note)
        if account is not None:
            account.add("classes were changed as they were read", note)
    classes = tuple(one.classes[0] for one in asked)
    prompts = {one.classes[0]: one.prompts[0] for one in asked if one.prompts[0] != one.classes}
    if not classes:
        raise DataError(f"{path} is empty. Write one class a line, in the order of the masks' values.")
    if len(set(classes)) < len(classes):
        twice = next(word for word in classes if classes.count(word) > 1)
        raise DataError(f"{path} names {twice!r} twice. Every line is another class.")
    return classes, prompts
