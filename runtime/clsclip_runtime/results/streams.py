"""Documents of many images that are written as results come: memory does not grow with their number.

Each appears when it is complete, or not at all.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

from clsclip_runtime.paths import cannot_write, make_folder
from clsclip_runtime.scratch import PartFile


class CocoWriter:
    """One COCO document; ids of annotations are counted anew, so that they are unique.

    Attributes:
        path: of the file.
        done: whether it is there, and of this writer.
    """

    def __init__(self, path: Path) -> None:
        """Write to ``path``; nothing is made before the first image."""
        self.path, self.done = path, False
        self._part: PartFile | None = None
        self._images: IO[bytes] | None = None
        self._rest: dict[str, Any] = {}
        self._annotations = 0

    def add(self, document: dict[str, Any]) -> None:
        """Take a document of one image, whose id no other has. OutputError if it cannot be written."""
        rest = {key: value for key, value in document.items() if key not in ("images", "annotations")}
        try:
            file, images = self._open()
            (image,) = document["images"]
            images.write(f"{',' if self._rest else ''}\n{_json(image)}".encode())
            for annotation in document["annotations"]:
                self._annotations += 1
                comma = "" if self._annotations == 1 else ","
                file.write(f"{comma}\n{_json(annotation | {'id': self._annotations})}".encode())
            self._rest = rest
        except OSError as error:
            self._rest = {}  # what was written may end anywhere, so close() must not keep it
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """End: the document is complete after this. OutputError if that cannot be."""
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
            # The document has one list after the other, and both grow with every image.
            self._images = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
            self._part = PartFile(self.path)
            self._part.file.write(b'{"annotations": [')
        return self._part.file, self._images


class ListWriter:
    """One JSON list, as Label Studio imports it. Attributes as of ``CocoWriter``."""

    def __init__(self, path: Path) -> None:
        """Write to ``path``; nothing is made before the first entry."""
        self.path, self.done = path, False
        self._part: PartFile | None = None
        self._failed, self._count = False, 0

    def add(self, entry: dict[str, Any]) -> None:
        """Take an entry. OutputError if it cannot be written."""
        try:
            if self._part is None:
                make_folder(self.path.parent)
                self._part = PartFile(self.path)
            self._part.file.write(f"{',' if self._count else '['}\n{_json(entry)}".encode())
            self._count += 1
        except OSError as error:
            self._failed = True
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """End: the list is complete after this. OutputError if that cannot be."""
        part, self._part = self._part, None
        if part is None:
            return
        try:
            if not self._failed:
                part.file.write(b"\n]\n")
                part.keep()
                self.done = True
        except OSError as error:
            raise cannot_write(self.path, error) from error
        finally:
            part.discard()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
