"""Pictures whose masks are label maps: one PNG a picture, in which value i + 1 is class i and 255 is to be ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsclip.data.base import IGNORE
from clsclip.data.files import LastFew, check_same_size, read_labels, read_picture
from clsclip.errors import DataError


class LabelledPictures:
    """Pictures with label maps; see :class:`clsclip.data.base.MaskDataset`.

    Args:
        name: the kind of data.
        classes: the words.
        files: (name, picture, label map) of every picture.
        advice: what to do about a label map with other values than it may hold.
        prompts: of classes that are asked by other words than their name.
    """

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        files: Sequence[tuple[str, Path, Path]],
        advice: str,
        prompts: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.name, self.classes, self.files, self.advice = name, classes, tuple(files), advice
        self.prompts = dict(prompts or {})
        self._shown: dict[int, tuple[int, ...]] = {}
        self._pictures: LastFew[NDArray[np.uint8]] = LastFew()
        self._labels: LastFew[NDArray[np.uint8]] = LastFew()

    def __len__(self) -> int:
        return len(self.files)

    def key(self, index: int) -> str:
        return self.files[index][0]

    def labels(self, index: int) -> NDArray[np.uint8]:
        """The label map (H, W) uint8: class id + 1, 0 background, 255 ignore."""
        return self._labels.get(index, self._read_labels)

    def shown(self, index: int) -> tuple[int, ...]:
        if index not in self._shown:
            values = np.unique(self.labels(index)).tolist()
            self._shown[index] = tuple(value - 1 for value in values if value not in (0, IGNORE))
        return self._shown[index]

    def picture(self, index: int) -> NDArray[np.uint8]:
        return self._pictures.get(index, lambda at: read_picture(self.files[at][1]))

    def mask(self, index: int, class_id: int) -> NDArray[np.uint8]:
        labels = self.labels(index)
        check_same_size(self.picture(index), labels, self.files[index][2])
        return np.where(labels == IGNORE, IGNORE, labels == class_id + 1).astype(np.uint8)

    def _read_labels(self, index: int) -> NDArray[np.uint8]:
        path = self.files[index][2]
        labels = read_labels(path)
        strange = np.setdiff1d(np.unique(labels), [*range(len(self.classes) + 1), IGNORE])
        if len(strange):
            raise DataError(
                f"{path} holds the value {int(strange[-1])}, and there are {len(self.classes)} classes. {self.advice}"
            )
        return labels
