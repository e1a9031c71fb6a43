"""What a segmentation found: masks, presence scores, and ways to save them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.errors import OptionError
from clsclip_runtime.images import Picture
from clsclip_runtime.masks import Bools, Floats, labels_at, mask_at


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Masks of K words in one picture of H x W pixels.

    Attributes:
        classes: the K words as cleaned, in the order asked.
        presence: (K,) float32 in 0..1, how likely each word is in the picture; None if the bundle has no gate.
        present: (K,) bool, words at or above ``presence_threshold``. The others have an empty mask.
        present_index: (P,) int64, the positions of the present words in ``classes``.
        present_logits: (P, h, w) float32 at the model's resolution. Words that are not present were never run
            through the trunk, so they have none; ``logits`` gives all K.
        cut: the logit that a pixel must exceed to belong to a word.
        picture: the upright RGB picture and its source.
        model: name of the bundle.
        backend: name of the engine.
        presence_threshold: the threshold that was used; None if the bundle has no gate.
        notes: sentences for the user, such as words that were cut off.
        timings: milliseconds by step: read, image, text, presence, masks, total. ``predict`` has no read and
            image, which belong to ``set_image``.
    """

    classes: tuple[str, ...]
    presence: Floats | None
    present: Bools
    present_index: npt.NDArray[np.int64]
    present_logits: Floats
    cut: float
    picture: Picture
    model: str
    backend: str
    presence_threshold: float | None
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Where the picture came from: its path, or a name such as ``<array>``."""
        return self.picture.source

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture and of the masks, in pixels."""
        width, height = self.picture.image.size
        return width, height

    @property
    def logits(self) -> Floats:
        """(K, h, w) float32 at the model's resolution, never NaN; -inf throughout for words that are not present."""
        logits = np.full((len(self.classes), *self.present_logits.shape[1:]), -np.inf, dtype=np.float32)
        logits[self.present_index] = self.present_logits
        return logits

    def index(self, word: str | int) -> int:
        """Position of a word in ``classes``; a position is checked. OptionError if there is none."""
        if isinstance(word, str):
            if word not in self.classes:
                raise OptionError(f"'{word}' was not asked. The words are: {', '.join(self.classes)}")
            return self.classes.index(word)
        at = int(word)
        if not -len(self.classes) <= at < len(self.classes):
            raise OptionError(f"there is no word number {at}: {len(self.classes)} were asked, counted from 0")
        return at % len(self.classes)

    def mask(self, word: str | int) -> Bools:
        """Mask (H, W) bool of one word, by name or position."""
        return self.mask_at_size(word, self.size)

    def mask_at_size(self, word: str | int, size: tuple[int, int]) -> Bools:
        """Mask (height, width) bool of one word at another ``size`` = (width, height)."""
        at = self.index(word)
        if not self.present[at]:
            return np.zeros((size[1], size[0]), dtype=np.bool_)
        row = int(np.searchsorted(self.present_index, at))
        return mask_at(self.present_logits[row], size, self.cut)

    @cached_property
    def masks(self) -> Bools:
        """(K, H, W) bool, made when first asked for; with many words or pixels prefer ``mask``, one at a time."""
        width, height = self.size
        masks = np.zeros((len(self.classes), height, width), dtype=np.bool_)
        for at in self.present_index:
            masks[at] = self.mask(int(at))
        return masks

    @cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """(K,) int64, pixels of each word's mask."""
        areas = np.zeros(len(self.classes), dtype=np.int64)
        for at in self.present_index:
            areas[at] = np.count_nonzero(self.mask(int(at)))
        return areas

    @property
    def percents(self) -> npt.NDArray[np.float64]:
        """(K,) float64, share of the picture that each word's mask covers, in percent."""
        width, height = self.size
        return self.areas.astype(np.float64) * (100.0 / (width * height))

    @property
    def verdicts(self) -> tuple[str, ...]:
        """``found``; ``absent`` (below the presence threshold); ``no pixels`` (present, yet the mask is empty)."""
        return tuple(
            "absent" if not present else "found" if area else "no pixels"
            for present, area in zip(self.present, self.areas, strict=True)
        )

    def labels(self, size: tuple[int, int] | None = None) -> npt.NDArray[np.int32]:
        """Label map (H, W) int32: 0 for none, else 1 + the position of the strongest word at that pixel.

        Args:
            size: (width, height) in pixels; None is the picture's.
        """
        return labels_at(self.present_logits, self.present_index, size or self.size, self.cut)

    def to_json(self) -> dict[str, Any]:
        """All but the masks, as plain JSON types: areas in pixels and percent, boxes xywh in pixels or null."""
        width, height = self.size
        words = []
        for at, (word, verdict) in enumerate(zip(self.classes, self.verdicts, strict=True)):
            words.append(
                {
                    "word": word,
                    "presence": None if self.presence is None else round(float(self.presence[at]), 6),
                    "present": bool(self.present[at]),
                    "verdict": verdict,
                    "area": int(self.areas[at]),
                    "area_percent": round(float(self.percents[at]), 4),
                    "box": bounding_box(self.mask(at)) if self.areas[at] else None,
                }
            )
        return {
            "source": readable(self.source),
            "width": width,
            "height": height,
            "model": self.model,
            "backend": self.backend,
            "presence_threshold": self.presence_threshold,
            "classes": words,
            "notes": list(self.notes),
            "timings_ms": {name: round(value, 3) for name, value in self.timings.items()},
        }

    def to_coco(self, image_id: int = 1) -> dict[str, Any]:
        """A COCO document of this picture; masks as compressed RLE, one annotation for each mask with pixels.

        ``category_id`` is 1 + the word's position. Scores, where there are any, are presence scores.

        Raises:
            OutputError: pycocotools is not installed.
        """
        from clsclip_runtime.coco import coco_document

        return coco_document(self, image_id)

    def overlay(self) -> Any:
        """The picture with its masks and a legend, as an RGB ``PIL.Image.Image``."""
        from clsclip_runtime.render import overlay

        return overlay(self)

    def save(
        self,
        folder: str | os.PathLike[str],
        formats: str | Sequence[str] = ("png", "overlay"),
        stem: str | None = None,
    ) -> list[Path]:
        """Write files into ``folder``, which is made if need be; existing ones are replaced.

        Args:
            folder: where to.
            formats: any of ``png`` (a black and white mask per word), ``overlay`` (picture, masks and legend),
                ``labels`` (label map), ``coco`` (JSON with RLE), ``npz`` (arrays).
            stem: how the names begin; None takes the source's name.

        Returns:
            The files' paths. Each appears complete or not at all.

        Raises:
            OptionError: a format is unknown, or ``stem`` is not a plain file name.
            OutputError: the folder cannot be made or written.
        """
        from clsclip_runtime.saving import save

        return save(self, Path(folder), formats, stem)

    def __repr__(self) -> str:
        """Short, whatever the number of words."""
        width, height = self.size
        return (
            f"Result({self.source!r}, {width}x{height}, {len(self.present_index)} of {len(self.classes)} words present)"
        )


def readable(path: str | os.PathLike[str]) -> str:
    """A path as valid Unicode, for JSON: file names may hold any bytes."""
    return os.fspath(path).encode("utf-8", "replace").decode("utf-8")


def bounding_box(mask: Bools) -> list[int]:
    """Box [x, y, width, height] in pixels of a mask (H, W) that has pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
