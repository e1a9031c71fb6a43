"""One mask of one word in a part of a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clsclip_runtime._types import Bools
from clsclip_runtime.masks.rle import Runs


@dataclass(frozen=True, eq=False, repr=False)
class Region:
    """One mask of one word: in a region, or in the whole picture.

    Attributes:
        word: the word asked.
        index: its position in ``Result.classes``.
        box: xyxy in pixels as the detector or the person gave it, cut at the picture's edges.
        window: xyxy in whole pixels, the crop that was looked at.
        name: what the source of the box calls its class; None for boxes that may be anything and the whole picture.
        score: 0..1, to rank instances by: the box's own score, times the presence of the word in the crop where the
            box may be anything; of the whole picture the presence (1 without a gate).
        presence: 0..1, how likely the crop shows the word; None without a gate.
        whole_image: there was no region of this word, or none was asked for.
    """

    word: str
    index: int
    box: tuple[float, float, float, float]
    window: tuple[int, int, int, int]
    name: str | None
    score: float
    presence: float | None
    whole_image: bool
    _runs: Callable[[], Runs]

    @property
    def crop_mask(self) -> Bools:
        """Mask (height, width) bool inside ``window``."""
        left, top, right, bottom = self.window
        return self.runs().placed(-left, -top, (right - left, bottom - top)).mask()

    @property
    def mask(self) -> Bools:
        """Mask (H, W) bool at the picture's size."""
        return self.runs().mask()

    def runs(self) -> Runs:
        """The mask at the picture's size as runs of pixels, which take little memory."""
        return self._runs()

    def to_json(self) -> dict[str, Any]:
        """All but the mask, as plain JSON types; box xywh in pixels."""
        left, top, right, bottom = self.box
        return {
            "word": self.word,
            "box": [round(value, 2) for value in (left, top, right - left, bottom - top)],
            "window": list(self.window),
            "name": self.name,
            "score": round(self.score, 6),
            "presence": None if self.presence is None else round(self.presence, 6),
        }

    def __repr__(self) -> str:
        """Short: no arrays."""
        box = ", ".join(f"{value:.1f}" for value in self.box)
        return f"Region({self.word!r}, box=({box}), score={self.score:.3f})"
