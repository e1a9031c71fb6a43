"""Every kind of data by its name, the sticker world included: one function opens a fold of any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clsclip.data.base import Fold
from clsclip.errors import DataError
from clsclip.reproduce.dataset import StickerOptions

__all__ = ["FOLDS_OF", "KINDS", "OWN", "StickerOptions", "open_fold"]

KINDS = ("folder", "coco", "labelstudio", "yolo", "labelme", "pascal", "stickers")

OWN = ("folder", "coco", "labelstudio", "yolo", "labelme")
"""Kinds of data of one's own; "coco" where annotations are given."""

FOLDS_OF = {one: (0, 1, 2, 3) if one in ("pascal", "coco", "stickers") else (-1,) for one in KINDS}
"""The folds of each kind of data; -1 where there is only one, without number. (Stickers with all words, and a COCO
document of one's own: -1.)
"""


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
    annotations: Path | None = None,
    images: Path | None = None,
) -> Fold:
    """One split of a data set.

    Args:
        kind: one of :data:`KINDS`.
        root: the VOC2012 folder, COCO's folder, the folder of one's own, or the folder of sticker packages.
        fold: its number; read by "pascal", by "coco" without ``annotations``, and by "stickers" of some words.
        splits: pascal only: folder of the customary lists; None makes them from the masks.
        allow_missing: go on without absent pictures and masks, and say how many.
        part: "train" or "test" reads only that side, and leaves the other empty; "both" reads both.
        novel: data of one's own only: names of the classes held out of training.
        stickers: stickers only: what the pictures look like.
        annotations: coco and labelstudio: the file. With it, coco is a document of one's own, and nothing else.
        images: where the pictures of ``annotations`` are; None looks beside it.

    Raises:
        DataError: there is no such data, fold or class, or files are absent or damaged.
    """
    if kind not in KINDS:
        raise DataError(f"There is no data of kind {kind!r}. Choose one of: {', '.join(KINDS)}.")
    if part not in ("train", "test", "both"):
        raise DataError(f"There is no part {part!r}. Choose train, test or both.")
    if kind in OWN and (kind != "coco" or annotations is not None):
        from clsclip.data.own import open_own

        return open_own(
            kind,
            root,
            annotations=annotations,
            images=images,
            novel=novel,
            allow_missing=allow_missing,
            part=part,
        )
    if root is None:
        raise DataError(f"Data of kind {kind!r} is read from a folder. Give it: --root FOLDER")
    if kind == "pascal":
        from clsclip.data.pascal import open_pascal

        return open_pascal(root, fold, splits=splits, allow_missing=allow_missing, part=part)
    if kind == "coco":
        from clsclip.data.coco import open_coco

        return open_coco(root, fold, allow_missing=allow_missing, part=part)
    from clsclip.reproduce.dataset import open_stickers

    return open_stickers(root, fold, stickers, part=part)
