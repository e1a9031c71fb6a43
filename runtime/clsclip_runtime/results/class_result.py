"""What was found of one class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clsclip_runtime._types import Bools
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.text.matching import WordMatch

FOUND, EMPTY, FILTERED, ABSENT = "found", "empty", "filtered", "absent"
"""Values of ``ClassResult.status``."""


@dataclass(frozen=True)
class ClassSearch:
    """How one class was searched, before its mask is made.

    Attributes:
        presence: 0..1, the highest in any crop that was searched; None where it was not asked.
        segmented: it went through the trunk, or through boxes that are masks.
        outnumbered: only ``max_classes`` kept it out.
        searched: ``regions``, ``whole-image``, both or neither.
        match: which of the regions' classes it means and why; None for whole images.
    """

    presence: float | None
    segmented: bool
    outnumbered: bool
    searched: tuple[str, ...]
    match: WordMatch | None = None


@dataclass(frozen=True, eq=False, repr=False)
class ClassResult:
    """What was found of one class.

    Attributes:
        name: the class asked.
        index: its position in ``Result.classes``.
        status: ``found``; ``empty``, segmented without a pixel; ``filtered``, only ``max_classes`` kept it out;
            ``absent``, its presence is below the threshold, or it has no region.
        reason: why it was not segmented, such as ``presence below 0.55``, or why nothing is left of its mask: ``no
            part of 50 pixels, 12 in all``; else None.
        presence: 0..1, how likely the image shows it; None where it was not asked.
        area: pixels of the mask.
        area_percent: of the image, in percent.
        box: xyxy in whole pixels around the mask; None for an empty one.
        searched: ``regions``, ``whole-image``, both or neither.
        match: which of the regions' classes it means and why; None for whole images.
        prompts: the words that it was searched by: itself, or those that were given for it.
    """

    name: str
    index: int
    status: str
    reason: str | None
    presence: float | None
    area: int
    area_percent: float
    box: tuple[int, int, int, int] | None
    searched: tuple[str, ...]
    match: WordMatch | None
    prompts: tuple[str, ...]
    _rle: Callable[[], RleMask] = field(repr=False)

    @property
    def mask(self) -> Bools:
        """Mask (H, W) bool at the image's size."""
        return self.rle().mask()

    def rle(self) -> RleMask:
        """Return the mask as runs of pixels, which take little memory."""
        return self._rle()

    def to_json(self) -> dict[str, Any]:
        """Return all but the mask, as plain JSON types; box xywh in pixels or null."""
        match = self.match
        return {
            "name": self.name,
            "prompts": list(self.prompts),
            "status": self.status,
            "reason": self.reason,
            "presence": None if self.presence is None else round(self.presence, 6),
            "area": self.area,
            "area_percent": round(self.area_percent, 4),
            "box": None if self.box is None else _xywh(self.box),
            "searched": list(self.searched),
            "match": None
            if match is None
            else {"how": match.how, "names": list(match.names), "similarity": match.similarity},
        }

    def __repr__(self) -> str:
        """Short: no arrays."""
        score = "" if self.presence is None else f", presence {self.presence:.2f}"
        return f"ClassResult({self.name!r}, {self.status}, {self.area_percent:.1f} %{score})"


def _xywh(box: tuple[int, int, int, int]) -> list[int]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]
