"""The annotated video: overlays of all frames, in a file that is always playable."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from clsclip_runtime.errors import OptionError, OutputError
from clsclip_runtime.paths import cannot_write, make_folder
from clsclip_runtime.scratch import PartFile
from clsclip_runtime.video.frames import Frame
from clsclip_runtime.video.pyav import import_av, reason_of

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

CODECS = {"mp4": ("vp9", "h264"), "webm": ("vp9",)}
"""Containers, and the codecs that each takes, its usual one first."""

X264_NOTE = "H.264 is written by x264, whose license is the GPL; the usual codec, vp9, is free of it"

# VP9 plays in every browser, and its encoder has a BSD license. crf: about what the eye does not see.
_ENCODERS = {
    "vp9": (
        "libvpx-vp9",
        {"deadline": "realtime", "cpu-used": "7", "row-mt": "1", "lag-in-frames": "0", "crf": "30", "b": "0"},
    ),
    "h264": ("libx264", {"preset": "veryfast", "crf": "20", "tune": "zerolatency"}),
}
_BT709, _LIMITED = 1, 1  # of ISO/IEC 23091-2, and FFmpeg's; players guess where a file does not tell

DEFAULT_FPS = 25.0
_CLOCK = 90_000
"""Time stamps are whole numbers of this part of a second: exact for all usual frame rates."""


class AnnotatedVideo:
    """Writes ``Result.overlay()`` of every frame to a video file, each at its own time.

    The file has another name until it is complete: at the end, after Ctrl-C and after an error alike it holds the
    frames up to there. Where frames were dropped, the one before is shown for longer, so the source's pace is kept.
    """

    def __init__(self, path: Path, *, fps: float | None = None, every: int = 1, codec: str | None = None) -> None:
        """Write to ``path``.

        Args:
            path: where to; its suffix says the container.
            fps: frames per second of the source; None is 25. It is used where frames have no time of their own.
            every: the source's frames come only once in so many, and the video keeps their pace.
            codec: one of the container's ``CODECS``; None is its usual one.

        Raises:
            OptionError: the container is not one of ``CODECS``, or does not take the codec.
            VideoError: PyAV is not installed.
        """
        container = path.suffix[1:]
        if container not in CODECS:
            raise OptionError(f"{path} must end with .{', .'.join(CODECS)}, which say the container")
        if codec is not None and codec not in CODECS[container]:
            raise OptionError(f"a .{container} video has no codec {codec!r}. It takes: {', '.join(CODECS[container])}")
        self.path = path
        self.done = False
        self._av = import_av()
        self._codec = codec or CODECS[container][0]
        # Of time-lapse recordings one step may be hours, of high-speed cameras a thousandth of a second.
        step = Fraction(1 / (fps or DEFAULT_FPS)).limit_denominator(1_000_000)
        self._step = every * max(step, Fraction(1, _CLOCK))
        self._part: PartFile | None = None
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)
        self._last = -1
        self._count = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about the codec."""
        return (X264_NOTE,) if self._codec == "h264" else ()

    def write(self, frame: Frame, result: Result) -> None:
        """See ``Sink.write``."""
        overlay = result.overlay()
        if self._part is None:
            self._open(overlay.size)
        rgb = self._av.VideoFrame.from_ndarray(self._canvas(overlay), format="rgb24")
        image = rgb.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        step = round(self._step * _CLOCK)
        stamp = round(frame.seconds * _CLOCK)
        if self._count and stamp <= self._last:  # the source tells no time
            stamp = self._last + step
        image.pts, image.time_base, image.duration = stamp, Fraction(1, _CLOCK), step
        self._last = stamp
        self._count += 1
        self._mux(image)

    def close(self) -> None:
        """See ``Sink.close``."""
        part, self._part = self._part, None
        if part is None:
            return
        try:
            if self._count:
                self._mux(None)
            self._container.close()
            if self._count:
                part.keep()
                self.done = True
        except (OSError, self._av.FFmpegError) as error:
            raise self._failed(error) from error
        finally:
            part.discard()

    def _mux(self, image: Any) -> None:
        try:
            for packet in self._stream.encode(image):
                self._container.mux(packet)
        except (OSError, self._av.FFmpegError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> OutputError:
        return cannot_write(self.path, OSError(getattr(error, "errno", None), reason_of(error)))

    def _open(self, size: tuple[int, int]) -> None:
        # Chroma is stored for squares of two pixels: an odd row or column gets a white neighbor.
        self._size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        make_folder(self.path.parent)
        encoder, options = _ENCODERS[self._codec]
        try:
            self._part = PartFile(self.path)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        try:
            self._container = self._av.open(self._part.file, "w", format=self.path.suffix[1:])
            self._stream = self._container.add_stream(encoder, rate=1 / self._step, options=options)
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
            coded = self._stream.codec_context
            coded.color_primaries = coded.color_trc = coded.colorspace = _BT709
            coded.color_range = _LIMITED
            self._stream.time_base = coded.time_base = Fraction(1, _CLOCK)
            coded.open()
        except (self._av.FFmpegError, ValueError, OverflowError) as error:
            self._part.discard()
            self._part = None
            raise OutputError(
                f"cannot write {self.path}: {encoder} cannot encode {self._size[0]}x{self._size[1]} pixels "
                f"({reason_of(error)}). Try another container ({', '.join(CODECS)}), or another build of PyAV"
            ) from error

    def _canvas(self, overlay: Image.Image) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB of the video's size. Streams may change theirs on the way: later frames are fitted in."""
        width, height = self._size
        if overlay.width > width or overlay.height > height:
            overlay = ImageOps.contain(overlay, self._size)
        canvas = np.full((height, width, 3), 255, np.uint8)
        canvas[: overlay.height, : overlay.width] = np.asarray(overlay)
        return canvas
