"""Ids that last: which connected part of a frame is which of the frame before, by their overlap along the motion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clsclip_runtime._types import Doubles, Floats
from clsclip_runtime.video.frames import Frame
from clsclip_runtime.video.motion import carried

if TYPE_CHECKING:
    from clsclip_runtime.results.instance import Instance
    from clsclip_runtime.results.result import Result

LEAST_OVERLAP = 0.2
"""Of two masks, their common part as a share of both together, for them to be one thing."""

KEPT_S = 1.0
"""How long a thing that is not seen keeps its id."""

_LONGEST = 160
"""Pixels of the longer side at which masks are compared."""


@dataclass
class _Track:
    number: int
    index: int
    """Of its class."""
    cover: Floats
    """How much of each place it covers, 0 to 1."""
    seconds: float
    """When it was last seen."""
    moved: Floats | None = None
    """The same by its own motion."""

    def overlap(self, cover: Floats) -> float:
        """With a part, the larger one of both."""
        return max(_overlap(cover, one) for one in (self.cover, self.moved) if one is not None)


class Tracker:
    """Takes the results of one video's frames in their order, and gives their parts ids."""

    def __init__(self) -> None:
        """Begin a video."""
        self._tracks: list[_Track] = []
        self._count = 0

    def __call__(self, frame: Frame, result: Result, motion: Doubles | None) -> Result:
        """A result whose objects are its connected parts, each with a ``track_id``.

        Args:
            frame: the frame.
            result: of it.
            motion: of its picture since the one before, as ``Motion`` gives it; without one, things stay where they
                were.
        """
        parts = result.parts
        covers = [_cover(one, result.size) for one in parts]
        size = covers[0].shape if covers else None
        self._tracks = [
            one
            for one in self._tracks
            if 0 <= frame.seconds - one.seconds <= KEPT_S and (size is None or one.cover.shape == size)
        ]
        if motion is not None:
            # Where a thing vanishes its own motion is unknown: it is looked for where the picture as a whole went.
            whole = np.median(motion, axis=(1, 2))[:, None, None]
            for one in self._tracks:
                one.moved, one.cover = carried(one.cover, motion), carried(one.cover, whole)
        numbers = self._matched(parts, covers)
        for at, (part, cover) in enumerate(zip(parts, covers, strict=True)):
            known = numbers.get(at)
            if known is None:
                self._count += 1
                known = _Track(self._count, part.index, cover, frame.seconds)
                self._tracks.append(known)
            known.cover, known.seconds, known.moved = cover, frame.seconds, None
            numbers[at] = known
        return replace(
            result, tracked=tuple(replace(part, track_id=numbers[at].number) for at, part in enumerate(parts))
        )

    def _matched(self, parts: tuple[Instance, ...], covers: list[Floats]) -> dict[int, _Track]:
        """For parts their tracks, the pair of the largest overlap first."""
        pairs = [
            (track.overlap(cover), at, number)
            for at, (part, cover) in enumerate(zip(parts, covers, strict=True))
            for number, track in enumerate(self._tracks)
            if track.index == part.index
        ]
        found: dict[int, _Track] = {}
        taken: set[int] = set()
        for overlap, at, number in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if overlap >= LEAST_OVERLAP and at not in found and number not in taken:
                found[at] = self._tracks[number]
                taken.add(number)
        return found


def _cover(part: Instance, size: tuple[int, int]) -> Floats:
    scale = min(1.0, _LONGEST / max(size))
    small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    mask = Image.fromarray(part.mask.astype(np.uint8) * 255)
    cover: Floats = np.asarray(mask.resize(small, Image.Resampling.BOX), np.float32) / np.float32(255)
    return cover


def _overlap(one: Floats, other: Floats) -> float:
    together = float(np.maximum(one, other).sum())
    return float(np.minimum(one, other).sum()) / together if together else 0.0
