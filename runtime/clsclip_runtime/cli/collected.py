"""Documents that hold all pictures of a run: COCO's, Label Studio's, YOLO's folder of labels, and contact sheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from clsclip_runtime.cli.arguments import NamedSource
from clsclip_runtime.documents import DATA_FILE, DocumentError, read_json
from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import is_file, make_folder, write_text
from clsclip_runtime.results.coco import coco_document
from clsclip_runtime.results.labelstudio import TO_NAME, image_address, labelstudio_task
from clsclip_runtime.results.sheet import TILES, ContactSheets, sheet_name
from clsclip_runtime.results.streams import CocoWriter, ListWriter
from clsclip_runtime.results.yolo import data_yaml, yolo_lines

if TYPE_CHECKING:
    from clsclip_runtime.cli.options import OutputOptions
    from clsclip_runtime.results.result import Result

COCO, TASKS, YOLO, SHEET = "coco", "labelstudio", "yolo", "sheet"
LABELS = "labels"
"""YOLO's folder."""


class Collected:
    """Takes results of pictures one by one; the documents appear when it is closed.

    Attributes:
        folder: of the documents.
        formats: of ``results.files.FORMATS``, those that are written here and not for every picture by itself.
    """

    def __init__(self, folder: Path, output: OutputOptions, classes: Sequence[str]) -> None:
        """Prepare documents in ``folder``; nothing is made yet."""
        asked = output.image_formats
        self.formats = [one for one in asked if one == YOLO or (output.together and one in (COCO, TASKS))]
        self.folder, self._output, self._classes = folder, output, classes
        self._coco = CocoWriter(folder / "coco.json") if COCO in self.formats else None
        self._tasks = ListWriter(folder / "labelstudio.json") if TASKS in self.formats else None
        self._sheets = ContactSheets(folder) if output.sheet else None
        self._sheet_count = 1
        self._images = 0
        self._labels: list[Path] = []
        self._old_images: dict[str, tuple[dict[str, Any], list[Any], dict[str, Any]]] | None = None
        self._old_tasks: dict[str, dict[str, Any]] | None = None

    @property
    def outputs(self) -> list[Path]:
        """The files and folders in ``folder`` that it writes."""
        found = [one.path for one in (self._coco, self._tasks) if one is not None]
        found += [self.folder / sheet_name(at) for at in range(self._sheet_count if self._sheets else 0)]
        return [*found, self.folder / LABELS, self.folder / "data.yaml"] if YOLO in self.formats else found

    def check(self, sources: Iterable[NamedSource]) -> None:
        """Count the sheets; OutputError if two pictures would have the same labels: YOLO knows them by name alone."""
        sources = list(sources)
        self._sheet_count = max(1, -(-len(sources) // TILES))
        taken: dict[Path, str] = {}
        for source in sources if YOLO in self.formats else ():
            path = self._label_file(source)
            other = taken.setdefault(path, source.path)
            if other != source.path:
                raise OutputError(
                    f"{other} and {source.path} would both have the labels {path}: YOLO tells pictures apart by their "
                    "names without suffix. Rename one, or leave out the format yolo"
                )

    def holds(self, source: NamedSource) -> bool:
        """Whether the documents of an earlier run hold a picture. A sheet is drawn from results, and so holds none."""
        return self._sheets is None and (
            (self._coco is None or source.relative in self._coco_before())
            and (self._tasks is None or image_address(source.relative) in self._tasks_before())
            and (YOLO not in self.formats or is_file(self._label_file(source)))
        )

    def carry(self, source: NamedSource) -> None:
        """Take a picture over from the documents of an earlier run, which ``holds`` it. OutputError."""
        self._images += 1
        if self._coco is not None:
            image, annotations, rest = self._coco_before()[source.relative]
            number = {"image_id": self._images}
            moved = [one | number for one in annotations]
            self._coco.add(rest | {"images": [image | {"id": self._images}], "annotations": moved})
        if self._tasks is not None:
            self._tasks.add(self._tasks_before()[image_address(source.relative)])

    def add(self, source: NamedSource, result: Result) -> list[Path]:
        """Take a result; returns the files that it will be in. OutputError."""
        self._images += 1
        name, parts, polygons = source.relative, self._output.parts, self._output.polygons
        files = []
        if self._coco is not None:
            self._coco.add(coco_document(result, self._images, parts=parts, polygons=polygons, name=name))
            files.append(self._coco.path)
        if self._tasks is not None:
            self._tasks.add(labelstudio_task(result, name, parts=parts, polygons=polygons))
            files.append(self._tasks.path)
        if YOLO in self.formats:
            path = self._label_file(source)
            make_folder(path.parent)
            write_text(path, yolo_lines(result))
            self._labels.append(path)
            files.append(path)
        if self._sheets is not None:
            files.append(self._sheets.add(name, result))
        return files

    def close(self) -> list[Path]:
        """End; returns the documents that hold all pictures. OutputError."""
        documents = [one for one in (self._coco, self._tasks) if one is not None]
        for one in documents:
            one.close()
        written = [one.path for one in documents if one.done]
        if self._sheets is not None:
            self._sheets.close()
            written += self._sheets.done
        if self._labels:
            path = self.folder / "data.yaml"
            write_text(path, data_yaml(self._classes))
            written.append(path)
        return written

    def _label_file(self, source: NamedSource) -> Path:
        name = PurePosixPath(source.relative)
        parts = [part for part in name.with_suffix(".txt").parts if part not in ("/", "..")]
        return self.folder.joinpath(LABELS, *parts)

    def _coco_before(self) -> dict[str, tuple[dict[str, Any], list[Any], dict[str, Any]]]:
        """By ``file_name``, the image, its annotations, and the rest of the document."""
        if self._old_images is None:
            self._old_images = {}
            document = _read(self.folder / "coco.json")
            try:
                rest = {key: document[key] for key in ("info", "categories")}
                if [one["name"] for one in rest["categories"]] == list(self._classes):
                    annotations: dict[int, list[Any]] = {one["id"]: [] for one in document["images"]}
                    for one in document["annotations"]:
                        annotations[one["image_id"]].append(one)
                    self._old_images = {
                        one["file_name"]: (one, annotations[one["id"]], rest) for one in document["images"]
                    }
            except (KeyError, TypeError, AttributeError):  # damaged, or of another program: everything is done anew
                self._old_images = {}
        return self._old_images

    def _tasks_before(self) -> dict[str, dict[str, Any]]:
        """By address, the task."""
        if self._old_tasks is None:
            try:
                self._old_tasks = {one["data"][TO_NAME]: one for one in _read(self.folder / "labelstudio.json") or []}
            except (KeyError, TypeError, AttributeError):
                self._old_tasks = {}
        return self._old_tasks


def _read(path: Path) -> Any:
    """A document of an earlier run; None where there is none that can be read."""
    try:
        return read_json(path, DATA_FILE)
    except (OSError, DocumentError):
        return None
