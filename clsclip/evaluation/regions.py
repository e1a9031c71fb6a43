"""ClsCLIP+: segment every region of the asked class, and join the masks (eq. 9 of the paper).

Where regions come from: a detector, a file of boxes drawn by hand, or the true masks (the best that any detector
could do). Boxes alone as masks are the paper's Table 6.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from clsclip.data.base import IGNORE
from clsclip.errors import DataError
from clsclip.evaluation.predictors import Prediction, Predictor
from clsclip_runtime.detectors import Detector, same_class

Boxes = NDArray[np.float32]

MARGIN = 0.1
"""Context around a region, as a share of its width and height, on every side."""

ON_MISSING = ("whole-image", "empty")
MIN_PIXELS = 16
"""Smaller parts of a true mask are specks, not regions."""

NO_BOXES: Boxes = np.zeros((0, 4), np.float32)


class RegionSource(Protocol):
    """Finds the regions of words in a picture. ``name`` is for tables."""

    @property
    def name(self) -> str: ...

    def find(
        self, key: str, picture: NDArray[np.uint8], truths: Mapping[str, NDArray[np.uint8]], words: Sequence[str]
    ) -> dict[str, Boxes]:
        """Regions of every word.

        Args:
            key: the picture's name in its data set.
            picture: (H, W, 3) uint8, at its own size.
            truths: the masks (H, W) uint8 of those words that are present.
            words: the words asked.

        Returns:
            (N, 4) float32 xyxy boxes in pixels of the picture for every word; N may be 0.
        """
        ...


class DetectorRegions:
    """Regions that a detector finds."""

    def __init__(self, detector: Detector, name: str = "detector") -> None:
        self.detector, self.name = detector, name

    def find(
        self, key: str, picture: NDArray[np.uint8], truths: Mapping[str, NDArray[np.uint8]], words: Sequence[str]
    ) -> dict[str, Boxes]:
        found = self.detector(picture)
        of_word = {
            word: [at for at, name in enumerate(self.detector.names) if same_class(word, name)] for word in words
        }
        return {word: found.boxes[np.isin(found.classes, numbers)] for word, numbers in of_word.items()}


class FileRegions:
    """Boxes from a JSON file: ``[{"image": key, "class": word, "bbox": [x, y, width, height]}, ...]``, in pixels.

    Args:
        path: the file; other entries, such as ``score``, are not read.

    Raises:
        DataError: it is absent, no JSON, or an entry is wrong; the message says which.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"boxes of {path.name}"
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"No file of regions {path}.") from error
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} cannot be read as JSON: {error}.") from error
        if not isinstance(entries, list):
            raise DataError(f"{path} must hold a list of boxes, and it holds a {type(entries).__name__}.")
        self._boxes: dict[str, list[tuple[str, list[float]]]] = {}
        for number, entry in enumerate(entries):
            image, word, box = _entry(entry, number, path)
            self._boxes.setdefault(image, []).append((word, box))

    def find(
        self, key: str, picture: NDArray[np.uint8], truths: Mapping[str, NDArray[np.uint8]], words: Sequence[str]
    ) -> dict[str, Boxes]:
        own = self._boxes.get(key, [])
        return {
            word: np.array([box for name, box in own if same_class(name, word)], np.float32).reshape(-1, 4)
            for word in words
        }


class TruthRegions:
    """The boxes of the connected parts of the true masks: regions of a detector that is never wrong."""

    name = "true regions"

    def find(
        self, key: str, picture: NDArray[np.uint8], truths: Mapping[str, NDArray[np.uint8]], words: Sequence[str]
    ) -> dict[str, Boxes]:
        return {word: boxes_of(truths[word]) if word in truths else NO_BOXES for word in words}


def boxes_of(truth: NDArray[np.uint8]) -> Boxes:
    """Boxes (N, 4) xyxy of the connected parts of a mask (H, W) uint8, specks left out unless there is nothing else."""
    own = (truth != 0) & (truth != IGNORE)
    parts = regionprops(label(own, connectivity=2))
    large = [part for part in parts if part.area >= MIN_PIXELS] or parts
    boxes = [(part.bbox[1], part.bbox[0], part.bbox[3], part.bbox[2]) for part in large]
    return np.array(boxes, np.float32).reshape(-1, 4)


def zoom_in(
    predictor: Predictor,
    picture: NDArray[np.uint8],
    words: Sequence[str],
    regions: Mapping[str, Boxes],
    *,
    margin: float = MARGIN,
    on_missing: str = "whole-image",
) -> Prediction:
    """Masks of the words, each joined from the masks in its regions.

    Args:
        predictor: draws the mask in a crop.
        picture: (H, W, 3) uint8.
        words: K words.
        regions: boxes (N, 4) xyxy in pixels of every word.
        margin: context around a box, as a share of its sides.
        on_missing: a word without a region is looked for in the "whole-image", or gets an "empty" mask.
    """
    height, width = picture.shape[:2]
    masks = np.zeros((len(words), height, width), np.bool_)
    windows: dict[tuple[int, int, int, int], list[int]] = {}
    whole = []
    for at, word in enumerate(words):
        own = [box for box in (crop_box(row, (width, height), margin) for row in regions[word]) if box is not None]
        for box in dict.fromkeys(own):
            windows.setdefault(box, []).append(at)
        if not own and on_missing == "whole-image":
            whole.append(at)
    if whole:
        windows.setdefault((0, 0, width, height), []).extend(at for at in whole)
    for (left, top, right, bottom), asked in windows.items():
        crop = np.ascontiguousarray(picture[top:bottom, left:right])
        asked = list(dict.fromkeys(asked))
        found = predictor.predict(crop, [words[at] for at in asked])
        for at, mask in zip(asked, found.masks, strict=True):
            masks[at, top:bottom, left:right] |= mask
    return Prediction(masks)


def boxes_as_masks(picture: NDArray[np.uint8], words: Sequence[str], regions: Mapping[str, Boxes]) -> Prediction:
    """Masks that are the words' boxes, filled."""
    height, width = picture.shape[:2]
    masks = np.zeros((len(words), height, width), np.bool_)
    for at, word in enumerate(words):
        for row in regions[word]:
            box = crop_box(row, (width, height), 0.0, outward=False)
            if box is not None:
                masks[at, box[1] : box[3], box[0] : box[2]] = True
    return Prediction(masks)


def crop_box(
    box: NDArray[np.float32], size: tuple[int, int], margin: float, *, outward: bool = True
) -> tuple[int, int, int, int] | None:
    """A box in whole pixels with its margin, cut at the picture's edges; None when nothing is left.

    Args:
        box: (4,) xyxy.
        size: (width, height) of the picture.
        margin: share of the box's width and height that is added on every side.
        outward: take every pixel that the box touches; else the box is rounded.
    """
    left, top, right, bottom = (float(value) for value in box)
    if not all(math.isfinite(value) for value in (left, top, right, bottom)) or right <= left or bottom <= top:
        return None
    # A box that lies outside has no region, even where its margin would reach in.
    if right <= 0 or bottom <= 0 or left >= size[0] or top >= size[1]:
        return None
    extra_x, extra_y = margin * (right - left), margin * (bottom - top)
    low, high = (math.floor, math.ceil) if outward else (round, round)
    whole = (
        max(0, low(left - extra_x)),
        max(0, low(top - extra_y)),
        min(size[0], high(right + extra_x)),
        min(size[1], high(bottom + extra_y)),
    )
    return whole if whole[2] > whole[0] and whole[3] > whole[1] else None


def _entry(entry: Any, number: int, path: Path) -> tuple[str, str, list[float]]:
    """(image, class, xyxy) of one entry of a file of regions."""
    try:
        image, word, box = str(entry["image"]), str(entry["class"]), [float(value) for value in entry["bbox"]]
        if len(box) != 4 or not all(math.isfinite(value) for value in box):
            raise ValueError("bbox must be four finite numbers x, y, width, height")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}, entry {number}: {error}. An entry is "
            '{"image": name, "class": word, "bbox": [x, y, width, height]}, in pixels.'
        ) from error
    return image, word, [box[0], box[1], box[0] + box[2], box[1] + box[3]]
