"""Video files, cameras and network streams, through OpenCV.

Rotation that the file's metadata ask for is applied (OpenCV does so by itself).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from clsclip_runtime.errors import VideoError
from clsclip_runtime.paths import readable
from clsclip_runtime.video.frames import Frame
from clsclip_runtime.video.opencv import import_cv2

TIMEOUT_S = 10.0
"""How long a stream may take to open, and to give its next frame."""

_MOST_FPS = 480.0
_MOST_FRAMES = 10**9

# Containers without an index only estimate their number of frames, from duration and mean rate; and where the rate
# varies, the duration is right and the number is not. So a video is only called cut off where both say so.
_MISSING_FRAMES = 2
_MISSING_SHARE = 0.02
_MISSING_TIME = 0.1


def open_video(path: str | os.PathLike[str]) -> Capture:
    """Open a video file.

    Raises:
        VideoError: there is no such file, it is no video, it has no frames, or OpenCV is not installed.
    """
    name = readable(path)
    try:
        size = Path(path).stat().st_size
        if not Path(path).is_file():
            raise VideoError(f"{name} is not a file. Give a video file")
    except OSError as error:
        raise VideoError(f"cannot read {name}: {error.strerror or error}") from error
    if not size:
        raise VideoError(f"{name} is empty (0 bytes)")
    cv2 = import_cv2()
    try:
        # An absolute path is never taken for an address or a numbered sequence of pictures.
        capture = cv2.VideoCapture(os.fspath(Path(path).absolute()), cv2.CAP_FFMPEG)
    except UnicodeError as error:
        raise VideoError(f"{name}: OpenCV cannot open a file whose name is not UTF-8. Rename it") from error
    if not capture.isOpened():
        raise VideoError(
            f"{name} is not a video that can be read: it is damaged, cut off, without frames, or of an unknown format. "
            "Get the file again, or convert it: ffmpeg -i IN -c:v libx264 out.mp4"
        )
    return Capture(capture, name)


def open_camera(number: int) -> Capture:
    """Open camera ``number``, counted from 0.

    Raises:
        VideoError: there is no such camera, it is in use, or OpenCV is not installed.
    """
    cv2 = import_cv2()
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise VideoError(
            f"cannot open camera {number}: there is none, another program uses it, or you may not "
            f"(on Linux: is /dev/video{number} there, and are you in the group video?)"
        )
    return Capture(capture, f"camera {number}", live=True, wall_clock=True)


def open_stream(address: str, *, timeout_s: float = TIMEOUT_S) -> Capture:
    """Open a network stream: ``rtsp://``, ``http://``, ``https://`` or another that FFmpeg knows.

    Args:
        address: where from.
        timeout_s: seconds that it may take to open, and to give its next frame.

    Raises:
        VideoError: it cannot be reached in time, is no video, or OpenCV is not installed.
    """
    name = public_address(address)
    cv2 = import_cv2()
    milliseconds = max(1, round(timeout_s * 1000))
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
    start = time.monotonic()
    try:
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
    except UnicodeError as error:
        raise VideoError(f"{name} is not an address. Give one such as rtsp://host:554/path") from error
    if not capture.isOpened():
        late = time.monotonic() - start >= 0.9 * timeout_s
        why = f"no answer in {timeout_s:g} s" if late else "it was refused, or what it gives is no video"
        raise VideoError(f"cannot open the stream {name}: {why}. Check the address, and that the sender runs")
    return Capture(capture, name, live=True, timeout_s=timeout_s)


def public_address(address: str) -> str:
    """An address without its password, for messages and results."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        user = parts.username
    except ValueError:
        return readable(address)
    if user is None:
        return readable(address)
    return readable(urlunsplit(parts._replace(netloc=f"{user}{':***' if parts.password else ''}@{host}")))


class Capture:
    """Frames of an opened ``cv2.VideoCapture``; see ``FrameSource``."""

    def __init__(
        self,
        capture: Any,
        name: str,
        *,
        live: bool = False,
        wall_clock: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        """Take over an opened capture.

        Args:
            capture: the ``cv2.VideoCapture``.
            name: what to call it.
            live: frames come by themselves, and how many is not known.
            wall_clock: time stamps are of this machine's clock, not of the source.
            timeout_s: how long one frame may take; None if that is not bounded.
        """
        self._cv2 = import_cv2()
        self._capture = capture
        self._wall_clock = wall_clock
        self._timeout_s = timeout_s
        self.name = name
        self.live = live
        width, height, fps, count = (
            float(capture.get(key))
            for key in (
                self._cv2.CAP_PROP_FRAME_WIDTH,
                self._cv2.CAP_PROP_FRAME_HEIGHT,
                self._cv2.CAP_PROP_FPS,
                self._cv2.CAP_PROP_FRAME_COUNT,
            )
        )
        # Sources that do not know report 0, -1 or nonsense such as 1000 or 90000 frames a second.
        self.fps = fps if 0 < fps <= _MOST_FPS else None
        self.size = (int(width), int(height)) if width >= 1 and height >= 1 else None
        self.count = int(count) if self.fps and not live and 1 <= count <= _MOST_FRAMES else None

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """See ``FrameSource.frames``."""
        index, start, last = 0, 0.0, 0.0
        while self._grab():
            if index == 0:
                start = time.monotonic()
            last = max(last, self._seconds(index, start))  # time stamps of some files go back
            if index % every == 0:
                read, image = self._capture.retrieve()
                if not read or image is None:
                    raise VideoError(f"frame {index} of {self.name} cannot be decoded. Get the file or stream again")
                rgb = np.asarray(self._cv2.cvtColor(image, self._cv2.COLOR_BGR2RGB))
                yield Frame(rgb, index, last)
            index += 1
        self._check_end(index, last)

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._capture.release()

    def _grab(self) -> bool:
        start = time.monotonic()
        if self._capture.grab():
            return True
        if self._timeout_s is not None and time.monotonic() - start >= 0.9 * self._timeout_s:
            raise VideoError(f"{self.name} gave no frame for {self._timeout_s:g} s. Check that the sender still runs")
        return False

    def _seconds(self, index: int, start: float) -> float:
        if self._wall_clock:
            return time.monotonic() - start
        seconds = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000
        if math.isfinite(seconds) and (seconds > 0 or index == 0):
            return max(0.0, seconds)
        return index / self.fps if self.fps else 0.0

    def _check_end(self, read: int, seconds: float) -> None:
        """OpenCV ends a damaged video as quietly as a whole one; only the number of frames tells."""
        if not read:
            raise VideoError(f"{self.name} has no frames. Check what was recorded")
        if self.count is None or self.fps is None:
            return
        missing = self.count - read
        short = seconds + 1 / self.fps < (1 - _MISSING_TIME) * self.count / self.fps
        if short and missing > _MISSING_FRAMES and missing > self.count * _MISSING_SHARE:
            raise VideoError(
                f"{self.name} ends after {read} of {self.count} frames: it is damaged or cut off. The frames before "
                "that were segmented. Get the file again"
            )
