"""A frame, and what gives frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        index: position in the source, counted from 0; frames that were passed over count.
        seconds: time stamp since the first frame.
        notes: for the user, of this frame alone.
    """

    image: npt.NDArray[np.uint8]
    index: int
    seconds: float
    notes: tuple[str, ...] = ()


class FrameSource(Protocol):
    """What gives frames: a video file, a camera, a stream, or standard input.

    Attributes:
        name: what to call it in messages and results; passwords of addresses are left out.
        fps: frames per second, None if it does not tell.
        size: (width, height) in pixels, None before the first frame if it does not tell.
        count: number of frames, None if it does not tell. Some containers only estimate it.
        live: frames come by themselves, whether or not anybody is ready for them.
        notes: for the user: what was left out, assumed or changed so far.
    """

    @property
    def name(self) -> str: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def size(self) -> tuple[int, int] | None: ...
    @property
    def count(self) -> int | None: ...
    @property
    def live(self) -> bool: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Return the frames in order, once; only those whose index ``every`` divides.

        Raises:
            VideoError: there is none, or it ends too early; the frames before that have been given.
        """
        ...

    def close(self) -> None:
        """Free what it holds; harmless when repeated."""
        ...
