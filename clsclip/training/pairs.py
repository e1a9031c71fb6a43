"""From a step's plan to tensors: pictures read and preprocessed once each, masks at the size of the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from clsclip.data.base import IGNORE, Fold, possible
from clsclip.errors import ClsclipError, DataError
from clsclip.training.plan import Asked, Plan, absent_words, share
from clsclip_runtime.bundle.specs import ImageSpec
from clsclip_runtime.errors import ClsclipRuntimeError
from clsclip_runtime.images import preprocess

Floats: TypeAlias = NDArray[np.float32]

READING_ERRORS = (ClsclipError, ClsclipRuntimeError, OSError)
"""What a picture or a mask that cannot be read raises."""


@dataclass(frozen=True)
class Piece:
    """A micro-batch, or a process's part of one.

    Attributes:
        pixel_values: (C, 3, S, S) float32.
        crop_index: (P) int64, a row of ``pixel_values``.
        class_index: (P) int64, a position in ``fold.seen``.
        target: (P, h, w) float32 in [0, 1], the share of each cell that is the class.
        weight: (P, h, w) float32 in [0, 1], the share of each cell that counts (is not labelled 255).
        step_pairs: pairs of the whole step, over all pieces: what a sum of losses is divided by. Those of pictures that
            were passed over count, so that all pieces of all processes divide by the same number.
        keys: names of the C pictures.
        passed_over: pictures that could not be read: key, and why.
    """

    pixel_values: Tensor
    crop_index: Tensor
    class_index: Tensor
    target: Tensor
    weight: Tensor
    step_pairs: int
    keys: tuple[str, ...]
    passed_over: tuple[tuple[str, str], ...] = ()

    def to(self, device: torch.device) -> Piece:
        """The same on another device."""
        return Piece(
            self.pixel_values.to(device, non_blocking=True),
            self.crop_index.to(device),
            self.class_index.to(device),
            self.target.to(device),
            self.weight.to(device),
            self.step_pairs,
            self.keys,
            self.passed_over,
        )

    def shared(self) -> Piece | Unshared:
        """The same in memory that processes share; as plain arrays, which go through a pipe, where that is full.

        A process that finds it full only when it hands a tensor over prints an error, and its reader waits for ever.
        """
        tensors = self.pixel_values, self.crop_index, self.class_index, self.target, self.weight
        try:
            for one in tensors:
                one.share_memory_()
        except (RuntimeError, OSError):
            return Unshared(tuple(one.numpy().copy() for one in tensors), self.step_pairs, self.keys, self.passed_over)
        return self


@dataclass(frozen=True)
class Unshared:
    """A piece whose tensors are arrays: in the order of :class:`Piece`, and its other attributes."""

    arrays: tuple[NDArray[Any], ...]
    step_pairs: int
    keys: tuple[str, ...]
    passed_over: tuple[tuple[str, str], ...]

    def piece(self) -> Piece:
        """The piece itself."""
        pixels, crops, classes, target, weight = (torch.from_numpy(one) for one in self.arrays)
        return Piece(pixels, crops, classes, target, weight, self.step_pairs, self.keys, self.passed_over)


@dataclass(frozen=True)
class Failed:
    """Why a piece could not be made: a worker process hands errors over as text, without its traceback."""

    message: str


class Pieces(Dataset[Piece | Unshared | Failed]):
    """Piece ``n`` is micro-batch ``n % accumulate`` of step ``n // accumulate``, this process's part of it.

    A picture that cannot be read is passed over, with all that is asked of it: the same in every run, so that resumed
    runs stay equal.

    Args:
        fold: the data.
        plan: of the run.
        spec: preprocessing; the runtime's own.
        side: h = w, cells of the mask logits.
        rank: number of this process.
        processes: how many there are.
        strict: fail where a picture cannot be read.
    """

    def __init__(
        self,
        fold: Fold,
        plan: Plan,
        spec: ImageSpec,
        side: int,
        rank: int = 0,
        processes: int = 1,
        *,
        strict: bool = False,
    ) -> None:
        self.fold, self.plan, self.spec, self.side = fold, plan, spec, side
        self.rank, self.processes, self.strict = rank, processes, strict
        self.row = {class_id: row for row, class_id in enumerate(fold.seen)}

    def __getitem__(self, index: int) -> Piece | Unshared | Failed:
        step, micro = divmod(index, self.plan.config.accumulate)
        asked = self.plan.step(step)
        part = micro * self.processes + self.rank
        mine = share(asked, part, self.plan.config.accumulate * self.processes)
        try:
            piece = self.make(mine, sum(one.pairs for one in asked))
        except READING_ERRORS as error:
            return Failed(str(error))
        return piece if get_worker_info() is None else piece.shared()

    def make(self, asked: list[Asked], step_pairs: int) -> Piece:
        """Read pictures and masks; a picture is read, resized and (later) encoded once for all its words."""
        images: list[_ImageWork] = []
        passed_over: list[tuple[str, str]] = []
        for one in asked:
            try:
                images.append(self.image(one))
            except READING_ERRORS as error:
                if self.strict:
                    raise
                passed_over.append((self.fold.train.key(one.image), str(error)))
        size, side = self.spec.size, self.side
        crops = [crop for crop, one in enumerate(images) for _ in one.rows]
        return Piece(
            stacked([one.pixels for one in images], (3, size, size)),
            torch.tensor(crops, dtype=torch.int64),
            torch.tensor([row for one in images for row in one.rows], dtype=torch.int64),
            stacked([cells for one in images for cells in one.target], (side, side)),
            stacked([counts for one in images for counts in one.weight], (side, side)),
            step_pairs,
            tuple(one.key for one in images),
            tuple(passed_over),
        )

    def image(self, one: Asked) -> _ImageWork:
        """One picture of a step with its masks.

        Raises:
            DataError: it or a mask cannot be read, or they do not fit each other.
        """
        data, side = self.fold.train, self.side
        key = data.key(one.image)
        image = check_image(data.image(one.image), key)
        values = preprocess(Image.fromarray(image), self.spec)
        target, weight = [], []
        for word in one.present:
            mask = check_mask(data.mask(one.image, word), image, key, data.classes[word])
            cells, counts = mask_cells(mask, side)
            target.append(cells[:, ::-1] if one.flip else cells)
            weight.append(counts[:, ::-1] if one.flip else counts)
        absent = absent_words(one, tuple(possible(data, one.image)), self.fold.seen) if one.absent else []
        target += [np.zeros((side, side), dtype=np.float32)] * len(absent)
        weight += [np.ones((side, side), dtype=np.float32)] * len(absent)
        rows = [self.row[word] for word in (*one.present, *absent)]
        return _ImageWork(key, values[:, :, ::-1] if one.flip else values, rows, target, weight)


@dataclass(frozen=True)
class _ImageWork:
    """A picture of a piece: pixels (3, S, S), and for each pair the word's row, target and weight (h, w)."""

    key: str
    pixels: Floats
    rows: list[int]
    target: list[Floats]
    weight: list[Floats]


def stacked(arrays: list[Floats], shape: tuple[int, ...]) -> Tensor:
    """(n, *shape) float32, n = 0 included: a process may have no picture of a small step."""
    return torch.from_numpy(np.stack(arrays) if arrays else np.empty((0, *shape), dtype=np.float32))


def mask_cells(mask: NDArray[np.uint8], side: int) -> tuple[Floats, Floats]:
    """A mask averaged over the cells of the logits, squashed to a square as the picture is.

    Args:
        mask: (H, W) uint8: 1 the class, 0 not, 255 ignore.
        side: cells a side.

    Returns:
        share of each cell's counted area that is the class, and share of the cell that counts; (side, side) float32.
    """
    ignored = mask == IGNORE
    # Averaged straight from the mask's own size: one average is closer than two resizings. Pillow takes whole pixels
    # into a cell, so that a cell's share is off by 0.001 on average.
    ones = box_average((mask == 1).astype(np.float32), side)
    if not ignored.any():
        return ones, np.ones((side, side), dtype=np.float32)
    counted = 1 - box_average(ignored.astype(np.float32), side)
    return np.clip(ones / np.maximum(counted, np.float32(1e-6)), 0, 1), counted


def box_average(values: Floats, side: int) -> Floats:
    """(H, W) -> (side, side), each cell the mean of the whole pixels that lie in it."""
    small = Image.fromarray(values).resize((side, side), Image.Resampling.BOX)
    return np.clip(np.asarray(small, dtype=np.float32), 0, 1)


def check_image(image: NDArray[np.uint8], key: str) -> NDArray[np.uint8]:
    """The picture, if it is (H, W, 3) uint8 with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise DataError(f"{key}: a picture must be (H, W, 3) uint8, and it is {image.shape} {image.dtype}.")
    return np.ascontiguousarray(image)


def check_mask(mask: NDArray[np.uint8], image: NDArray[np.uint8], key: str, word: str) -> NDArray[np.uint8]:
    """The mask, if it has the picture's size; any value but 1 and 255 is background."""
    if mask.shape != image.shape[:2]:
        raise DataError(
            f"{key}: the mask of {word!r} is {mask.shape}, and the picture is {image.shape[:2]}. "
            "Both must have the same height and width."
        )
    return mask
