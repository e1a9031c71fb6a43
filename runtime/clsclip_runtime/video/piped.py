"""Frames that another program writes to a pipe: encoded pictures, or raw RGB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from clsclip_runtime.errors import ImageError, OptionError, VideoError
from clsclip_runtime.images import MAX_PIXELS, open_image
from clsclip_runtime.video.frames import Frame
from clsclip_runtime.video.splitter import CHUNK_BYTES, split_images

STANDARD_INPUT_NAME = "<stdin>"


class _Piped:
    """What both kinds share; see ``FrameSource``. The pipe belongs to the caller and is not closed."""

    live = True
    count: int | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, pipe: IO[bytes], *, fps: float | None = None, name: str = STANDARD_INPUT_NAME) -> None:
        """Read ``pipe``, whose frames come at ``fps`` a second (None if that is not known)."""
        self._read = unbuffered(pipe)
        self.name = name
        self.fps = fps
        self.size: tuple[int, int] | None = None

    def close(self) -> None:
        """See ``FrameSource.close``."""

    def _seconds(self, index: int) -> float:
        return index / self.fps if self.fps else 0.0


class EncodedFrames(_Piped):
    """JPEG, PNG, PPM or PGM pictures one after another, such as ``ffmpeg -f image2pipe`` writes."""

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """See ``FrameSource.frames``."""
        index = -1
        for index, encoded in enumerate(split_images(self._read, self.name)):
            if index % every:
                continue
            try:
                image = open_image(encoded).image
            except ImageError as error:
                raise VideoError(
                    f"{self.name}, picture {index + 1}: {error}. The pictures before it were segmented"
                ) from error
            self.size = image.size
            yield Frame(np.asarray(image), index, self._seconds(index))
        if index < 0:
            raise VideoError(f"{self.name} ended before its first picture. Check the program that writes to it")


class RawFrames(_Piped):
    """Raw frames of width x height x 3 bytes, RGB, row by row: ``ffmpeg -f rawvideo -pix_fmt rgb24``."""

    def __init__(
        self,
        pipe: IO[bytes],
        size: tuple[int, int],
        *,
        fps: float | None = None,
        name: str = STANDARD_INPUT_NAME,
    ) -> None:
        """Read ``pipe``, whose frames are ``size`` = (width, height) pixels.

        Raises:
            OptionError: the size makes no sense.
        """
        super().__init__(pipe, fps=fps, name=name)
        width, height = size
        if width < 1 or height < 1 or width * height > MAX_PIXELS:
            raise OptionError(
                f"raw frames of {width}x{height} pixels are not possible. The limit is {MAX_PIXELS:,} pixels"
            )
        self.size = self._shape = (width, height)

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """See ``FrameSource.frames``."""
        width, height = self._shape
        index, length = 0, width * height * 3
        while data := self._exactly(length):
            if len(data) < length:
                raise VideoError(
                    f"{self.name} ends within frame {index + 1}, after {len(data):,} of {length:,} bytes. Are the "
                    f"frames really {width}x{height} RGB, 3 bytes a pixel?"
                )
            if index % every == 0:
                image = np.frombuffer(data, np.uint8).reshape(height, width, 3)
                yield Frame(image, index, self._seconds(index))
            index += 1
        if not index:
            raise VideoError(f"{self.name} ended before its first frame. Check the program that writes to it")

    def _exactly(self, length: int) -> bytearray:
        """The next ``length`` bytes, fewer only at the end."""
        data = bytearray()
        while len(data) < length and (chunk := self._read(min(CHUNK_BYTES, length - len(data)))):
            data += chunk
        return data


def unbuffered(pipe: IO[bytes]) -> Callable[[int], bytes | None]:
    """Take the ``read`` that gives what is there: a buffered one waits until all that was asked for has come.

    A thread that waits in a buffered reader also holds its lock, and Python cannot end while one does.
    """
    raw = getattr(pipe, "raw", pipe)
    read: Callable[[int], bytes | None] = raw.read
    return read
