"""Videos whose frames say their own number, and sources and sinks that remember."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from clsclip_runtime.results.result import Result
from clsclip_runtime.video import Frame

# Coded exactly enough that 512 numbers survive: MPEG-4 and MJPEG, as cameras and phones write them, and VP9.
CODES = {
    ".mp4": ("mpeg4", "yuv420p", {"b": "4M"}),
    ".avi": ("mjpeg", "yuvj420p", {"b": "8M"}),
    ".mkv": ("mpeg4", "yuv420p", {"b": "4M"}),
    ".ts": ("mpeg2video", "yuv420p", {"b": "4M"}),
    ".webm": ("libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"}),
}
BITS = 9


def numbered(index: int, width: int = 96, height: int = 64) -> npt.NDArray[np.uint8]:
    """An RGB picture whose columns are the bits of ``index``, black and white; its lowest quarter is red."""
    bits = [255 * (index >> bit & 1) for bit in range(BITS)]
    columns = np.repeat(np.array(bits, np.uint8), -(-width // BITS))[:width]
    image = np.repeat(np.repeat(columns[None, :, None], 3, axis=2), height, axis=0)
    image[height * 3 // 4 :] = (255, 0, 0)
    return image


def number_of(image: npt.NDArray[np.uint8]) -> int:
    """The number of a picture of ``numbered``, after any codec."""
    height, width = image.shape[:2]
    step = -(-width // BITS)
    middle = image[: height // 2].mean(axis=(0, 2))
    return sum(
        (middle[bit * step + step // 4 : (bit + 1) * step - step // 4].mean() > 127) << bit for bit in range(BITS)
    )


def make_video(
    path: Path,
    count: int,
    *,
    fps: float = 25,
    width: int = 96,
    height: int = 64,
    times: Sequence[float] | None = None,
) -> Path:
    """Frames 0 to ``count`` of ``numbered``, by PyAV.

    Args:
        times: seconds of every frame; None is a constant rate.
    """
    codec, pixels, options = CODES[path.suffix]
    rate = Fraction(fps).limit_denominator(1001)
    clock = 1 / rate if times is None else Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.time_base = stream.codec_context.time_base = clock
        container.start_encoding()
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(index, width, height), format="rgb24")
            frame.pts = index if times is None else round(times[index] * 1000)
            frame.time_base = clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read_video(path: Path) -> tuple[list[npt.NDArray[np.uint8]], float]:
    """All frames (RGB) and the frames per second, read by OpenCV alone."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        read, image = capture.read()
        if not read:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(np.asarray(image)[..., ::-1])


def times_of(path: Path) -> list[float]:
    """Seconds of every frame, as FFmpeg's demuxer tells them, in order."""
    with av.open(str(path)) as container:
        return sorted(float(one.pts * one.time_base) for one in container.demux(video=0) if one.pts is not None)


class Listed:
    """A source of ``count`` numbered frames that raises ``error`` at the end, if there is one."""

    name, fps, size = "listed", 10.0, (96, 64)

    def __init__(self, count: int, error: BaseException | None = None, *, live: bool = False) -> None:
        self.count: int | None = count
        self.live = live
        self.closed = False
        self._error = error

    def frames(self, every: int = 1) -> Iterator[Frame]:
        for index in range(0, self.count or 0, every):
            yield Frame(numbered(index), index, index / 10)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed = True


class Kept:
    """A sink that keeps the numbers of frames, and can fail."""

    def __init__(self, fail_at: int | None = None, fail_to_close: Exception | None = None) -> None:
        self.numbers: list[int] = []
        self.closed = False
        self._fail_at, self._fail_to_close = fail_at, fail_to_close

    def write(self, frame: Frame, result: Result) -> None:
        if frame.index == self._fail_at:
            raise OSError("no room")
        assert result is not None
        self.numbers.append(frame.index)

    def close(self) -> None:
        self.closed = True
        if self._fail_to_close is not None:
            raise self._fail_to_close
