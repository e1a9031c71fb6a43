"""Cameras and streams that hang up, connected again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from clsclip_runtime.errors import VideoError
from clsclip_runtime.video.frames import Frame, FrameSource

_LONGEST_WAIT_S = 10.0


class Reconnecting:
    """A camera or stream that is opened again when it ends; see ``FrameSource``.

    Frames are counted on, and the time goes on by this machine's clock.
    """

    live = True
    count: int | None = None

    def __init__(self, connect: Callable[[], FrameSource], times: int, *, wait_s: float = 0.5) -> None:
        """Open it for the first time.

        Args:
            connect: opens it.
            times: how often it is opened again at most, whether or not that works.
            wait_s: before the first time; twice as long before each one that follows, and at most ten seconds.

        Raises:
            VideoError: it cannot be opened.
        """
        self._connect, self._times, self._wait_s = connect, times, wait_s
        self._source = connect()
        self._closed = threading.Event()
        self._reasons: list[str] = []
        self.name, self.fps, self.size = self._source.name, self._source.fps, self._source.size

    @property
    def notes(self) -> tuple[str, ...]:
        """See ``FrameSource.notes``."""
        if not self._reasons:
            return self._source.notes
        tries, reason = len(self._reasons), self._reasons[-1]
        return (*self._source.notes, f"{self.name}: tried {tries} times to connect again; the last reason: {reason}")

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """See ``FrameSource.frames``."""
        start = time.monotonic()
        begin, behind, last = 0, 0.0, 0.0
        while True:
            index = -1
            try:
                for frame in self._source.frames(every):
                    index, last = frame.index, max(last, behind + frame.seconds)
                    yield replace(frame, index=begin + index, seconds=last)
                return  # its sender said that this is the end
            except VideoError as error:
                self._again(error)
            # The next index that ``every`` divides.
            begin += -(-(index + 1) // every) * every
            behind = time.monotonic() - start

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._closed.set()
        self._source.close()

    def _again(self, failure: VideoError) -> None:
        """Connect again. VideoError if it was closed meanwhile, or has been connected again often enough."""
        self._source.close()
        while len(self._reasons) < self._times:
            wait = min(_LONGEST_WAIT_S, self._wait_s * 2 ** len(self._reasons))
            self._reasons.append(str(failure))
            if self._closed.wait(wait):
                break
            try:
                self._source = self._connect()
                return
            except VideoError as error:
                failure = error
        raise failure
