"""What a video knows of itself from frame to frame: steady masks, and ids that last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsclip_runtime.video.frames import Frame
from clsclip_runtime.video.motion import Motion
from clsclip_runtime.video.smoothing import Smoother
from clsclip_runtime.video.tracking import Tracker

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result


class Follower:
    """Changes the results of one video's frames, in their order; what ``Pipeline`` takes as ``change``.

    follower = Follower(smooth=True, track=True, presence_threshold=0.5)
    low = follower.asked_threshold
    segment = lambda images: segmenter.batch(images, ["dog"], presence_threshold=low)
    Pipeline(open_video("clip.mp4"), segment, sinks, change=follower).run()
    """

    def __init__(self, *, smooth: bool = False, track: bool = False, presence_threshold: float | None = None) -> None:
        """Begin a video.

        Args:
            smooth: hold classes that flicker, and average masks along the motion; of results of whole images alone.
            track: give connected parts ids that last.
            presence_threshold: what a class must reach to be found; None without a presence filter.
        """
        self._smoother = Smoother(presence_threshold) if smooth else None
        self._tracker = Tracker() if track else None
        self._threshold, self._motion = presence_threshold, Motion()

    @property
    def asked_threshold(self) -> float | None:
        """The presence threshold to call the segmenter with: lower with ``smooth``, since what is held needs masks."""
        if self._smoother is None or self._threshold is None:
            return self._threshold
        return Smoother.held_threshold(self._threshold)

    def __call__(self, frame: Frame, result: Result) -> Result:
        """The result of a frame, changed."""
        motion = self._motion(frame.image)
        if self._smoother is not None:
            result = self._smoother(frame, result, motion)
        return result if self._tracker is None else self._tracker(frame, result, motion)
