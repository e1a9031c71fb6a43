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

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clsclip.data.annotated import AnnotatedImages
from clsclip.data.base import Fold
from clsclip.data.coco_json import open_coco_json
from clsclip.errors import DataError
from clsclip_runtime.paths import is_file

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
_log = logging.getLogger(__name__)


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
    train = opened.get("train", AnnotatedImages("coco", classes, ()))
    test = opened.get("val", AnnotatedImages("coco", classes, ()))
    return Fold(fold, train, test, seen, novel, _pairs(train, seen), _pairs(test, novel))


def open_side(root: Path, side: str, allow_missing: bool) -> AnnotatedImages:
    """The pictures of ``train`` or ``val``, in the order of their ids, with at least one annotation."""
    path, folder = instances_file(root, side)
    opened = open_coco_json(path, folder, allow_missing=allow_missing, benchmark=True)
    if len(opened.classes) != CLASSES:
        raise DataError(
            f"{path} has {len(opened.classes)} categories; COCO-20i needs COCO's {CLASSES}. For a COCO document "
            "of your own: --data coco --annotations FILE --images FOLDER, without --root and --fold."
        )
    for line in opened.account.lines():
        _log.warning("%s: %s", path.name, line)
    return opened


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


def customary_episodes(fold: Fold, count: int = EPISODES) -> list[tuple[int, int]]:
    """The customary test: ``count`` draws of a class, then of a picture that shows it.

    Classes without a picture are not drawn. A pair may come several times.
    """
    images: dict[int, list[int]] = {}
    for index, class_id in fold.test_pairs:
        images.setdefault(class_id, []).append(index)
    classes = sorted(images)
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
        episodes.append((int(random.choice(images[class_id], 1, replace=False)[0]), class_id))
    return episodes


def _pairs(images: AnnotatedImages, classes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    wanted = set(classes)
    return tuple((index, one) for index in range(len(images)) for one in images.shown(index) if one in wanted)
