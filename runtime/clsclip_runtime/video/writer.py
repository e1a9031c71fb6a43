"""The annotated video: overlays of all frames, in a file that is always playable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from clsclip_runtime.errors import OptionError, OutputError
from clsclip_runtime.paths import cannot_write
from clsclip_runtime.video.frames import Frame
from clsclip_runtime.video.opencv import import_cv2
from clsclip_runtime.video.sinks import make_folder, part_path

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

CODECS = {"mp4": "mp4v", "avi": "MJPG"}
"""Containers, and the codec in each: those that every build of OpenCV can write."""

DEFAULT_FPS = 25.0


class AnnotatedVideo:
    """Writes ``Result.overlay()`` of every frame to a video file.

    The file has another name until it is complete: at the end, after Ctrl-C and after an error alike it holds the
    frames up to there. Frames that were dropped are filled with the one before, so that it keeps the source's pace.
    """

    def __init__(self, path: Path, *, fps: float | None = None, every: int = 1) -> None:
        """Write to ``path``.

        Args:
            path: where to; its suffix, ``.mp4`` or ``.avi``, says the container.
            fps: frames per second of the source; None is 25.
            every: the source's frames come only once in so many, and the video keeps their pace.

        Raises:
            OptionError: the container is not one of ``CODECS``.
            VideoError: OpenCV is not installed.
        """
        if path.suffix[1:] not in CODECS:
            raise OptionError(f"{path} must end with .{' or .'.join(CODECS)}, which say the container")
        self.path = path
        self.done = False
        self._cv2 = import_cv2()
        self._fps = (fps or DEFAULT_FPS) / every
        self._every = every
        self._part = part_path(path)
        self._writer: Any = None
        self._size = (0, 0)
        self._last: npt.NDArray[np.uint8] | None = None
        self._last_index = 0
        self._count = 0

    def write(self, frame: Frame, result: Result) -> None:
        """See ``Sink.write``."""
        overlay = result.overlay()
        if self._writer is None:
            self._writer = self._open(overlay.size)
        for _ in range(self._gap(frame)):
            self._put(self._last)
        self._last = self._canvas(overlay)
        self._last_index = frame.index
        self._put(self._last)

    def close(self) -> None:
        """See ``Sink.close``."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            if not self._count:
                return
            self._check()
            self._part.replace(self.path)
            self.done = True
        except OSError as error:
            raise cannot_write(self.path, error) from error
        finally:
            self._part.unlink(missing_ok=True)

    def _open(self, size: tuple[int, int]) -> Any:
        # Chroma is stored for squares of two pixels, and OpenCV cuts an odd row or column off.
        self._size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        make_folder(self.path.parent)
        try:
            self._part.touch(exist_ok=False)  # OpenCV does not tell why it cannot open a file
            code = self._cv2.VideoWriter_fourcc(*CODECS[self.path.suffix[1:]])
            writer = self._cv2.VideoWriter(
                str(self._part.absolute()), self._cv2.CAP_FFMPEG, code, self._fps, self._size
            )
        except OSError as error:
            raise cannot_write(self.path, error) from error
        except UnicodeError as error:
            raise OutputError(f"cannot write {self.path!r}: OpenCV takes no names that are not UTF-8") from error
        if not writer.isOpened():
            self._part.unlink(missing_ok=True)
            raise OutputError(
                f"cannot write {self.path}: OpenCV cannot encode {self._size[0]}x{self._size[1]} pixels at "
                f"{self._fps:g} frames a second as {CODECS[self.path.suffix[1:]]}. Try the other container "
                f"({', '.join(CODECS)}), or another build of OpenCV"
            )
        return writer

    def _gap(self, frame: Frame) -> int:
        """How many frames are missing before this one."""
        return max(0, (frame.index - self._last_index) // self._every - 1) if self._count else 0

    def _canvas(self, overlay: Image.Image) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR of the video's size. Streams may change theirs on the way: later frames are fitted in."""
        width, height = self._size
        if overlay.width > width or overlay.height > height:
            overlay = ImageOps.contain(overlay, self._size)
        canvas = np.full((height, width, 3), 255, np.uint8)
        canvas[: overlay.height, : overlay.width] = np.asarray(overlay)[..., ::-1]
        return canvas

    def _put(self, image: npt.NDArray[np.uint8] | None) -> None:
        self._writer.write(image)
        self._count += 1

    def _check(self) -> None:
        """OpenCV does not tell when writing fails (a full disk), so the file must show that it can be played."""
        capture = self._cv2.VideoCapture(str(self._part.absolute()), self._cv2.CAP_FFMPEG)
        try:
            stored = int(capture.get(self._cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        finally:
            capture.release()
        if stored != self._count:
            raise OutputError(
                f"cannot write {self.path}: only {stored} of its {self._count} frames were stored. Is the disk full?"
            )
