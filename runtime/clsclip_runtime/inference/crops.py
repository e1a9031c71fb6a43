"""The crops of one picture, and which words are asked of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clsclip_runtime._types import Bools, Integers
from clsclip_runtime.inference.request import Look
from clsclip_runtime.regions import Proposals, ZoomIn, box_windows, crop_windows, mask_limits
from clsclip_runtime.regions.matching import words_of_boxes
from clsclip_runtime.regions.proposals import ANY
from clsclip_runtime.results.pairs import WHOLE, Pairs


@dataclass(frozen=True, eq=False)
class Crops:
    """What of one picture is asked for which words.

    Attributes:
        windows: (C, 4) int64 xyxy in whole pixels.
        limits: (C, 4) int64, the part of each window in which masks may be.
        boxes: (C,) int64, positions in the proposals; -1 for the whole picture.
        asked: (C, K) bool.
        named: (C,) bool: the source of the box says what it shows, so presence is not asked.
    """

    windows: Integers
    limits: Integers
    boxes: Integers
    asked: Bools
    named: Bools

    def __len__(self) -> int:
        """Number of crops."""
        return len(self.windows)


def whole_crop(size: tuple[int, int], asked: Bools) -> Crops:
    """The whole picture, ``asked`` (K,) bool of its words; no crop where none is."""
    count = int(asked.any())
    windows = np.array([[0, 0, *size]] * count, np.int64).reshape(count, 4)
    return Crops(
        windows=windows,
        limits=windows,
        boxes=np.full(count, WHOLE, np.int64),
        asked=np.tile(asked, (count, 1)),
        named=np.zeros(count, np.bool_),
    )


def region_crops(proposals: Proposals, asked: Bools, size: tuple[int, int], zoom: ZoomIn) -> Crops:
    """The windows of all boxes of which a word is asked.

    Args:
        proposals: the boxes.
        asked: (N, K) bool, which words are asked of which box.
        size: (width, height) of the picture.
        zoom: margin, smallest side and spill.
    """
    windows, boxes = crop_windows(proposals.boxes, size, zoom)
    wanted = asked[boxes].any(axis=1)
    windows, boxes = windows[wanted], boxes[wanted]
    named = proposals.classes[boxes] != ANY
    limits = windows
    if zoom.spill is not None:
        limits = np.where(named[:, None], mask_limits(proposals.boxes[boxes], windows, size, zoom.spill), windows)
    return Crops(windows, limits, boxes, asked[boxes], named)


def boxes_as_pairs(look: Look, cut: float) -> Pairs:
    """Every box that a word is asked of as a mask of that word, nothing drawn: logits (P, 1, 1) above ``cut``."""
    if look.proposals is None:
        raise ValueError("boxes alone need proposals")
    windows, boxes = box_windows(look.proposals.boxes, look.size)
    rows, words = np.nonzero(words_of_boxes(look.proposals, look.matches)[boxes])
    look.begin(len(look.matches))
    look.segmented = look.in_regions = np.isin(np.arange(len(look.matches)), words)
    return Pairs(
        words=words,
        windows=windows[rows],
        limits=windows[rows],
        boxes=boxes[rows],
        cuts=np.full(len(rows), cut),
        presence=np.full(len(rows), np.nan, np.float32),
        logits=np.full((len(rows), 1, 1), cut + 1, np.float32),
    )
