"""One mask of one class in a part of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clsclip_runtime._types import Bools
from clsclip_runtime.masks.rle import RleMask


@dataclass(frozen=True, eq=False, repr=False)
class Instance:
    """One mask of one class: in a region, or in the whole image.

    Attributes:
        name: the class asked.
        index: its position in ``Result.classes``.
        box: xyxy in pixels as the detector or the person gave it, cut at the image's edges; of the whole image its
            edges; of a connected part (``Result.parts``) that of its pixels. See ``mask_box``.
        window: xyxy in whole pixels, the crop that was segmented.
        region_name: what the source of the box calls its class; None for boxes that may be anything and the whole
            image.
        score: 0..1, to rank instances by: the box's own score, times the presence of the class in the crop where the
            box may be anything; of the whole image the presence (1 where it was not asked).
        presence: 0..1, how likely the crop shows the class; None where it was not asked.
        whole_image: there was no region of this class, or none was asked for.
        track_id: of videos with ``--track``: the same for one thing in all frames, from 1; else None.
    """

    name: str
    index: int
    box: tuple[float, float, float, float]
    window: tuple[int, int, int, int]
    region_name: str | None
    score: float
    presence: float | None
    whole_image: bool
    _rle: Callable[[], RleMask]
    track_id: int | None = None

    @property
    def mask_box(self) -> tuple[int, int, int, int] | None:
        """xyxy in whole pixels around the mask, as COCO and supervision have it; None for an empty one."""
        mask = self.rle()
        if not mask.area:
            return None
        left, top, width, height = mask.box
        return left, top, left + width, top + height

    @property
    def crop_mask(self) -> Bools:
        """Mask (height, width) bool inside ``window``."""
        left, top, right, bottom = self.window
        return self.rle().placed(-left, -top, (right - left, bottom - top)).mask()

    @property
    def mask(self) -> Bools:
        """Mask (H, W) bool at the image's size."""
        return self.rle().mask()

    def rle(self) -> RleMask:
        """Return the mask at the image's size as runs of pixels, which take little memory."""
        return self._rle()

    def to_json(self) -> dict[str, Any]:
        """Return all but the mask, as plain JSON types; box xywh in pixels."""
        left, top, right, bottom = self.box
        document = {
            "class": self.name,
            "box": [round(value, 2) for value in (left, top, right - left, bottom - top)],
            "window": list(self.window),
            "region_name": self.region_name,
            "score": round(self.score, 6),
            "presence": None if self.presence is None else round(self.presence, 6),
            "whole_image": self.whole_image,
        }
        return document if self.track_id is None else document | {"track_id": self.track_id}

    def __repr__(self) -> str:
        """Short: no arrays."""
        box = ", ".join(f"{value:.1f}" for value in self.box)
        return f"Instance({self.name!r}, box=({box}), score={self.score:.3f})"
