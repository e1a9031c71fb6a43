"""The benchmarks of training-free segmentation: every pixel has one label, and a model gives every pixel a name.

Each reads its data set's own layout, or the one that mmsegmentation makes of it:

    voc21, voc20    VOC2012: JPEGImages, SegmentationClass(Aug), ImageSets/Segmentation/val.txt
    coco-object     annotations/val2017/*_instanceTrainIds.png, COCO-Stuff's *.png, or instances_val2017.json
    context59       VOC2010: JPEGImages, SegmentationClassContext, ImageSets/SegmentationContext/val.txt
    cocostuff       annotations/val2017/*_labelTrainIds.png, or COCO-Stuff's *.png; images/val2017 or val2017

``voc21`` and ``coco-object`` have background as a class. In the others pixels without a class are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clsclip.data.annotated import AnnotatedImages
from clsclip.data.base import IGNORE
from clsclip.data.coco import CLASSES
from clsclip.data.coco_json import open_coco_json
from clsclip.data.files import (
    MASK_SUFFIXES,
    LastFew,
    bare_name,
    check_same_size,
    drop_missing,
    names_in,
    read_image,
    read_labels,
    read_lines,
)
from clsclip.data.pascal import VOC_NAMES, mask_folder
from clsclip.errors import DataError
from clsclip_runtime.images import SUFFIXES
from clsclip_runtime.paths import is_dir, is_file

Labels = NDArray[np.uint8]

CONTEXT_CLASSES = 59
STUFF_CLASSES = 171
_UNUSED_STUFF = frozenset({11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90})
"""Values of COCO-Stuff's files that no pixel has: category ids without a picture, less 1."""

_FIRST_STUFF = 91
"""COCO-Stuff's values from here on are stuff; those below are COCO's things."""

_FORBIDDEN = -1


class LabelMaps(Protocol):
    """Pictures, each with one label map."""

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def key(self, index: int) -> str:
        """The picture's name."""
        ...

    def image(self, index: int) -> NDArray[np.uint8]:
        """The picture, (H, W, 3) uint8 RGB. DataError when its file cannot be read."""
        ...

    def labels(self, index: int) -> Labels:
        """(H, W) uint8 of the picture's size: the class's position, or 255 for pixels that are not counted."""
        ...


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: as on the command line.
        classes: how many classes are counted, background included.
        background: whether class 0 is background.
        names: the file of names that comes with this package.
        images: the pictures of its test.
    """

    name: str
    classes: int
    background: bool
    names: str
    images: LabelMaps


class LabelFiles:
    """Label maps in PNG files whose values mean classes by a table.

    Args:
        files: (name, picture, label map) of every picture.
        table: (256,) int, the class of every value; 255 is not counted, -1 must not occur.
        advice: what to do about a value that must not occur.
    """

    def __init__(self, files: Sequence[tuple[str, Path, Path]], table: NDArray[np.int64], advice: str) -> None:
        self.files, self.table, self.advice = tuple(files), table, advice
        self._images: LastFew[NDArray[np.uint8]] = LastFew()

    def __len__(self) -> int:
        return len(self.files)

    def key(self, index: int) -> str:
        return self.files[index][0]

    def image(self, index: int) -> NDArray[np.uint8]:
        return self._images.get(index, lambda at: read_image(self.files[at][1]))

    def labels(self, index: int) -> Labels:
        path = self.files[index][2]
        stored = read_labels(path)
        check_same_size(self.image(index), stored, path)
        found = self.table[stored]
        if (found == _FORBIDDEN).any():
            strange = int(stored[found == _FORBIDDEN][0])
            raise DataError(f"{path} holds the value {strange}, which means nothing there. {self.advice}")
        return found.astype(np.uint8)


class DrawnObjects:
    """COCO's objects drawn from an instances file, the smaller ones on top of the larger ones; 0 is background."""

    def __init__(self, images: AnnotatedImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def key(self, index: int) -> str:
        return self.images.key(index)

    def image(self, index: int) -> NDArray[np.uint8]:
        return self.images.image(index)

    def labels(self, index: int) -> Labels:
        return self.images.label_map(index)


def table_of(classes: int, *, first: int, others: int | None = None) -> NDArray[np.int64]:
    """A table in which the values ``first`` to ``first + classes - 1`` are the classes in order; 255 is not counted.

    Args:
        classes: their number.
        first: value of class 0.
        others: what values below ``first`` mean; None forbids them.
    """
    table = np.full(256, _FORBIDDEN, np.int64)
    table[IGNORE] = IGNORE
    table[first : first + classes] = np.arange(classes)
    if others is not None:
        table[:first] = others
    return table


def stuff_table() -> NDArray[np.int64]:
    """COCO-Stuff's own values (category ids less 1, some unused) -> its 171 classes."""
    table = table_of(0, first=0)
    used = [value for value in range(_FIRST_STUFF + 91) if value not in _UNUSED_STUFF]
    table[used] = np.arange(STUFF_CLASSES)
    return table


def object_table() -> NDArray[np.int64]:
    """COCO-Stuff's own values -> background and COCO's 80 objects; stuff and pixels without a label are background."""
    table = stuff_table()
    objects = (table >= 0) & (table < CLASSES)
    return np.where(objects, table + 1, np.where(table == _FORBIDDEN, _FORBIDDEN, 0))


def open_voc21(root: Path, allow_missing: bool = False) -> Benchmark:
    """PASCAL VOC 2012: 20 classes and background."""
    files = _listed(root, "Segmentation", mask_folder(root), allow_missing)
    images = LabelFiles(files, table_of(len(VOC_NAMES) + 1, first=0), _VOC_ADVICE)
    return Benchmark("voc21", len(VOC_NAMES) + 1, True, "voc.txt", images)


def open_voc20(root: Path, allow_missing: bool = False) -> Benchmark:
    """PASCAL VOC 2012: 20 classes; background is not counted."""
    files = _listed(root, "Segmentation", mask_folder(root), allow_missing)
    images = LabelFiles(files, table_of(len(VOC_NAMES), first=1, others=IGNORE), _VOC_ADVICE)
    return Benchmark("voc20", len(VOC_NAMES), False, "voc.txt", images)


def open_context59(root: Path, allow_missing: bool = False) -> Benchmark:
    """PASCAL Context: 59 classes; pixels of no class are not counted."""
    files = _listed(root, "SegmentationContext", root / "SegmentationClassContext", allow_missing)
    table = table_of(CONTEXT_CLASSES, first=1, others=IGNORE)
    advice = "PASCAL Context's masks of 59 classes hold 0 to 59: make them with mmsegmentation's converter."
    return Benchmark("context59", CONTEXT_CLASSES, False, "context59.txt", LabelFiles(files, table, advice))


def open_cocostuff(root: Path, allow_missing: bool = False) -> Benchmark:
    """COCO-Stuff (164k): 171 classes; pixels without a label are not counted."""
    made, files = _coco_labels(root, "_labelTrainIds", allow_missing)
    table = table_of(STUFF_CLASSES, first=0) if made else stuff_table()
    images = LabelFiles(files, table, "Get COCO-Stuff's label maps (stuffthingmaps_trainval2017) again.")
    return Benchmark("cocostuff", STUFF_CLASSES, False, "cocostuff.txt", images)


def open_coco_object(root: Path, allow_missing: bool = False) -> Benchmark:
    """COCO's 80 objects and background."""
    maps: LabelMaps
    if is_dir(root / "annotations" / "val2017"):
        made, files = _coco_labels(root, "_instanceTrainIds", allow_missing)
        table = table_of(CLASSES + 1, first=0) if made else object_table()
        maps = LabelFiles(files, table, "Get COCO-Stuff's label maps (stuffthingmaps_trainval2017) again.")
    else:
        path, folder = root / "annotations" / "instances_val2017.json", root / "val2017"
        if not is_file(path):
            raise DataError(
                f"{root} has no annotations/val2017 with label maps and no annotations/{path.name}. Give COCO's folder."
            )
        opened = open_coco_json(path, folder, allow_missing=allow_missing, benchmark=True, bare=True)
        if len(opened.classes) != CLASSES:
            raise DataError(f"{path} has {len(opened.classes)} categories; the benchmark needs COCO's {CLASSES}.")
        maps = DrawnObjects(opened)
    return Benchmark("coco-object", CLASSES + 1, True, "coco.txt", maps)


BENCHMARKS: dict[str, Callable[[Path, bool], Benchmark]] = {
    "voc21": open_voc21,
    "voc20": open_voc20,
    "coco-object": open_coco_object,
    "context59": open_context59,
    "cocostuff": open_cocostuff,
}

_VOC_ADVICE = "VOC masks hold 0 to 20 and 255: get the indexed masks, not their coloured or grey versions."


def _listed(root: Path, listing: str, masks: Path, allow_missing: bool) -> list[tuple[str, Path, Path]]:
    """The files of ``val.txt`` in the devkit's layout. DataError where it lists a picture twice."""
    path = root / "ImageSets" / listing / "val.txt"
    names = [bare_name(line) for line in read_lines(path)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{path} lists {twice} twice, and it would count twice. Leave one of them out.")
    images, labels = names_in(root / "JPEGImages", SUFFIXES), names_in(masks, MASK_SUFFIXES)
    there = set(images) & set(labels)
    drop_missing([name for name in names if name not in there], len(names), root, allow_missing)
    return [(name, images[name], labels[name]) for name in names if name in there]


def _coco_labels(root: Path, suffix: str, allow_missing: bool) -> tuple[bool, list[tuple[str, Path, Path]]]:
    """Whether converted label maps were found, and the files of every picture."""
    folder = root / "annotations" / "val2017"
    found = names_in(folder, (".png",))
    maps = {name.removesuffix(suffix): path for name, path in found.items() if name.endswith(suffix)}
    made = bool(maps)
    if not made:
        maps = {name: path for name, path in found.items() if not name.endswith("TrainIds")}
    if not maps:
        raise DataError(f"{folder} has no label maps. Put COCO-Stuff's there: stuffthingmaps_trainval2017, val2017.")
    images = next((root / one for one in ("images/val2017", "val2017") if is_dir(root / one)), root / "val2017")
    there = names_in(images, SUFFIXES)
    drop_missing([name for name in maps if name not in there], len(maps), images, allow_missing)
    return made, [(name, there[name], path) for name, path in sorted(maps.items()) if name in there]


def names_file(benchmark: Benchmark) -> Path:
    """The file of names that comes with this package."""
    path = Path(__file__).parents[1] / "evaluation" / "names" / benchmark.names
    if not is_file(path):
        raise DataError(f"This installation has no {path.name}. Install clsclip again, or give --names FILE.")
    return path
