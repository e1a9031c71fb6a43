"""What data hold, class by class, and what was left out of them: seen before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from clsclip.data.account import Account
from clsclip.data.annotated import AnnotatedImages
from clsclip.data.base import MaskDataset
from clsclip.data.labels import LabelledImages
from clsclip.errors import DataError

_SHOWN_CLASSES = 60


@dataclass
class ClassSummary:
    """One class in some pictures.

    Attributes:
        name: its word.
        images: that show it.
        instances: annotated things; of masks, which do not tell them apart, the pictures.
        pixels: of all of them.
        smallest: pixels of the smallest one; None where there is none.
        smallest_in: the picture that it is in.
    """

    name: str
    images: int = 0
    instances: int = 0
    pixels: int = 0
    smallest: int | None = None
    smallest_in: str = ""

    def count(self, area: int, key: str, instances: int = 1) -> None:
        """Count a thing, or what a mask shows of the class."""
        self.instances += instances
        self.pixels += area
        if self.smallest is None or area < self.smallest:
            self.smallest, self.smallest_in = area, key


@dataclass
class Summary:
    """Of a data set.

    Attributes:
        images: how many there are.
        counted: how many of them the figures are of: fewer where time was short.
        pixels: of the pictures that were counted.
        without: counted pictures that show no class.
        things: things are told apart, so that instances are more than pictures.
        classes: one for each class, in their order.
        account: what was left out when the data were read.
    """

    images: int
    counted: int = 0
    pixels: int = 0
    without: int = 0
    things: bool = False
    classes: list[ClassSummary] = field(default_factory=list)
    account: Account = field(default_factory=Account)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "pictures": self.images,
            "counted": self.counted,
            "pixels": self.pixels,
            "without_class": self.without,
            "classes": [self._row(one) for one in self.classes],
            "notes": self.account.lines(),
        }

    def _row(self, one: ClassSummary) -> dict[str, Any]:
        row = asdict(one) | {"share": self.share(one)}
        return row | {"pictures": row.pop("images")}

    def share(self, one: ClassSummary) -> float:
        """The share of all counted pixels that are of a class."""
        return round(one.pixels / self.pixels, 6) if self.pixels else 0.0

    def lines(self) -> Iterator[str]:
        """A table for people, then what was left out."""
        shown = sorted(self.classes, key=lambda one: one.images)[: max(0, len(self.classes) - _SHOWN_CLASSES)]
        rare = {id(one) for one in shown}
        width = max([5, *(len(one.name) for one in self.classes)])
        unit = "instances" if self.things else "masks"
        yield f"{'class':{width}}  pictures  {unit:>9}  pixels  smallest thing"
        for one in self.classes:
            if id(one) in rare and len(self.classes) > _SHOWN_CLASSES:
                continue
            smallest = "-" if one.smallest is None else f"{one.smallest:,} px in {one.smallest_in}"
            share = _percent(self.share(one))
            yield f"{one.name:{width}}  {one.images:8,}  {one.instances:9,}  {share:>6}  {smallest}"
        if rare:
            yield f"and {len(rare):,} classes that are in fewer pictures: --json lists all"
        more = f" (figures of {self.counted:,} of them)" if self.counted < self.images else ""
        yield f"{self.images:,} pictures{more}, {self.without:,} of them without a class"
        never = [one.name for one in self.classes if not one.images]
        if never and self.counted == self.images:
            yield f"note: no picture shows {', '.join(never[:8])}{', ...' if len(never) > 8 else ''}"
        for line in self.account.lines():
            yield f"note: {line}"


def summarize(
    data: MaskDataset,
    *,
    seconds: float | None = None,
    only: Collection[int] | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> Summary:
    """Count what a data set holds.

    Args:
        data: it.
        seconds: end after so many, with the pictures that were counted until then; they are taken from all over the
            data. None counts all.
        only: ids of the classes to count, as those that are trained; None counts all.
        progress: is told how many pictures are done.
    """
    found = Summary(len(data), classes=[ClassSummary(name) for name in data.classes])
    found.things = isinstance(data, AnnotatedImages)
    account = getattr(data, "account", None)
    if account is not None:
        found.account.merge(account)
    end = None if seconds is None else time.monotonic() + seconds
    order = range(len(data)) if end is None else np.random.default_rng(0).permutation(len(data)).tolist()
    for done, index in enumerate(order, 1):
        if end is not None and time.monotonic() > end:
            break
        found.counted = done
        try:
            _count(found, data, index, only)
        except DataError as error:  # training passes it over, too
            found.account.add("pictures could not be counted", error)
        progress(done)
    if only is not None:
        found.classes = [one for at, one in enumerate(found.classes) if at in only]
    return found


def _count(found: Summary, data: MaskDataset, index: int, only: Collection[int] | None) -> None:
    shown = [one for one in data.shown(index) if only is None or one in only]
    found.without += not shown
    if isinstance(data, AnnotatedImages):
        one = data.images[index]
        found.pixels += one.size[0] * one.size[1]
        for class_id in shown:
            for thing in one.things:
                if thing.class_id == class_id and not thing.ignore and (area := thing.shape.draw(one.size).area):
                    found.classes[class_id].count(area, one.key)
    elif isinstance(data, LabelledImages):
        counts = np.bincount(data.labels(index).reshape(-1), minlength=256)
        found.pixels += int(counts.sum())
        for class_id in shown:
            found.classes[class_id].count(int(counts[class_id + 1]), data.key(index))
    else:
        for class_id in shown:
            mask = data.mask(index, class_id)
            found.classes[class_id].count(int((mask == 1).sum()), data.key(index))
        found.pixels += mask.size if shown else 0
    for class_id in shown:
        found.classes[class_id].images += 1


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.001 or not share else f"{100 * share:.2g}%"
