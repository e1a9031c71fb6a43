"""Video files, cameras, network streams and videos in pipes, through PyAV.

Rotation that the file's metadata ask for is applied.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from clsclip_runtime.errors import VideoError
from clsclip_runtime.paths import is_file, public_address, readable
from clsclip_runtime.video.decoding import Capture, late
from clsclip_runtime.video.piped import STANDARD_INPUT_NAME, unbuffered
from clsclip_runtime.video.pyav import import_av, reason_of

TIMEOUT_S = 10.0
"""How long a stream may take to open, and to give its next frame."""

_BUFFER = 1 << 18
_FORMATS = (
    "3dostr,4xm,amv,apng,asf,av1,avi,avs2,avs3,bink,cavsvideo,cine,dhav,dirac,dnxhd,dv,dxa,evc,"
    "film_cpk,flic,flv,gif,gxf,h261,h263,h264,hevc,ifv,ingenient,ipu,ivf,ivr,iv8,jpegxl_anim,kux,"
    "lxf,m4v,matroska,mjpeg,mjpeg_2000,mlv,moflex,mov,mpeg,mpegts,mpegtsraw,mpegvideo,mpjpeg,mtv,mv,"
    "mxf,nsv,nut,nuv,obu,ogg,r3d,rm,roq,ser,smjpeg,smk,svs,swf,thp,ty,vc1,vc1test,vivo,vmd,vvc,"
    "webp_anim,wtv,yuv4mpegpipe"
)
"""FFmpeg's readers of files that hold a video themselves: no lists of other files, no text, no single pictures."""

# And what one of them names is not opened either.
_ALONE = {"protocol_whitelist": "none", "format_whitelist": _FORMATS}
_LISTS = (b"ffconcat", b"#EXTM3U", b"<?xml", b"<MPD", b"v=0", b"[playlist]", b"#!", b"<SmoothStreaming", b"[Reference]")
"""How files begin that only say where videos are."""

_CAMERAS = frozenset(("mpjpeg", "rtsp", "rtp", "sdp"))
"""Formats of streams that go on until somebody hangs up, unless they tell how long they are."""

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
    except (av.FFmpegError, ValueError, OSError) as error:
        begin = file.begin()
        file.close()
        if begin.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(_LISTS):
            raise VideoError(
                f"{name} is a list of other files or addresses, which are never opened. Give the videos themselves"
            ) from error
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
        return Capture(container, name, live=True, camera=True, endless=True, timeout_s=TIMEOUT_S)
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
        endless = bool(_CAMERAS & set(container.format.name.split(","))) and not container.duration
        return Capture(container, name, live=True, endless=endless, timeout_s=timeout_s)
    except UnicodeError as error:
        raise VideoError(f"{name} is not an address. Give one such as rtsp://host:554/path") from error
    except (av.FFmpegError, ValueError) as error:
        refused = f"it was refused, or what it gives is no video ({reason_of(error)})"
        why = f"no answer in {timeout_s:g} s" if late(av, error, start, timeout_s) else refused
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
    except (av.FFmpegError, ValueError, OSError) as error:
        raise VideoError(
            f"{name} is not a video that can be read from a pipe ({reason_of(error)}). Send Matroska or MPEG-TS, such "
            "as: ffmpeg -i IN -c copy -f matroska -"
        ) from error


class _File:
    """All of a file that FFmpeg may use. Whoever forgets to close a source gets no warning of Python's for it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._number: int | None = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def read(self, count: int) -> bytes:
        return b"" if self._number is None else os.read(self._number, count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new place, or a negative number as FFmpeg has them: damaged files ask for places that no file has."""
        if self._number is None:
            return -errno.EBADF
        try:
            return os.lseek(self._number, offset, whence)
        except OSError as error:
            return -(error.errno or errno.EINVAL)

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def begin(self) -> bytes:
        """The first bytes; none where they cannot be read."""
        self.seek(0)
        try:
            return self.read(64)
        except OSError:
            return b""

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
