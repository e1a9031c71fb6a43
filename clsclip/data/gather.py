"""From what a file of annotations says to pictures with masks: one way for every tool's format.

A reader gives pictures with labels as they are written and shapes, or why there is none. What cannot be used is left
out and counted. Where a thing is left out, its class is not asked in that picture: trained without it, the rest would
teach that it is background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clsclip.data.account import Account
from clsclip.data.annotated import AnnotatedImage, AnnotatedImages, Thing
from clsclip.data.places import Places
from clsclip.data.shapes import Polygons, Shape, Size
from clsclip.errors import DataError
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.errors import AnnotationError, ImageError, WordError
from clsclip_runtime.images import MAX_PIXELS, by_suffix, image_size
from clsclip_runtime.images.formats import check_size
from clsclip_runtime.results.codecs.polygons import checked_points
from clsclip_runtime.results.codecs.values import whole
from clsclip_runtime.text.words import clean_classes

LEFT_OUT = "annotations were left out, and their class is not asked in that picture"


@dataclass
class Raw:
    """A thing as it is written.

    Attributes:
        label: its class; None for what every class ignores.
        where: names it in messages.
        shape: its mask.
        problem: why it has none.
        ignore: see :class:`clsclip.data.annotated.Thing`.
    """

    label: str | None
    where: str
    shape: Shape | None = None
    problem: str = ""
    ignore: bool = False


@dataclass
class RawImage:
    """A picture as it is written: its place from the folder of pictures, its size and its things."""

    place: str
    size: Size
    things: list[Raw] = field(default_factory=list)


class Sizes:
    """Reads the sizes of pictures, and counts pictures that cannot be read.

    Args:
        places: the pictures.
        account: where they are counted.
        total: how many there are.
        by_files: read files; else what annotations say counts.
    """

    def __init__(self, places: Places, account: Account, total: int, *, by_files: bool = True) -> None:
        self._places, self._account, self._by_files = places, account, by_files
        self._progress = Progress("pictures", total)
        self._done = 0

    def __enter__(self) -> Sizes:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()

    def read(self, place: str, said: tuple[object, object] | None = None) -> Size | None:
        """The size of a picture; None, counted, where it cannot be read or is not as annotations say.

        Args:
            place: as :meth:`clsclip.data.places.Places.find` gives it.
            said: width and height by the annotations; None where they say nothing.
        """
        self._done += 1
        self._progress.update(self._done)
        if not self._by_files:
            return self._said(place, said)
        try:
            size = image_size(self._places.files[place])
        except ImageError as error:
            self._account.add("pictures were left out, since they cannot be read", error)
            return None
        if said is not None and tuple(said) != size:
            self._account.add(
                "pictures were left out, since they are not of the size that their annotations are for",
                f"{place} is {size[0]}x{size[1]}, annotated as {_number(said[0])}x{_number(said[1])}",
            )
            return None
        return size

    def _said(self, place: str, said: tuple[object, object] | None) -> Size | None:
        try:
            width, height = (whole(one, "a side") for one in said or (None, None))
            check_size((width, height), place, MAX_PIXELS)
        except (AnnotationError, ImageError) as error:
            self._account.add(
                "pictures were left out, since their annotations give no usable size", f"{place}: {error}"
            )
            return None
        return width, height


def assemble(
    kind: str, places: Places, found: Sequence[RawImage], account: Account, labels: Iterable[str] | None = None
) -> AnnotatedImages:
    """Make the data set.

    Args:
        kind: of data.
        places: where the pictures are.
        found: the pictures; each place once.
        account: what was left out, to which more is added.
        labels: all classes in their order; None sorts those that things have.

    Raises:
        DataError: there is no class.
    """
    if labels is None:
        labels = sorted({one.label for image in found for one in image.things if one.label is not None})
    ids, classes = _classes(labels, account)
    images = []
    for raw in found:
        things: list[Thing] = []
        unsure: set[int] = set()
        for one in raw.things:
            class_id = None if one.label is None else ids.get(one.label)
            if one.label is not None and class_id is None:
                account.add("annotations were left out, since their class is no usable word", one.where)
                continue
            problem = one.problem or _problem(one.shape, raw.size)
            if problem:
                account.add(LEFT_OUT, f"{one.where}: {problem}")
                if class_id is not None and not one.ignore:
                    unsure.add(class_id)
            elif one.shape is not None:
                things.append(Thing(class_id, one.shape, one.ignore))
        key = raw.place[: -len(Path(raw.place).suffix)]
        images.append(AnnotatedImage(key, places.files[raw.place], raw.size, tuple(things), frozenset(unsure)))
    _check_keys(images)
    count_others(places, account)
    if not classes:
        raise DataError(f"The annotations name no class, so there is nothing to learn. ({_said(account)})")
    return AnnotatedImages(kind, classes, images, account)


def polygons_of(
    parts: Sequence[object], size: Size, account: Account, where: str, *, with_line: bool = False
) -> tuple[Shape | None, str]:
    """(shape, problem) of a thing that is drawn as some polygons.

    Parts without an area are passed over where another part has one: tools leave them behind.
    """
    good, problem = [], ""
    for part in parts:
        try:
            good.append(checked_points(part, size))
        except AnnotationError as error:
            problem = problem or str(error)
            if not _is_speck(part):
                return None, problem
    if not good:
        return None, problem or "it has no polygon"
    if problem:
        account.add("polygons of fewer than three points were passed over beside larger ones", where)
    return Polygons(tuple(good), with_line), ""


def tried(make: Callable[[], Shape]) -> tuple[Shape | None, str]:
    """(shape, problem) of a shape whose values are checked when it is made."""
    try:
        return make(), ""
    except AnnotationError as error:
        return None, str(error)


def _problem(shape: Shape | None, size: Size) -> str:
    """Why a shape cannot be drawn; nothing where it can, or is known to be sound."""
    if shape is None or isinstance(shape, Polygons):
        return ""
    try:
        shape.draw(size)
    except AnnotationError as error:
        return str(error)
    return ""


def count_others(places: Places, account: Account) -> None:
    """Count the files among the pictures that may be pictures and cannot be read as one."""
    if places.others:
        reason = "files are no images that can be read, and were passed over"
        account.add(reason, by_suffix(places.others), len(places.others))


def _is_speck(part: object) -> bool:
    return isinstance(part, (list, tuple)) and len(part) in (0, 2, 4) and not any(isinstance(one, dict) for one in part)


def _classes(labels: Iterable[str], account: Account) -> tuple[dict[str, int], tuple[str, ...]]:
    """The class of each label, and the words: two labels of one word are one class."""
    ids: dict[str, int] = {}
    words: dict[str, int] = {}
    for label in labels:
        try:
            asked = clean_classes([label])
        except WordError as error:
            account.add("classes are no usable words", error)
            continue
        for note in asked.notes:
            account.add("classes were changed as they were read", note)
        word = asked.classes[0]
        if word in words and label not in ids:
            account.add("classes were joined with another of the same word", word)
        ids[label] = words.setdefault(word, len(words))
    return ids, tuple(words)


def _check_keys(images: Sequence[AnnotatedImage]) -> None:
    seen: dict[str, AnnotatedImage] = {}
    for one in images:
        other = seen.setdefault(one.key, one)
        if other is not one:
            raise DataError(f"{one.path} and {other.path.name} have the same name. Remove one of them.")


def _said(account: Account) -> str:
    return "; ".join(account.lines()) or "there is none"


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) and abs(value) < 1e9 else ascii(value)[:20]
