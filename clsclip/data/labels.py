"""Pictures whose masks are label maps: one PNG a picture, in which value i + 1 is class i and 255 is to be ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsclip.data.account import Account
from clsclip.data.base import IGNORE
from clsclip.data.files import LastFew, check_same_size, read_image, read_labels
from clsclip.errors import DataError


class LabelledImages:
    """Pictures with label maps; see :class:`clsclip.data.base.MaskDataset`.

    Args:
        name: the kind of data.
        classes: the words.
        files: (name, picture, label map) of every picture.
        advice: what to do about a label map with other values than it may hold.
        prompts: of classes that are asked by other words than their name.
        account: what was left out when the data were read.
        white: the values of masks are 0 and 255, and 255 is the one class.
    """

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        files: Sequence[tuple[str, Path, Path]],
        advice: str,
        prompts: Mapping[str, tuple[str, ...]] | None = None,
        *,
        account: Account | None = None,
        white: bool = False,
    ) -> None:
        self.name, self.classes, self.files, self.advice = name, classes, tuple(files), advice
        self.prompts = dict(prompts or {})
        self.account, self.white = account or Account(), white
        self._shown: dict[int, tuple[int, ...]] = {}
        self._images: LastFew[NDArray[np.uint8]] = LastFew()
        self._labels: LastFew[NDArray[np.uint8]] = LastFew()

    def __len__(self) -> int:
        return len(self.files)

    def key(self, index: int) -> str:
        return self.files[index][0]

    def labels(self, index: int) -> NDArray[np.uint8]:
        """The label map (H, W) uint8: class id + 1, 0 background, 255 ignore."""
        return self._labels.get(index, self._read_labels)

    def know(self, values: Mapping[str, Sequence[int]]) -> None:
        """Take the values of masks that were read before, by the names of their pictures.

        Raises:
            DataError: a mask holds a value that is no class.
        """
        for index, (name, _, path) in enumerate(self.files):
            found = [int(one == IGNORE) for one in values[name]] if self.white else values[name]
            self._check(found, path)
            self._shown[index] = self._classes(found)

    def shown(self, index: int) -> tuple[int, ...]:
        if index not in self._shown:
            self._shown[index] = self._classes(values_of(self.labels(index)))
        return self._shown[index]

    def image(self, index: int) -> NDArray[np.uint8]:
        return self._images.get(index, lambda at: read_image(self.files[at][1]))

    def mask(self, index: int, class_id: int) -> NDArray[np.uint8]:
        labels = self.labels(index)
        check_same_size(self.image(index), labels, self.files[index][2])
        return np.where(labels == IGNORE, IGNORE, labels == class_id + 1).astype(np.uint8)

    def _read_labels(self, index: int) -> NDArray[np.uint8]:
        path = self.files[index][2]
        labels = read_labels(path)
        if self.white:
            labels = (labels == IGNORE).astype(np.uint8)
        self._check(values_of(labels), path)
        return labels

    def _check(self, values: Sequence[int], path: Path) -> None:
        strange = [one for one in values if len(self.classes) < one != IGNORE]
        if strange:
            raise DataError(
                f"{path} holds the value {strange[-1]}, and there are {len(self.classes)} classes. {self.advice}"
            )

    @staticmethod
    def _classes(values: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted({value - 1 for value in values if value not in (0, IGNORE)}))


def values_of(labels: NDArray[np.uint8]) -> list[int]:
    """The values of a label map, ascending."""
    found: list[int] = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=256)).tolist()
    return found
