"""What a call asks of one picture, and what was found so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from clsclip_runtime._types import Bools, Floats, Integers
from clsclip_runtime.arrays import Arrays
from clsclip_runtime.images import Picture
from clsclip_runtime.regions import Proposals
from clsclip_runtime.text.matching import WordMatch

if TYPE_CHECKING:
    from clsclip_runtime.inference.crops import Crops


@dataclass(eq=False)
class Part:
    """Pairs of one crop that went to the trunk: (Q,) rows of ``crops``, words, presence; where their logits begin."""

    look: Look
    crops: Crops
    rows: Integers
    words: Integers
    presence: Floats
    begin: int = 0


@dataclass(eq=False)
class Look:
    """One picture of a call, and what was found in it so far.

    Attributes:
        picture: the picture.
        arrays: the image encoder's outputs for the whole picture, where they are there already.
        proposals: boxes to look at; None looks at the whole picture.
        matches: of every word with the proposals' classes.
        presence: (K,) float32, highest presence in any crop looked at; NaN where none was.
        segmented: (K,) bool, words with at least one pair.
        outranked: (K,) bool, words that only the gate's ``top_k`` kept out of a crop.
        in_regions: (K,) bool, words that were asked of a region.
        in_whole: (K,) bool, words that were asked of the whole picture.
    """

    picture: Picture
    arrays: Arrays | None = None
    proposals: Proposals | None = None
    matches: tuple[WordMatch, ...] = ()
    presence: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    segmented: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    outranked: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    in_regions: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    in_whole: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))

    def begin(self, words: int) -> None:
        """Nothing has been looked for yet, of so many words."""
        self.presence = np.full(words, np.nan, np.float32)
        self.segmented, self.outranked, self.in_regions, self.in_whole = np.zeros((4, words), np.bool_)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in pixels."""
        width, height = self.picture.image.size
        return width, height

    @property
    def places(self) -> tuple[str, ...]:
        """For every word, where it was looked for; see ``Result.looked_at``."""
        names = ("nowhere", "whole image", "regions", "regions, whole image")
        return tuple(names[at] for at in (2 * self.in_regions + self.in_whole))
