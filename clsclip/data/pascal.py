"""PASCAL-5i on the layout of the VOC2012 devkit.

    VOC2012/JPEGImages/NAME.jpg               or any other suffix of a picture
    VOC2012/SegmentationClassAug/NAME.png     or SegmentationClass; value 1..20 the class, 255 ignore
    VOC2012/ImageSets/Segmentation/*.txt

Fold f holds out classes 5f .. 5f+4 in VOC's order. The customary lists (``trn/fold{f}.txt`` and ``val/fold{f}.txt``,
lines ``NAME__CLASS``) leave out small things: a (picture, class) pair is in them when more than two points of a grid
of every 32nd pixel, starting at (1, 1), lie on the class. Made from masks by that rule, lists equal the customary
ones. (The rule is OSLSM's, which sampled every mask at stride 32; all later lists come from there.)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsclip.data.base import Fold
from clsclip.data.files import (
    MASK_SUFFIXES,
    bare_name,
    drop_missing,
    names_in,
    read_lines,
    unique,
)
from clsclip.data.labels import LabelledImages
from clsclip.errors import DataError
from clsclip_runtime.images import SUFFIXES
from clsclip_runtime.paths import is_dir, is_file

VOC_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""VOC's own names in its order; class id = position, the value in a mask is one more."""

READABLE = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
"""Names that are no words, and what is asked for instead."""

PASCAL_WORDS = tuple(READABLE.get(name, name) for name in VOC_NAMES)

FOLDS = 4
_PER_FOLD = len(VOC_NAMES) // FOLDS
_STRIDE = 32
_GRID_START = 1
_GRID_POINTS = 3
_MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")
_TRAIN_SETS = (("trainaug",), ("train", "sbd_extra"), ("train",))
_LINE = re.compile(r"(?P<name>\S+)__(?P<value>\d{1,2})")

_log = logging.getLogger(__name__)

Pairs = list[tuple[str, int]]


def voc_images(root: Path, names: Sequence[str]) -> LabelledImages:
    """Some VOC pictures, by name without suffix."""
    images, masks = images_of(root)
    files = [(name, images[name], masks[name]) for name in names]
    advice = "VOC masks hold 0 to 20 and 255: get the indexed masks, not their coloured or grey versions."
    return LabelledImages("pascal", PASCAL_WORDS, files, advice)


def open_pascal(
    root: Path, fold: int, *, splits: Path | None = None, allow_missing: bool = False, part: str = "both"
) -> Fold:
    """A fold of PASCAL-5i.

    Args:
        root: the VOC2012 folder.
        fold: 0 to 3.
        splits: folder of the customary lists (``trn/`` and ``val/``, or a ``pascal/`` with them); None makes the
            lists from the masks of the pictures in ``ImageSets/Segmentation``, by the same rule.
        allow_missing: go on without pictures or masks that are absent.
        part: "train" or "test" reads only that side, and leaves the other empty; "both" reads both.

    Raises:
        DataError: the fold does not exist, files are absent, or a list is not in the customary format.
    """
    if fold not in range(FOLDS):
        raise DataError(f"PASCAL-5i has no fold {fold}; its folds are 0 to {FOLDS - 1}.")
    if not is_dir(root):
        raise DataError(f"No folder {root}. Give the VOC2012 folder, which holds JPEGImages.")
    novel = tuple(range(fold * _PER_FOLD, (fold + 1) * _PER_FOLD))
    seen = tuple(one for one in range(len(VOC_NAMES)) if one not in novel)
    there = files_there(root)
    train_pairs: Pairs = []
    test_pairs: Pairs = []
    if splits is None:
        if part != "test":
            train_pairs = trained_order(pairs_from_masks(root, there, train_names(root), seen, allow_missing))
        if part != "train":
            names = read_names(root / "ImageSets" / "Segmentation" / "val.txt")
            test_pairs = pairs_from_masks(root, there, names, novel, allow_missing)
    else:
        lists = splits / "pascal" if is_dir(splits / "pascal") else splits
        if part != "test":
            others = [one for one in range(FOLDS) if one != fold]
            listed = [pair for one in others for pair in read_pairs(lists / "trn" / f"fold{one}.txt", one)]
            train_pairs = keep_there(listed, there, root, allow_missing)
        if part != "train":
            test_pairs = keep_there(read_pairs(lists / "val" / f"fold{fold}.txt", fold), there, root, allow_missing)
    train, train_index = _numbered(root, train_pairs)
    test, test_index = _numbered(root, test_pairs)
    return Fold(fold, train, test, seen, novel, train_index, test_index)


def customary(labels: NDArray[np.uint8]) -> tuple[int, ...]:
    """Ids of the classes of a label map that are large enough for the customary lists, sorted."""
    grid = labels[_GRID_START::_STRIDE, _GRID_START::_STRIDE]
    values, counts = np.unique(grid, return_counts=True)
    return tuple(
        value - 1
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
        if 1 <= value <= len(VOC_NAMES) and count >= _GRID_POINTS
    )


def pairs_from_masks(
    root: Path, there: set[str], names: Sequence[str], classes: Sequence[int], allow_missing: bool
) -> Pairs:
    """(name, class) pairs by the customary rule, in the order of the names, then of the classes."""
    drop_missing([name for name in names if name not in there], len(names), root, allow_missing)
    names = [name for name in names if name in there]
    images = voc_images(root, names)
    _log.info("searching %d masks of %s for classes", len(images), root)
    found: Pairs = []
    for index, name in enumerate(names):
        found += [(name, one) for one in customary(images.labels(index)) if one in classes]
    return found


def read_names(path: Path) -> list[str]:
    """The names of a list, also where it has their suffixes."""
    return [bare_name(line) for line in read_lines(path)]


def trained_order(pairs: Pairs) -> Pairs:
    """The customary order of training lists: by class, then by name."""
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))


def read_pairs(path: Path, fold: int) -> Pairs:
    """A customary list: lines ``NAME__CLASS``, CLASS from 1, all of one fold's classes."""
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        match = _LINE.fullmatch(line)
        if match is None or (int(match["value"]) - 1) // _PER_FOLD != fold:
            raise DataError(
                f"{path}, line {number}: {line[:60]!r} is not NAME__CLASS with a class from {fold * _PER_FOLD + 1} "
                f"to {(fold + 1) * _PER_FOLD}. Give the customary PASCAL-5i lists."
            )
        pairs.append((match["name"], int(match["value"]) - 1))
    return pairs


def keep_there(pairs: Pairs, there: set[str], root: Path, allow_missing: bool) -> Pairs:
    """The pairs whose picture and mask exist; the others are an error unless they are allowed."""
    names = unique(name for name, _ in pairs)
    drop_missing([name for name in names if name not in there], len(names), root, allow_missing)
    return [pair for pair in pairs if pair[0] in there]


def mask_folder(root: Path) -> Path:
    """The folder of masks: the augmented ones where there are any. DataError when there is none."""
    for name in _MASK_FOLDERS:
        if is_dir(root / name):
            return root / name
    raise DataError(f"{root} has no {' and no '.join(_MASK_FOLDERS)}. Give the VOC2012 folder.")


def images_of(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The pictures and the masks by name, with whatever suffix they have."""
    return names_in(root / "JPEGImages", SUFFIXES), names_in(mask_folder(root), MASK_SUFFIXES)


def files_there(root: Path) -> set[str]:
    """Names that have both a picture and a mask."""
    images, masks = images_of(root)
    return set(images) & set(masks)


def train_names(root: Path) -> list[str]:
    """Names of the training pictures: ``trainaug.txt``, or ``train.txt`` with ``sbd_extra.txt`` where it exists."""
    folder = root / "ImageSets" / "Segmentation"
    for sets in _TRAIN_SETS:
        paths = [folder / f"{name}.txt" for name in sets]
        if all(is_file(path) for path in paths):
            return unique(name for path in paths for name in read_names(path))
    raise DataError(f"{folder} has no trainaug.txt and no train.txt. Give the VOC2012 folder, or --splits.")


def _numbered(root: Path, pairs: Pairs) -> tuple[LabelledImages, tuple[tuple[int, int], ...]]:
    names = unique(name for name, _ in pairs)
    position = {name: index for index, name in enumerate(names)}
    return voc_images(root, names), tuple((position[name], one) for name, one in pairs)
