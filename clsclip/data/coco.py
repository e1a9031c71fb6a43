"""COCO-20i from the instances files of COCO.

    COCO/annotations/instances_{train,val}2014.json      or 2017
    COCO/train2014/*.jpg, COCO/val2014/*.jpg

The customary test is on the pictures of 2014, which are taken where both years are there; 2017 shares them out anew.

Fold f holds out classes f, f+4, f+8, ... of the 80, counted in the order of their category ids. The customary test is
1000 episodes: a class, uniformly, then one of its pictures, uniformly, from numpy's seed 0; see
:func:`customary_episodes`. There is no ignore label: annotations of crowds (``iscrowd``) are pixels of their class
like any others, since as background they would punish a right mask.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from clsclip.data.base import Fold
from clsclip.data.files import LastFew, drop_missing, read_picture
from clsclip.errors import DataError
from clsclip_runtime.documents import DATA_FILE, read_json
from clsclip_runtime.paths import is_dir, is_file

FOLDS = 4
CLASSES = 80
EPISODES = 1000
COCO_WORDS = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    *("microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
"""COCO's 80 classes in the order of their category ids."""

_YEARS = ("2014", "2017")
_SURELY_VISIBLE = 32.0
"""Annotated areas (pixels) below this are drawn before they count as shown: some polygons cover no pixel at all."""

_log = logging.getLogger(__name__)


class CocoPictures:
    """The pictures of one instances file; see :class:`clsclip.data.base.MaskDataset`.

    Args:
        folder: the pictures.
        coco: the loaded annotations; None for no pictures at all.
        image_ids: COCO ids of the pictures, in the order of their indices.
        classes: the words.
    """

    name = "coco"

    def __init__(self, folder: Path, coco: Any, image_ids: Sequence[int], classes: tuple[str, ...]) -> None:
        self.folder, self.image_ids, self.classes = folder, tuple(image_ids), classes
        self._coco = coco
        self._class_of = {} if coco is None else {one: at for at, one in enumerate(sorted(coco.getCatIds()))}
        self._shown: dict[int, tuple[int, ...]] = {}
        self._pictures: LastFew[NDArray[np.uint8]] = LastFew()

    def __len__(self) -> int:
        return len(self.image_ids)

    def key(self, index: int) -> str:
        return Path(self._image(index)["file_name"]).stem

    def shown(self, index: int) -> tuple[int, ...]:
        if index not in self._shown:
            self._shown[index] = tuple(sorted({self._class_of[one["category_id"]] for one in self._visible(index)}))
        return self._shown[index]

    def picture(self, index: int) -> NDArray[np.uint8]:
        return self._pictures.get(index, self._read_picture)

    def mask(self, index: int, class_id: int) -> NDArray[np.uint8]:
        image = self._image(index)
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        for one in self._annotations(index):
            if self._class_of[one["category_id"]] == class_id:
                mask |= self._drawn(index, one)
        return mask

    def label_map(self, index: int) -> NDArray[np.uint8]:
        """(H, W) uint8: class id + 1 of every pixel, 0 for none; smaller annotations lie on top of larger ones."""
        image = self._image(index)
        labels = np.zeros((image["height"], image["width"]), np.uint8)
        drawn = [(self._drawn(index, one), self._class_of[one["category_id"]]) for one in self._annotations(index)]
        for mask, class_id in sorted(drawn, key=lambda one: -int(one[0].sum())):
            labels[mask != 0] = class_id + 1
        return labels

    def _image(self, index: int) -> Any:
        return self._coco.imgs[self.image_ids[index]]

    def _annotations(self, index: int) -> list[Any]:
        found: list[Any] = self._coco.imgToAnns[self.image_ids[index]]
        return found

    def _visible(self, index: int) -> list[Any]:
        return [
            one
            for one in self._annotations(index)
            if one.get("area", 0) >= _SURELY_VISIBLE or self._drawn(index, one).any()
        ]

    def _drawn(self, index: int, annotation: Any) -> NDArray[np.uint8]:
        """(H, W) uint8 of one annotation."""
        if not annotation.get("segmentation"):
            return np.zeros((self._image(index)["height"], self._image(index)["width"]), np.uint8)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools and numpy 2
                drawn: NDArray[np.uint8] = mask_utils.decode(self._coco.annToRLE(annotation))
        except Exception as error:  # pycocotools checks nothing by itself
            raise DataError(
                f"Annotation {annotation.get('id')} of picture {self.key(index)} cannot be drawn: {error}. "
                "Get the instances file again."
            ) from error
        return drawn

    def _read_picture(self, index: int) -> NDArray[np.uint8]:
        image = self._image(index)
        path = self.folder / image["file_name"]
        pixels = read_picture(path)
        if pixels.shape[:2] != (image["height"], image["width"]):
            raise DataError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]}, and its annotations are for "
                f"{image['width']}x{image['height']}. Get the picture in its original size."
            )
        return pixels


def open_coco(root: Path, fold: int, *, allow_missing: bool = False, part: str = "both") -> Fold:
    """A fold of COCO-20i.

    Args:
        root: the folder with ``annotations``.
        fold: 0 to 3.
        allow_missing: go on without pictures that are absent.
        part: "train" or "test" reads only that side, and leaves the other empty; "both" reads both.

    Raises:
        DataError: the fold does not exist, files are absent or damaged, or the classes are not COCO's 80.
    """
    if fold not in range(FOLDS):
        raise DataError(f"COCO-20i has no fold {fold}; its folds are 0 to {FOLDS - 1}.")
    novel = tuple(range(fold, CLASSES, FOLDS))
    seen = tuple(one for one in range(CLASSES) if one not in novel)
    opened = {
        side: open_side(root, side, allow_missing)
        for side, wanted in (("train", "train"), ("val", "test"))
        if part in (wanted, "both")
    }
    classes = next(iter(opened.values())).classes
    train = opened.get("train", CocoPictures(root, None, (), classes))
    test = opened.get("val", CocoPictures(root, None, (), classes))
    return Fold(fold, train, test, seen, novel, _pairs(train, seen), _pairs(test, novel))


def open_side(root: Path, side: str, allow_missing: bool) -> CocoPictures:
    """The pictures of ``train`` or ``val``, in the order of their ids, with at least one annotation."""
    path, folder = instances_file(root, side)
    coco = load_instances(path)
    categories = coco.loadCats(sorted(coco.getCatIds()))
    if len(categories) != CLASSES:
        raise DataError(f"{path} has {len(categories)} categories; COCO-20i needs COCO's {CLASSES}.")
    annotated = sorted(one for one in coco.getImgIds() if coco.imgToAnns[one])
    there = {file.name for file in folder.iterdir()} if is_dir(folder) else set()
    missing = [coco.imgs[one]["file_name"] for one in annotated if coco.imgs[one]["file_name"] not in there]
    drop_missing(missing, len(annotated), folder, allow_missing)
    kept = [one for one in annotated if coco.imgs[one]["file_name"] in there]
    return CocoPictures(folder, coco, kept, tuple(category["name"] for category in categories))


def instances_file(root: Path, side: str) -> tuple[Path, Path]:
    """(instances file, folder of pictures) of ``train`` or ``val``."""
    for year in _YEARS:
        path = root / "annotations" / f"instances_{side}{year}.json"
        if is_file(path):
            if year != _YEARS[0]:
                _log.warning("%s: the customary COCO-20i is on the pictures of %s", path.name, _YEARS[0])
            return path, root / f"{side}{year}"
    raise DataError(
        f"{root / 'annotations'} has no instances_{side}2014.json and no instances_{side}2017.json. "
        "Give COCO's folder; nothing is downloaded."
    )


def load_instances(path: Path) -> Any:
    """A loaded ``pycocotools.coco.COCO``. DataError when the file is damaged or holds something else."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it talks
            coco = COCO()
            coco.dataset = read_json(path, DATA_FILE)
            coco.createIndex()
        for image in coco.imgs.values():
            _ = (image["file_name"], int(image["height"]), int(image["width"]))
        known = set(coco.getCatIds())
        strangers = [one["id"] for one in coco.anns.values() if one["category_id"] not in known]
    except Exception as error:  # pycocotools checks nothing by itself
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} cannot be read as a COCO instances file ({reason}). Get it again.") from error
    if strangers:
        raise DataError(f"{path}: annotation {strangers[0]} is of a category that the file does not list.")
    return coco


def customary_episodes(fold: Fold, count: int = EPISODES) -> list[tuple[int, int]]:
    """The customary test: ``count`` draws of a class, then of a picture that shows it.

    Classes without a picture are not drawn. A pair may come several times.
    """
    pictures: dict[int, list[int]] = {}
    for index, class_id in fold.test_pairs:
        pictures.setdefault(class_id, []).append(index)
    classes = sorted(pictures)
    if len(classes) < len(fold.novel):
        _log.warning("%d of %d classes of the fold have no picture", len(fold.novel) - len(classes), len(fold.novel))
    if not classes:
        return []
    # The generator that the published tests use; numpy's newer one draws other numbers.
    random = np.random.RandomState(0)
    episodes = []
    for _ in range(count):
        # "replace=False" changes nothing about one draw but the number that comes out: the published tests have it.
        class_id = int(random.choice(classes, 1, replace=False)[0])
        episodes.append((int(random.choice(pictures[class_id], 1, replace=False)[0]), class_id))
    return episodes


def _pairs(pictures: CocoPictures, classes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    wanted = set(classes)
    return tuple((index, one) for index in range(len(pictures)) for one in pictures.shown(index) if one in wanted)
