"""The crops of one image, and which words are asked of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clsclip_runtime._types import Bools, Integers
from clsclip_runtime.inference.request import Findings, ImageRequest
from clsclip_runtime.regions import Proposals, ZoomIn, box_windows, crop_windows, mask_limits
from clsclip_runtime.regions.matching import words_of_boxes
from clsclip_runtime.regions.proposals import ANY
from clsclip_runtime.results.pairs import WHOLE, Pairs


@dataclass(frozen=True, eq=False)
class Crops:
    """What of one image is asked for which words.

    Attributes:
        windows: (C, 4) int64 xyxy in whole pixels.
        limits: (C, 4) int64, the part of each window in which masks may be.
        boxes: (C,) int64, positions in the regions; -1 for the whole image.
        asked: (C, q) bool, of the image's own words.
        named: (C,) bool: the source of the box says what it shows, so presence is not asked.
        tiled: (C,) bool: a part of the image that nobody chose, where presence must be higher.
    """

    windows: Integers
    limits: Integers
    boxes: Integers
    asked: Bools
    named: Bools
    tiled: Bools

    def __len__(self) -> int:
        """Number of crops."""
        return len(self.windows)


def whole_crop(size: tuple[int, int], asked: Bools) -> Crops:
    """The whole image, ``asked`` (k,) bool of its words; no crop where none is."""
    count = int(asked.any())
    windows = np.array([[0, 0, *size]] * count, np.int64).reshape(count, 4)
    return Crops(
        windows=windows,
        limits=windows,
        boxes=np.full(count, WHOLE, np.int64),
        asked=np.tile(asked, (count, 1)),
        named=np.zeros(count, np.bool_),
        tiled=np.zeros(count, np.bool_),
    )


def tile_crops(windows: Integers, words: int) -> Crops:
    """Tiles (T, 4) of the image, of each of which all its ``words`` are asked."""
    count = len(windows)
    return Crops(
        windows=windows,
        limits=windows,
        boxes=np.full(count, WHOLE, np.int64),
        asked=np.ones((count, words), np.bool_),
        named=np.zeros(count, np.bool_),
        tiled=np.ones(count, np.bool_),
    )


def region_crops(regions: Proposals, asked: Bools, size: tuple[int, int], zoom: ZoomIn) -> Crops:
    """The windows of all boxes of which a word is asked.

    Args:
        regions: the boxes.
        asked: (N, k) bool, which words are asked of which box.
        size: (width, height) of the image.
        zoom: margins and smallest size of crops.
    """
    windows, boxes = crop_windows(regions.boxes, size, zoom)
    wanted = asked[boxes].any(axis=1)
    windows, boxes = windows[wanted], boxes[wanted]
    named = regions.classes[boxes] != ANY
    limits = windows
    if zoom.mask_margin is not None:
        inside = mask_limits(regions.boxes[boxes], windows, size, zoom.mask_margin)
        limits = np.where(named[:, None], inside, windows)
    return Crops(windows, limits, boxes, asked[boxes], named, np.zeros_like(named))


def boxes_as_masks(request: ImageRequest, mask_logit: float) -> Findings:
    """Every box that a word is asked of as a mask of that word, nothing drawn: logits (P, 1, 1) above ``mask_logit``.

    Raises:
        ValueError: the request has no regions.
    """
    if request.regions is None:
        raise ValueError("boxes as masks need regions")
    windows, boxes = box_windows(request.regions.boxes, request.size)
    rows, words = np.nonzero(words_of_boxes(request.regions, request.matches)[boxes])
    count = int(request.classes[-1]) + 1
    found = np.isin(np.arange(count), request.classes[words])
    pairs = Pairs(
        classes=request.classes[words],
        prompts=words,
        windows=windows[rows],
        limits=windows[rows],
        boxes=boxes[rows],
        mask_logits=np.full(len(rows), mask_logit),
        presence=np.full(len(rows), np.nan, np.float32),
        logits=np.full((len(rows), 1, 1), mask_logit + 1, np.float32),
    )
    nothing = np.zeros(count, np.bool_)
    return Findings(pairs, np.full(count, np.nan, np.float32), found, nothing, found, nothing, nothing)
