"""Pictures with masks: PASCAL-5i, COCO-20i and a folder of one's own, all as a :class:`Fold`."""

from __future__ import annotations

from clsclip.data.base import IGNORE, Fold, MaskDataset
from clsclip.data.groups import GROUPS, asking

__all__ = ["GROUPS", "IGNORE", "Fold", "MaskDataset", "asking"]
