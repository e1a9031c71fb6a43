"""Pictures whose masks are drawn from annotations: polygons, runs, brushes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsclip.data.account import Account
from clsclip.data.base import IGNORE
from clsclip.data.files import LastFew, read_image
from clsclip.data.shapes import Polygons, Shape, Size
from clsclip.errors import DataError
from clsclip_runtime.masks.rle import RleMask


@dataclass(frozen=True, eq=False, slots=True)
class Thing:
    """One annotated thing.

    Attributes:
        class_id: of its class; None for what belongs to no class and is to be ignored by all.
        shape: its mask.
        ignore: its pixels count neither as the class nor as background.
    """

    class_id: int | None
    shape: Shape
    ignore: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class AnnotatedImage:
    """A picture and its things.

    Attributes:
        key: its name, unique in the data.
        path: of its file.
        size: (width, height).
        things: drawn in any order; they may overlap.
        unsure: ids of classes of which a thing was left out: what the others show is not all of it.
    """

    key: str
    path: Path
    size: Size
    things: tuple[Thing, ...]
    unsure: frozenset[int] = frozenset()


class AnnotatedImages:
    """Pictures with annotations; see :class:`clsclip.data.base.MaskDataset`.

    Args:
        name: the kind of data.
        classes: the words.
        images: all of them.
        account: what was left out when they were read.
        prompts: of classes that are asked by other words than their name.
    """

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        images: Sequence[AnnotatedImage],
        account: Account | None = None,
        prompts: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.name, self.classes, self.images = name, classes, tuple(images)
        self.account = account or Account()
        self.prompts = dict(prompts or {})
        self._shown: dict[int, tuple[int, ...]] = {}
        self._read: LastFew[NDArray[np.uint8]] = LastFew()

    def __len__(self) -> int:
        return len(self.images)

    def key(self, index: int) -> str:
        return self.images[index].key

    def shown(self, index: int) -> tuple[int, ...]:
        if index not in self._shown:
            one = self.images[index]
            found: set[int] = set()
            for thing in one.things:
                known = thing.class_id is None or thing.class_id in found or thing.class_id in one.unsure
                if not thing.ignore and not known and is_visible(thing, one.size):
                    found.add(thing.class_id)  # type: ignore[arg-type]
            self._shown[index] = tuple(sorted(found))
        return self._shown[index]

    def unsure(self, index: int) -> frozenset[int]:
        """Ids of classes that the picture may show, although nothing of them can be asked."""
        one = self.images[index]
        ignored = {thing.class_id for thing in one.things if thing.ignore and thing.class_id is not None}
        return (one.unsure | ignored) - frozenset(self.shown(index))

    def image(self, index: int) -> NDArray[np.uint8]:
        return self._read.get(index, self._read_image)

    def runs(self, index: int, class_id: int | None, *, ignored: bool = False) -> RleMask:
        """The pixels of all things of a class that count, or of those that do not."""
        one = self.images[index]
        drawn = [
            thing.shape.draw(one.size) for thing in one.things if thing.class_id == class_id and thing.ignore == ignored
        ]
        return RleMask.joined(one.size, drawn)

    def mask(self, index: int, class_id: int) -> NDArray[np.uint8]:
        mask = self.runs(index, class_id).mask().astype(np.uint8)
        for hidden in (self.runs(index, one, ignored=True) for one in (class_id, None)):
            if hidden.area:
                mask[hidden.mask() & (mask == 0)] = IGNORE
        return mask

    def label_map(self, index: int) -> NDArray[np.uint8]:
        """(H, W) uint8: class id + 1 of every pixel, 0 for none; smaller things lie on top of larger ones.

        What is to be ignored is 255 where nothing else is.
        """
        one = self.images[index]
        labels = np.zeros((one.size[1], one.size[0]), np.uint8)
        for ignored in (True, False):
            drawn = [(thing.shape.draw(one.size), thing) for thing in one.things if thing.ignore == ignored]
            for runs, thing in sorted(drawn, key=lambda pair: -pair[0].area):
                labels[runs.mask()] = IGNORE if ignored or thing.class_id is None else thing.class_id + 1
        return labels

    def _read_image(self, index: int) -> NDArray[np.uint8]:
        one = self.images[index]
        pixels = read_image(one.path)
        if (pixels.shape[1], pixels.shape[0]) != one.size:
            raise DataError(
                f"{one.path} is {pixels.shape[1]}x{pixels.shape[0]}, and its annotations are for "
                f"{one.size[0]}x{one.size[1]}. Get the picture in its original size."
            )
        return pixels


def is_visible(thing: Thing, size: Size) -> bool:
    """Whether a thing has a pixel in an image of ``size``."""
    if isinstance(thing.shape, Polygons) and thing.shape.surely_visible(size):
        return True
    return thing.shape.draw(size).area > 0
