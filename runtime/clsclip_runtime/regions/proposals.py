"""Boxes where things may be, from a detector or a person, before any word is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Floats
from clsclip_runtime.errors import OptionError
from clsclip_runtime.options import is_name
from clsclip_runtime.renamed import OldNames, tells_new_names
from clsclip_runtime.text.matching import is_class_agnostic

_FAR = 1e9
_NEAR = 0.01
"""How far shares of an image may leave 0..1."""

_SMALL = 4
"""Pixels: a box of one is no mistake in an image of this size."""

_FAR_BEYOND = 1.25
"""Times the image: detectors and hands leave it by less."""

ANY = -1
"""The class of a box that may be anything: every word is asked of it."""


@tells_new_names
@dataclass(frozen=True, eq=False)
class Proposals(metaclass=OldNames):
    """Boxes of one picture.

    Attributes:
        boxes: (N, 4) float32 xyxy in pixels; any numbers, also outside the picture.
        scores: (N,) float32 in 0..1; 1 where nobody gave one.
        classes: (N,) int64, positions in ``names``, or -1 where every word is to be asked of the box.
        names: what the source calls its classes.
        source: where the boxes come from, for people.
        notes: what had to be assumed about the source, for the user.
    """

    boxes: Floats
    scores: Floats
    classes: npt.NDArray[np.int64]
    names: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.boxes)
        fits = self.boxes.shape == (count, 4) and self.scores.shape == self.classes.shape == (count,)
        if not fits or (count and not (self.classes.min() >= ANY and self.classes.max() < len(self.names))):
            raise OptionError(
                "proposals need boxes (N, 4), scores (N,) and classes (N,), -1 or positions in their names"
            )

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.boxes)

    @classmethod
    def from_boxes(
        cls,
        boxes: npt.ArrayLike,
        names: Sequence[str | None] | None = None,
        scores: npt.ArrayLike | None = None,
        source: str = "boxes",
    ) -> Proposals:
        """Make proposals of a person's own boxes.

        Args:
            boxes: (N, 4) xyxy in pixels. Not x, y, width, height, and not shares of the image.
            names: the class of every box; None, or a None or "object" among them, for boxes of which every word is
                asked.
            scores: (N,) in 0..1; None is 1 for all.
            source: where they come from, for people.

        Raises:
            OptionError: shapes or numbers do not fit.
        """
        corners = _floats("regions", boxes)
        if corners.size == 0:
            corners = corners.reshape(0, 4)
        if corners.ndim != 2 or corners.shape[1] != 4:
            raise OptionError(f"regions must be boxes (N, 4) xyxy in pixels, and their shape is {corners.shape}")
        count = len(corners)
        given = [None] * count if names is None else list(names)
        weights = np.ones(count, np.float32) if scores is None else _floats("scores of regions", scores)
        if len(given) != count or weights.shape != (count,):
            raise OptionError(f"{count} boxes need {count} names and scores, not {len(given)} and {weights.shape}")
        if not ((weights >= 0) & (weights <= 1)).all():
            raise OptionError("scores of regions must be numbers from 0 to 1")
        if not all(name is None or isinstance(name, str) for name in given):
            raise OptionError("names of regions must be texts, or None for boxes that may be anything")
        bad = next((name for name in given if name is not None and name.strip() and not is_name(name, 1 << 20)), None)
        if bad is not None:
            raise OptionError(
                f"names of regions must have no control characters and line breaks, and one is {bad[:40]!a}"
            )
        known = tuple(name for name in dict.fromkeys(given) if name is not None and not is_class_agnostic([name]))
        number = {name: at for at, name in enumerate(known)}
        classes = np.array([ANY if name is None else number.get(name, ANY) for name in given], np.int64).reshape(count)
        return cls(corners, weights, classes, known, source)

    def anonymous(self) -> Proposals:
        """Return the same boxes without their classes: every word is asked of each."""
        return replace(self, classes=np.full(len(self), ANY, np.int64), names=())


def as_proposals(regions: Any, size: tuple[int, int]) -> Proposals:
    """The boxes that a caller gives of one image, checked against its size.

    Args:
        regions: ``Proposals`` as they are, and boxes (N, 4) as proposals of which every word is asked.
        size: (width, height) of the image, in pixels.

    Raises:
        OptionError: they are no boxes, or are not xyxy in pixels: some end before they begin, or all lie in 0..1.
    """
    proposals = regions if isinstance(regions, Proposals) else Proposals.from_boxes(regions)
    boxes = np.asarray(proposals.boxes, np.float64)
    backwards = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if len(backwards):
        at = int(backwards[0])
        raise OptionError(
            f"box {at} of the regions, {_shown(boxes[at])}, ends before it begins: boxes are x0, y0, x1, y1. If these "
            "are x, y, width, height, give: numpy.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])"
        )
    width, height = size
    full = boxes[np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    if len(full) and min(size) > _SMALL and full.min() >= -_NEAR and full.max() <= 1 + _NEAR:
        raise OptionError(
            f"all regions lie in 0..1, such as {_shown(full[0])}, and boxes are in pixels of the image. If these are "
            f"shares of it, give: boxes * [{width}, {height}, {width}, {height}]"
        )
    return _with_note_of_far_boxes(proposals, full, size)


def _with_note_of_far_boxes(proposals: Proposals, boxes: npt.NDArray[np.float64], size: tuple[int, int]) -> Proposals:
    """A note where boxes begin in the image and end far beyond it, as xyxy taken for xywh, or the reverse, would."""
    limit = np.array(size, np.float64)
    inside = (boxes[:, :2] < limit).all(axis=1)
    count = int((inside & (boxes[:, 2:] > limit * _FAR_BEYOND).any(axis=1)).sum())
    if not count:
        return proposals
    note = (
        f"{count} of {len(boxes)} boxes end far beyond the image of {size[0]}x{size[1]} pixels, and were cut there. In "
        "Python boxes are x0, y0, x1, y1, in JSON x, y, width, height: check which these are"
    )
    return replace(proposals, notes=(*proposals.notes, note))


def _shown(box: npt.NDArray[np.float64]) -> str:
    return f"[{', '.join(f'{value:g}' for value in box)}]"


def _floats(what: str, values: npt.ArrayLike) -> Floats:
    try:
        # Boxes of 1e39 are cut at the picture's edges like others; as float32 they would be infinite.
        exact = np.asarray(values, dtype=np.float64)
        return np.where(np.isfinite(exact), np.clip(exact, -_FAR, _FAR), exact).astype(np.float32)
    except (OverflowError, TypeError, ValueError) as error:
        raise OptionError(f"{what} must be numbers ({error})") from error
