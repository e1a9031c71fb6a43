"""Where results of frames go: files of every frame, and one COCO document of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import is_dir, make_folder, write_file
from clsclip_runtime.results.files import default_stem
from clsclip_runtime.results.labelstudio import labelstudio_task
from clsclip_runtime.results.streams import CocoWriter, ListWriter
from clsclip_runtime.scratch import sweep
from clsclip_runtime.video.frames import Frame

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

_QUALITY = 95
"""Of frames as JPEG."""


class Sink(Protocol):
    """Takes results in the order of the frames, in one thread."""

    def write(self, frame: Frame, result: Result) -> None:
        """Take one result. OutputError if it cannot be written."""
        ...

    def close(self) -> None:
        """End: what was written is complete after this. OutputError if that cannot be."""
        ...


class FileSink(Sink, Protocol):
    """A sink that writes to a path.

    Attributes:
        path: the file or folder.
        done: whether it holds results of this run.
        notes: for the user.
    """

    @property
    def path(self) -> Path: ...
    @property
    def done(self) -> bool: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


class FrameFiles:
    """``Result.save`` for every frame: ``000012_dog.png``, ``000012.npz`` and so on, in one folder."""

    def __init__(self, folder: Path, formats: Sequence[str], *, images: bool = False, parts: bool = False) -> None:
        """Write into ``folder``, which the first frame makes.

        Args:
            folder: of the files.
            formats: of ``Result.save``.
            images: write the frames themselves too, as JPEG.
            parts: as in ``Result.save``.
        """
        self.path = folder
        self.done = False
        self.notes: tuple[str, ...] = ()
        self._formats, self._images, self._parts = formats, images, parts

    def write(self, frame: Frame, result: Result) -> None:
        """See ``Sink.write``."""
        if not self.done:
            self._begin()
        if self._images:
            image = Image.fromarray(frame.image)
            make_folder(self.path)
            write_file(self.path / f"{frame.index:06}.jpg", lambda file: image.save(file, "JPEG", quality=_QUALITY))
        if self._formats:
            if "labelme" in self._formats:
                source = str(self.path / f"{frame.index:06}.jpg")
                result = replace(result, image=replace(result.image, source=source))
            result.save(self.path, self._formats, f"{frame.index:06}", parts=self._parts)
        self.done = True

    def _begin(self) -> None:
        """Look at what is there. OutputError: the folder is a link, which would lead the files elsewhere."""
        if self.path.is_symlink():
            raise OutputError(f"{self.path} is a link, and frames go into a folder. Remove it, or change --out")
        sweep(self.path)
        held = sum(1 for _ in self.path.iterdir()) if is_dir(self.path) else 0
        if held:
            self.notes = (f"{self.path} held {held} files before; those of the same names are replaced, others stay",)

    def close(self) -> None:
        """See ``Sink.close``."""


class _Document:
    """A document of all frames that grows as they come, and appears when it is complete."""

    def __init__(self, writer: CocoWriter | ListWriter) -> None:
        self._writer = writer
        self.notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Of the document."""
        return self._writer.path

    @property
    def done(self) -> bool:
        """Whether it is there."""
        return self._writer.done

    def close(self) -> None:
        """See ``Sink.close``."""
        self._writer.close()


class CocoFile(_Document):
    """One COCO document of all frames, written as they come: memory does not grow with their number.

    Every frame is an image with a name of its own, ``clip_frames/000012.jpg``, where ``FrameFiles`` writes it if asked
    to; ``video``, ``frame_index`` and ``seconds`` stand beside COCO's own fields, and ``id`` is 1 + the index.
    """

    def __init__(
        self, path: Path, name: str, frames: str | None = None, *, parts: bool = False, polygons: bool = False
    ) -> None:
        """Write to ``path``, which appears when it is complete.

        Args:
            path: of the document.
            name: of the video.
            frames: the folder in the images' names; None is made of ``name``.
            parts, polygons: as in ``Result.to_coco``.
        """
        super().__init__(CocoWriter(path))
        self._name, self._frames = name, f"{default_stem(name)}_frames" if frames is None else frames
        self._parts, self._polygons = parts, polygons

    def write(self, frame: Frame, result: Result) -> None:
        """See ``Sink.write``."""
        document = result.to_coco(frame.index + 1, parts=self._parts, polygons=self._polygons)
        document["images"][0] |= {
            "file_name": frame_name(self._frames, frame),
            "video": self._name,
            "frame_index": frame.index,
            "seconds": round(frame.seconds, 6),
        }
        self._writer.add(document)


class TaskFile(_Document):
    """A list of Label Studio's tasks, one for each frame, whose images are those that ``FrameFiles`` writes."""

    def __init__(self, path: Path, frames: str, *, parts: bool = False, polygons: bool = False) -> None:
        """Write to ``path``, which appears when it is complete; see ``CocoFile``."""
        super().__init__(ListWriter(path))
        self._frames, self._parts, self._polygons = frames, parts, polygons

    def write(self, frame: Frame, result: Result) -> None:
        """See ``Sink.write``."""
        name = frame_name(self._frames, frame)
        self._writer.add(labelstudio_task(result, name, parts=self._parts, polygons=self._polygons))


def frame_name(folder: str, frame: Frame) -> str:
    """The path of a frame's picture, whether or not it is written."""
    return f"{folder}/{frame.index:06}.jpg"
