"""ClsCLIP+: segment every region of the asked class, and join the masks (eq. 9 of the paper).

Where regions come from: a detector, a file of boxes drawn by hand, or the true masks (the best that any detector
could do). Boxes alone as masks are the paper's Table 6. Which boxes a word means (by spelling, number and synonyms; the
runtime also knows the nearest text feature), and how they are cropped, is the runtime's; here crops go to any
predictor one by one, so that checkpoints and bundles are measured alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from clsclip.data.base import IGNORE
from clsclip.errors import DataError
from clsclip.evaluation.predictors import Prediction, Predictor
from clsclip_runtime.detectors import Detector
from clsclip_runtime.errors import RegionError
from clsclip_runtime.inference.crops import region_crops, whole_crop
from clsclip_runtime.regions import Proposals, RegionFile, ZoomIn, box_windows
from clsclip_runtime.regions.matching import words_of_boxes
from clsclip_runtime.text.matching import match_words

Boxes = NDArray[np.float32]

MIN_PIXELS = 16
"""Smaller parts of a true mask are specks, not regions."""


class RegionSource(Protocol):
    """Finds regions in a picture. ``name`` is for tables."""

    @property
    def name(self) -> str: ...

    def find(self, key: str, image: NDArray[np.uint8], truths: Mapping[str, NDArray[np.uint8]]) -> Proposals:
        """Find regions of a picture.

        Args:
            key: the picture's name in its data set.
            image: (H, W, 3) uint8, at its own size.
            truths: the masks (H, W) uint8 of the words asked that are present.
        """
        ...


class DetectorRegions:
    """Regions that a detector finds."""

    def __init__(self, detector: Detector, name: str = "detector") -> None:
        self.detector, self.name = detector, name

    def find(self, key: str, image: NDArray[np.uint8], truths: Mapping[str, NDArray[np.uint8]]) -> Proposals:
        return self.detector.batch([image])[0]


class FileRegions:
    """Boxes of a JSON file; see :class:`clsclip_runtime.regions.RegionFile` for its layouts.

    Raises:
        DataError: it is absent, no JSON, or an entry is wrong; the message says which.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"boxes of {path.name}"
        try:
            self._file = RegionFile(path)
        except RegionError as error:
            raise DataError(str(error)) from error

    def find(self, key: str, image: NDArray[np.uint8], truths: Mapping[str, NDArray[np.uint8]]) -> Proposals:
        return self._file.of(key)


class TruthRegions:
    """The boxes of the connected parts of the true masks: regions of a detector that is never wrong.

    Args:
        named: say which word each box is of; else every word is asked of it.
    """

    def __init__(self, *, named: bool = True) -> None:
        self.named = named
        self.name = "true regions" if named else "true boxes without names"

    def find(self, key: str, image: NDArray[np.uint8], truths: Mapping[str, NDArray[np.uint8]]) -> Proposals:
        found = {word: boxes_of(truth) for word, truth in truths.items()}
        names = [word if self.named else None for word, boxes in found.items() for _ in boxes]
        boxes = np.concatenate([np.zeros((0, 4), np.float32), *found.values()])
        return Proposals.from_boxes(boxes, names, source=self.name)


def boxes_of(truth: NDArray[np.uint8]) -> Boxes:
    """Boxes (N, 4) xyxy of the connected parts of a mask (H, W) uint8, specks left out unless there is nothing else."""
    own = (truth != 0) & (truth != IGNORE)
    parts = regionprops(label(own, connectivity=2))
    large = [part for part in parts if part.area >= MIN_PIXELS] or parts
    boxes = [(part.bbox[1], part.bbox[0], part.bbox[3], part.bbox[2]) for part in large]
    return np.array(boxes, np.float32).reshape(-1, 4)


def zoom_in(
    predictor: Predictor, image: NDArray[np.uint8], words: Sequence[str], proposals: Proposals, zoom: ZoomIn
) -> Prediction:
    """Masks of the words, each joined from the masks in its regions, one crop at a time.

    Args:
        predictor: draws the mask in a crop.
        image: (H, W, 3) uint8.
        words: K words.
        proposals: the boxes.
        zoom: how they are cropped, and what words without one get.
    """
    height, width = image.shape[:2]
    masks = np.zeros((len(words), height, width), np.bool_)
    looked = np.zeros(len(words), np.bool_)
    if zoom.class_agnostic:
        proposals = proposals.anonymous()
    asked = words_of_boxes(proposals, match_words(words, proposals.names, class_agnostic=False))
    crops = region_crops(proposals, asked, (width, height), zoom)
    for window, limit, own, named in zip(crops.windows, crops.limits, crops.asked, crops.named, strict=True):
        left, top, right, bottom = (int(value) for value in window)
        x0, y0, x1, y1 = (int(value) for value in limit)
        own_words: list[int] = np.flatnonzero(own).tolist()
        crop = np.ascontiguousarray(image[top:bottom, left:right])
        found = predictor.predict(crop, [words[at] for at in own_words], zoom.mask_threshold if named else None)
        masks[own_words, y0:y1, x0:x1] |= found.masks[:, y0 - top : y1 - top, x0 - left : x1 - left]
        looked[own_words] |= found.present
    rest = whole_crop((width, height), ~looked)
    if len(rest) and zoom.fallback == "whole-image":
        own_words = np.flatnonzero(rest.asked[0]).tolist()
        masks[own_words] |= predictor.predict(image, [words[at] for at in own_words]).masks
    return Prediction(masks)


def boxes_as_masks(image: NDArray[np.uint8], words: Sequence[str], proposals: Proposals) -> Prediction:
    """Masks that are the words' boxes, filled."""
    height, width = image.shape[:2]
    masks = np.zeros((len(words), height, width), np.bool_)
    windows, boxes = box_windows(proposals.boxes, (width, height))
    asked = words_of_boxes(proposals, match_words(words, proposals.names, class_agnostic=False))[boxes]
    for (left, top, right, bottom), own in zip(windows, asked, strict=True):
        masks[own, top:bottom, left:right] = True
    return Prediction(masks)
