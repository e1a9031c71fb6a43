"""Every kind of data by its name, the sticker world included: one function opens a fold of any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clsclip.data.base import Fold
from clsclip.errors import DataError
from clsclip.reproduce.dataset import StickerOptions

__all__ = ["FOLDS_OF", "KINDS", "StickerOptions", "open_fold"]

KINDS = ("pascal", "coco", "folder", "stickers")

FOLDS_OF = {"pascal": (0, 1, 2, 3), "coco": (0, 1, 2, 3), "folder": (-1,), "stickers": (0, 1, 2, 3)}
"""The folds of each kind of data; -1 where there is only one, without number. (Stickers with all words: -1.)"""


def open_fold(
    kind: str,
    root: Path | None,
    fold: int,
    *,
    splits: Path | None = None,
    allow_missing: bool = False,
    part: str = "both",
    novel: Sequence[str] | None = None,
    stickers: StickerOptions | None = None,
) -> Fold:
    """One split of a data set.

    Args:
        kind: "pascal", "coco", "folder" or "stickers".
        root: the VOC2012 folder, COCO's folder, the folder of one's own, or the folder of sticker packages.
        fold: its number; not read by "folder", nor by "stickers" with all words.
        splits: pascal only: folder of the customary lists; None makes them from the masks.
        allow_missing: go on without absent pictures and masks, and say how many.
        part: "train" or "test" reads only that side, and leaves the other empty; "both" reads both.
        novel: folder only: names of the classes held out of training.
        stickers: stickers only: what the pictures look like.

    Raises:
        DataError: there is no such data, fold or class, or files are absent or damaged.
    """
    if kind not in KINDS:
        raise DataError(f"There is no data of kind {kind!r}. Choose one of: {', '.join(KINDS)}.")
    if part not in ("train", "test", "both"):
        raise DataError(f"There is no part {part!r}. Choose train, test or both.")
    if root is None:
        raise DataError(f"Data of kind {kind!r} is read from a folder. Give it: --root FOLDER")
    if kind == "pascal":
        from clsclip.data.pascal import open_pascal

        return open_pascal(root, fold, splits=splits, allow_missing=allow_missing, part=part)
    if kind == "coco":
        from clsclip.data.coco import open_coco

        return open_coco(root, fold, allow_missing=allow_missing, part=part)
    if kind == "folder":
        from clsclip.data.folder import open_folder

        return open_folder(root, novel=novel, allow_missing=allow_missing, part=part)
    from clsclip.reproduce.dataset import open_stickers

    return open_stickers(root, fold, stickers, part=part)
