"""Where results of frames go: files of every frame, and one COCO document of all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import cannot_write, is_dir, make_folder
from clsclip_runtime.scratch import PartFile, sweep
from clsclip_runtime.video.frames import Frame

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result


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

    path: Path
    done: bool

    @property
    def notes(self) -> tuple[str, ...]: ...


class FrameFiles:
    """``Result.save`` for every frame: ``000012_dog.png``, ``000012.npz`` and so on, in one folder."""

    def __init__(self, folder: Path, formats: Sequence[str]) -> None:
        """Write ``formats`` of ``Result.save`` into ``folder``, which the first frame makes."""
        self.path = folder
        self.done = False
        self.notes: tuple[str, ...] = ()
        self._formats = formats

    def write(self, frame: Frame, result: Result) -> None:
        """See ``Sink.write``."""
        if not self.done:
            self._begin()
        result.save(self.path, self._formats, f"{frame.index:06}")
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


class CocoFile:
    """One COCO document of all frames, written as they come: memory does not grow with their number.

    Every frame is an image, with ``frame_index`` and ``seconds`` beside COCO's own fields; ``id`` is 1 + the index.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Write to ``path``, which appears when it is complete; ``name`` is the images' ``file_name``."""
        self.path = path
        self.done = False
        self.notes: tuple[str, ...] = ()
        self._name = name
        self._part: PartFile | None = None
        self._images: IO[bytes] | None = None
        self._rest: dict[str, Any] = {}
        self._annotations = 0

    def write(self, frame: Frame, result: Result) -> None:
        """See ``Sink.write``."""
        document = result.to_coco(frame.index + 1)
        try:
            file, images = self._open()
            (image,) = document.pop("images")
            image |= {"file_name": self._name, "frame_index": frame.index, "seconds": round(frame.seconds, 6)}
            images.write(f"{',' if self._rest else ''}\n{_json(image)}".encode())
            for annotation in document.pop("annotations"):
                self._annotations += 1
                annotation["id"] = self._annotations
                file.write(f"{'' if self._annotations == 1 else ','}\n{_json(annotation)}".encode())
            self._rest = document
        except OSError as error:
            self._rest = {}  # what was written may end anywhere, so close() must not keep it
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """See ``Sink.close``."""
        part, images = self._part, self._images
        if part is None or images is None:
            return
        self._part = self._images = None
        try:
            with images:
                if not self._rest:
                    return
                images.seek(0)
                part.file.write(b'\n],\n"images": [')
                shutil.copyfileobj(images, part.file)
                part.file.write(b"\n]")
                for key, value in self._rest.items():
                    part.file.write(f",\n{_json(key)}: {_json(value)}".encode())
                part.file.write(b"\n}\n")
            part.keep()
            self.done = True
        except OSError as error:
            raise cannot_write(self.path, error) from error
        finally:
            part.discard()

    def _open(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._part is None or self._images is None:
            make_folder(self.path.parent)
            # The document has one list after the other, and both grow with every frame.
            self._images = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
            self._part = PartFile(self.path)
            self._part.file.write(b'{"annotations": [')
        return self._part.file, self._images


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
