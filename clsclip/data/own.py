"""Data of one's own, whatever tool wrote it: opened by the kind, and the kind told by what lies in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clsclip.data.account import Account
from clsclip.data.annotated import AnnotatedImages
from clsclip.data.base import Fold
from clsclip.data.coco_json import open_coco_json
from clsclip.data.folder import first_look as look_at_folder
from clsclip.data.folder import open_folder
from clsclip.data.label_studio import open_label_studio
from clsclip.data.labelme import open_labelme
from clsclip.data.places import has_many, images_below
from clsclip.data.sides import fold_of, shared_out
from clsclip.data.summary import Summary, summarize
from clsclip.data.yolo import CLASSES_NAMES, YAML_NAMES, open_yolo
from clsclip.errors import DataError
from clsclip_runtime.documents import ANNOTATIONS, DocumentError, read_json
from clsclip_runtime.paths import absence, is_dir, is_file

_FILES = ("coco", "labelstudio")
"""Kinds that are one file of annotations beside pictures."""

_MANY = 500
"""Pictures from which on a part is looked at before all are read."""

_JSON = frozenset({".json"})
_COCO_KEYS = frozenset({"images", "annotations", "categories"})


def open_own(
    kind: str,
    root: Path | None,
    *,
    annotations: Path | None = None,
    images: Path | None = None,
    novel: Sequence[str] | None = None,
    allow_missing: bool = False,
    part: str = "both",
) -> Fold:
    """Data of one's own as a fold without number.

    Args:
        kind: "folder", "coco", "labelstudio", "yolo" or "labelme".
        root: the folder; not read where ``annotations`` are given.
        annotations: of coco and labelstudio, the file.
        images: where its pictures are; None looks beside it.
        novel: classes held out of training, by name; None trains on all and asks for all.
        allow_missing: go on without pictures that are absent.
        part: "train", "test" or "both": what is read, where that saves time.

    Raises:
        DataError: something is absent, or not what it must be.
    """
    if kind in _FILES:
        if annotations is None:
            raise DataError(
                f"Data of kind {kind!r} is a file of annotations. Give it: --annotations FILE --images FOLDER"
            )
        train = test = _annotated(kind, annotations, images or beside(annotations), allow_missing)
        listing = str(annotations)
    else:
        if root is None:
            raise DataError(f"Data of kind {kind!r} is read from a folder. Give it: --root FOLDER")
        listing = str(root)
        if kind == "folder":
            return open_folder(root, novel=novel, allow_missing=allow_missing, part=part)
        if kind == "yolo":
            train, test = open_yolo(root)
        else:
            train = test = open_labelme(root, allow_missing=allow_missing)
    seen, held_out = shared_out(train.classes, novel, listing)
    return fold_of(train, test, seen, held_out)


def first_look(kind: str, root: Path, seconds: float, *, allow_missing: bool = False) -> Summary | None:
    """Count what a part of the training pictures show, where reading all of them takes long.

    Args:
        kind: "folder", "yolo" or "labelme": of these, a part can be read. A file of annotations is read whole.
        root: the folder.
        seconds: after which no further picture is read.
        allow_missing: as of ``open_own``.

    Returns:
        what was counted, without what was left out; None where there are few pictures, or no part can be read.

    Raises:
        DataError: something is absent, or not what it must be.
    """
    if kind not in ("folder", "yolo", "labelme") or not is_dir(root) or not has_many(root, _MANY):
        return None
    if kind == "folder":
        return look_at_folder(root, seconds)
    if kind == "yolo":
        data = open_yolo(root, within=seconds)[0]
    else:
        data = open_labelme(root, allow_missing=allow_missing, within=seconds)
    found = summarize(data, seconds=seconds)
    found.account = Account()
    return found


def beside(annotations: Path) -> Path:
    """The folder in which pictures of a file of annotations are looked for: its own, or the one above."""
    folder = annotations.absolute().parent
    return folder if not is_dir(folder) or images_below(folder) else folder.parent


def recognized(root: Path) -> tuple[str, Path | None]:
    """The kind of data of a folder or file, and the file of annotations where there is one.

    Raises:
        DataError: it is none that is known, or may be several.
    """
    if is_file(root):
        if root.suffix.lower() in (".yaml", ".yml"):
            return "yolo", None
        return _kind_of_file(root), root
    if not is_dir(root):
        raise DataError(f"{absence(root, 'file or folder').capitalize()}.")
    if is_dir(root / "JPEGImages"):
        return "pascal", None
    if is_dir(root / "masks") and is_dir(root / "images"):
        return "folder", None
    if any(is_file(root / name) for name in YAML_NAMES):
        return "yolo", None
    found = images_below(root, _JSON)
    kinds: dict[str, list[Path]] = {}
    for path in found.values():
        try:
            kinds.setdefault(_kind_of_file(path), []).append(path)
        except DataError:
            continue
        if "labelme" in kinds:  # one file for each picture: the first says it
            return "labelme", None
    files = [(kind, path) for kind, paths in kinds.items() for path in paths]
    if len(files) > 1:
        names = ", ".join(str(path.relative_to(root)) for _, path in files[:5])
        raise DataError(f"{root} holds several files of annotations: {names}. Give one of them.")
    if files:
        return files[0]
    if any(is_file(root / name) for name in CLASSES_NAMES):
        return "yolo", None
    raise DataError(
        f"{root} is no data that is known: it has no images and masks, no data.yaml, no JPEGImages, and no JSON of "
        "COCO, Label Studio or labelme."
    )


def _kind_of_file(path: Path) -> str:
    """The kind of a JSON file. DataError if it is of none."""
    try:
        document = read_json(path, ANNOTATIONS)
    except (OSError, DocumentError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if isinstance(document, dict):
        if document.keys() >= _COCO_KEYS:
            return "coco"
        if "shapes" in document:
            return "labelme"
    if isinstance(document, list) and document and isinstance(document[0], dict):
        return "labelstudio"
    raise DataError(f"{path} is neither a COCO document nor an export of Label Studio nor a file of labelme.")


def _annotated(kind: str, annotations: Path, images: Path, allow_missing: bool) -> AnnotatedImages:
    if kind == "coco":
        return open_coco_json(annotations, images, allow_missing=allow_missing)
    return open_label_studio(annotations, images, allow_missing=allow_missing)
