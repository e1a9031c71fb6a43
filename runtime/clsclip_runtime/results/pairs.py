"""Pairs of a crop and a word that were segmented."""

from __future__ import annotations

from dataclasses import dataclass

from clsclip_runtime._types import Doubles, Floats, Integers

WHOLE = -1
"""The box of a pair that looks at the whole image."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The P pairs of one image that were segmented.

    Attributes:
        classes: (P,) int64, positions in the classes asked.
        prompts: (P,) int64, positions in the prompts of all classes, one class after the other.
        windows: (P, 4) int64 xyxy in whole pixels of the image: the crop of each pair.
        limits: (P, 4) int64, the part of each window in which the mask may be.
        boxes: (P,) int64, positions in the image's regions; -1 for the whole image.
        mask_logits: (P,) float64, the logit that a pixel must exceed to belong to the word.
        presence: (P,) float32, how likely the crop shows the word; NaN where presence was not asked.
        logits: (P, h, w) float32, each stretched over its window.
    """

    classes: Integers
    prompts: Integers
    windows: Integers
    limits: Integers
    boxes: Integers
    mask_logits: Doubles
    presence: Floats
    logits: Floats

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.classes)
