"""Video files, cameras, network streams and videos in pipes, through PyAV.

Rotation that the file's metadata ask for is applied.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.errors import VideoError
from clsclip_runtime.paths import is_file, public_address, readable
from clsclip_runtime.video.frames import Frame
from clsclip_runtime.video.piped import STANDARD_INPUT_NAME, unbuffered
from clsclip_runtime.video.pyav import import_av, reason_of

_log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""How long a stream may take to open, and to give its next frame."""

_BUFFER = 1 << 18
_MOST_FPS = 480.0
_MOST_FRAMES = 10**9
_MOST_DAMAGED = 1000
"""Packets in a row that cannot be decoded before the source is given up."""

# Containers without an index only estimate their number of frames, from duration and mean rate; and where the rate
# varies, the duration is right and the number is not. So a video is only called cut off where both say so.
_MISSING_FRAMES = 2
_MISSING_SHARE = 0.02
_MISSING_TIME = 0.1

# A playlist that calls itself a video must not make FFmpeg open what it names.
_ALONE = {"protocol_whitelist": "none"}
_STREAM_OPTIONS = {"rtsp": {"rtsp_transport": "tcp"}, "rtsps": {"rtsp_transport": "tcp"}}
"""UDP loses packets without a word; ``options={"rtsp_transport": "udp"}`` asks for it."""


def open_video(path: str | os.PathLike[str]) -> Capture:
    """Open a video file.

    Raises:
        VideoError: there is no such file, it is no video, it has no frames, or PyAV is not installed.
    """
    name = readable(path)
    try:
        size = Path(path).stat().st_size
        if not is_file(path):
            raise VideoError(f"{name} is not a file. Give a video file")
    except OSError as error:
        raise VideoError(f"cannot read {name}: {error.strerror or error}") from error
    if not size:
        raise VideoError(f"{name} is empty (0 bytes)")
    av = import_av()
    try:
        # Opened here, so that its name is never taken for an address or a numbered sequence, and may hold any bytes.
        file = _File(path)
    except OSError as error:
        raise VideoError(f"cannot read {name}: {error.strerror or error}") from error
    try:
        return Capture(av.open(file, options=_ALONE, metadata_errors="ignore", buffer_size=_BUFFER), name, file=file)
    except (av.FFmpegError, ValueError) as error:
        file.close()
        raise VideoError(
            f"{name} is not a video that can be read: it is damaged, cut off, without frames, or of an unknown format "
            f"({reason_of(error)}). Get the file again, or convert it: ffmpeg -i IN out.mp4"
        ) from error


def open_camera(number: int) -> Capture:
    """Open camera ``number``, counted from 0.

    Raises:
        VideoError: there is no such camera, it is in use, or PyAV is not installed.
    """
    av = import_av()
    name = f"camera {number}"
    try:
        device, kind, options = _camera(av, number)
        container = av.open(device, format=kind, options=options, timeout=(TIMEOUT_S, TIMEOUT_S))
        return Capture(container, name, live=True, camera=True, timeout_s=TIMEOUT_S)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise VideoError(
            f"cannot open {name}: there is none, another program uses it, or you may not ({reason_of(error)}; "
            f"on Linux: is /dev/video{number} there, and are you in the group video?)"
        ) from error


def _camera(av: Any, number: int) -> tuple[str, str, dict[str, str]]:
    """Name the device, the format and the options of a camera on this system."""
    if sys.platform == "darwin":
        return str(number), "avfoundation", {"framerate": "30"}
    if sys.platform == "win32":
        devices = [one for one in av.enumerate_input_devices("dshow") if "video" in one.media_types]
        return f"video={devices[number].name}", "dshow", {}
    return f"/dev/video{number}", "v4l2", {}


def open_stream(address: str, *, timeout_s: float = TIMEOUT_S, options: Mapping[str, str] | None = None) -> Capture:
    """Open a network stream: ``rtsp://``, ``http://``, ``https://`` or another that FFmpeg knows.

    Args:
        address: where from.
        timeout_s: seconds that it may take to open, and to give its next frame.
        options: of FFmpeg's protocol and format, such as ``{"rtsp_transport": "udp"}``; TCP is the default of RTSP.

    Raises:
        VideoError: it cannot be reached in time, is no video, or PyAV is not installed.
    """
    name = public_address(address)
    av = import_av()
    start = time.monotonic()
    usual = _STREAM_OPTIONS.get(address.partition("://")[0].lower(), {})
    try:
        container = av.open(
            address, options=usual | dict(options or {}), timeout=(timeout_s, timeout_s), metadata_errors="ignore"
        )
        return Capture(container, name, live=True, timeout_s=timeout_s)
    except UnicodeError as error:
        raise VideoError(f"{name} is not an address. Give one such as rtsp://host:554/path") from error
    except (av.FFmpegError, ValueError) as error:
        refused = f"it was refused, or what it gives is no video ({reason_of(error)})"
        why = f"no answer in {timeout_s:g} s" if _late(av, error, start, timeout_s) else refused
        raise VideoError(
            f"cannot open the stream {name}: {why}. Check the address, and that the sender runs"
        ) from error


def open_piped_video(pipe: IO[bytes], *, name: str = STANDARD_INPUT_NAME) -> Capture:
    """Open a video that another program writes to a pipe: Matroska, MPEG-TS, NUT or another that needs no seeking.

    The pipe belongs to the caller and is not closed.

    Raises:
        VideoError: it is no such video, or PyAV is not installed.
    """
    av = import_av()
    try:
        return Capture(av.open(_Unseekable(pipe), options=_ALONE, metadata_errors="ignore"), name, live=True)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(
            f"{name} is not a video that can be read from a pipe ({reason_of(error)}). Send Matroska or MPEG-TS, such "
            "as: ffmpeg -i IN -c copy -f matroska -"
        ) from error


def _late(av: Any, error: Exception, start: float, timeout_s: float) -> bool:
    """Whether a time limit ended it: FFmpeg says so in some places, and in others that what came is no video."""
    return isinstance(error, av.ExitError) or time.monotonic() - start >= 0.9 * timeout_s


class _File:
    """All of a file that FFmpeg may use. Whoever forgets to close a source gets no warning of Python's for it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._number: int | None = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def read(self, count: int) -> bytes:
        return b"" if self._number is None else os.read(self._number, count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return -1 if self._number is None else os.lseek(self._number, offset, whence)

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def close(self) -> None:
        number, self._number = self._number, None
        if number is not None:
            os.close(number)

    def __del__(self) -> None:
        self.close()


class _Unseekable:
    """All of a pipe that FFmpeg may use."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._read = unbuffered(pipe)

    def read(self, count: int) -> bytes:
        return self._read(count) or b""


class Capture:
    """Frames of an opened ``av`` container; see ``FrameSource``."""

    def __init__(
        self,
        container: Any,
        name: str,
        *,
        file: _File | None = None,
        live: bool = False,
        camera: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        """Take over an opened container, and decode its first frame.

        Args:
            container: an ``av`` input container; closed here if it has no frames.
            name: what to call it.
            file: what the container reads, closed with it.
            live: frames come by themselves, and how many is not known.
            camera: time stamps are of this machine's clock, not of the source, and it never ends by itself.
            timeout_s: how long one frame may take; None if that is not bounded.

        Raises:
            VideoError, av.FFmpegError: it has no frames that can be decoded.
        """
        self._av = import_av()
        self._container, self._file = container, file
        self._camera, self._timeout_s = camera, timeout_s
        self._damaged: list[int] = []
        self._next = self._given = 0
        self.name, self.live = name, live
        try:
            if not container.streams.video:
                raise VideoError(f"{name} has no pictures: it is empty, or only sound. Give a video")
            self._stream = container.streams.best("video") or container.streams.video[0]
            # Decoders that work on several frames at a time give the first one late.
            self._stream.thread_type = "SLICE" if live else "AUTO"
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                raise VideoError(f"{name} has no frames. Check what was recorded")
        except BaseException:
            self.close()
            raise
        # Sources that do not know report 0 or nonsense such as 1000 or 90000 frames a second.
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.fps = rate if 0 < rate <= _MOST_FPS else None
        height, width = _upright(self._first[1]).shape[:2]
        self.size: tuple[int, int] | None = (width, height)
        self.count = None if live else self._count()

    def _count(self) -> int | None:
        count, container = self._stream.frames, self._container
        if not count and self.fps and container.duration:
            # What Matroska calls its duration is the time of its end, whenever it begins.
            before = (container.start_time or 0) if "matroska" in container.format.name else 0
            count = round((container.duration - before) / self._av.time_base * self.fps)
        return count if self.fps and 1 <= count <= _MOST_FRAMES else None

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """See ``FrameSource.frames``. Frames of files that cannot be decoded are told at the end."""
        start, first, last = time.monotonic(), None, 0.0
        pending, self._first = self._first, None
        while pending is not None:
            index, frame = pending
            if self._camera:
                last = time.monotonic() - start
            elif frame.pts is not None and frame.time_base:
                seconds = float(frame.pts * frame.time_base)
                first = seconds if first is None else first
                last = max(last, seconds - first)  # time stamps of some files go back
            elif index and self.fps:
                last = max(last, index / self.fps)
            if index % every == 0:
                yield Frame(_upright(frame), index, last)
            pending = next(self._decoded, None)
        self._check_end(last)

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._first = None
        self._container.close()
        if self._file is not None:
            self._file.close()

    def _decode(self) -> Iterator[tuple[int, Any]]:
        """Every frame that can be decoded, with its index."""
        packets = self._container.demux(self._stream)
        in_a_row = 0
        while (packet := self._read(packets)) is not None:
            try:
                decoded = packet.decode()
            except self._av.FFmpegError as error:
                # FFmpeg goes on with the next packet, and so does this; a file says at its end that it is not whole.
                _log.warning("%s: frame %d cannot be decoded (%s)", self.name, self._next, reason_of(error))
                in_a_row += 1
                if in_a_row > _MOST_DAMAGED:
                    raise VideoError(
                        f"{self.name}: nothing can be decoded from frame {self._next} on. Get the file or stream again"
                    ) from error
                self._damaged.append(self._next)
                self._next += 1
                continue
            for frame in decoded:
                in_a_row = 0
                if frame.is_corrupt:
                    self._damaged.append(self._next)
                self._given += 1
                yield self._next, frame
                self._next += 1

    def _read(self, packets: Iterator[Any]) -> Any:
        """The next packet, None at the end."""
        start = time.monotonic()
        try:
            return next(packets, None)
        except self._av.FFmpegError as error:
            if self._container.format.name == "mpjpeg" and error.errno == errno.EIO:
                return None  # which is how pictures that are pushed over HTTP end
            if self._timeout_s is not None and _late(self._av, error, start, self._timeout_s):
                raise VideoError(
                    f"{self.name} gave no frame for {self._timeout_s:g} s. Check that the sender still runs"
                ) from error
            what = "Is it still connected?" if self._camera else "The frames before that were segmented"
            raise VideoError(f"{self.name} broke off after {self._given} frames: {reason_of(error)}. {what}") from error

    def _check_end(self, seconds: float) -> None:
        """FFmpeg ends a damaged video as quietly as a whole one; the number of frames tells."""
        read = self._given
        if self._camera:
            raise VideoError(f"{self.name} hung up after {read} frames. Is it still connected?")
        if self.count is not None and self.fps is not None:
            missing = self.count - read
            short = seconds + 1 / self.fps < (1 - _MISSING_TIME) * self.count / self.fps
            if short and missing > _MISSING_FRAMES and missing > self.count * _MISSING_SHARE:
                raise VideoError(
                    f"{self.name} ends after {read} of {self.count} frames: it is damaged or cut off. The frames "
                    "before that were segmented. Get the file again"
                )
        if self._damaged and not self.live:
            raise VideoError(
                f"{len(self._damaged)} of {self._next} frames of {self.name} are damaged, the first is frame "
                f"{self._damaged[0]}. The others were segmented. Get the file again"
            )


def _upright(frame: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a decoded frame, turned as its metadata ask."""
    image: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
