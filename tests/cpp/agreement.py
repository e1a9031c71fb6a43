"""How far masks of the C++ runtime agree with the Python one's, on pictures of the sticker world and photographs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip_runtime import Proposals, Segmenter, ZoomIn
from tests.cpp.c_api import ROOT, CSegmenter

Pixels = npt.NDArray[np.uint8]

WORDS = ("bottle", "boat", "dog", "fish", "pizza", "snake", "tree", "person", "car", "teddy bear")


@dataclass
class Agreement:
    """IoU of every pair of masks of which one has pixels, and how far presence is apart at most."""

    ious: list[float] = field(default_factory=list)
    presence: float = 0.0
    flipped: int = 0

    def __str__(self) -> str:
        """For people."""
        ious = np.array(self.ious)
        return (
            f"{len(ious)} masks: IoU mean {ious.mean():.5f}, minimum {ious.min():.5f}; presence differs by at most "
            f"{self.presence:.2e}; {self.flipped} classes of another status or reason"
        )


def sticker_images(count: int) -> Iterator[Pixels]:
    """Pictures of the sticker world: parts of the two examples, turned, mirrored and recoloured from a seed."""
    random = np.random.default_rng(5)
    examples = [Image.open(ROOT / "examples" / name).convert("RGB") for name in ("cluttered.png", "tiny.png")]
    for number in range(count):
        image = examples[number % 2]
        share = random.uniform(0.4, 1, 2)
        width, height = int(image.width * share[0]), int(image.height * share[1])
        left, top = (int(random.integers(0, room + 1)) for room in (image.width - width, image.height - height))
        part = image.crop((left, top, left + width, top + height))
        part = part.rotate(int(random.integers(0, 4)) * 90, expand=True)
        pixels = np.asarray(part, np.float32) * random.uniform(0.8, 1.1, 3).astype(np.float32)
        yield np.ascontiguousarray(np.clip(pixels, 0, 255).astype(np.uint8)[:, :: 1 if number % 3 else -1])


def photographs(folder: Path, count: int) -> Iterator[Pixels]:
    """The first photographs below a folder."""
    for path in sorted(folder.glob("*.jpg"))[:count]:
        yield np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB")))


def boxes_of(size: tuple[int, int], seed: int) -> tuple[list[list[float]], list[str | None]]:
    """Four boxes in a picture of (width, height): two named, two that may be anything."""
    random = np.random.default_rng(seed)
    corners = np.sort(random.uniform(0, 1, (4, 2, 2)), axis=1) * size
    return corners.reshape(4, 4).tolist(), ["dog", "bottles", None, "thing"]


def compare(
    python: Segmenter,
    cpp: CSegmenter,
    images: Sequence[Pixels] | Iterator[Pixels],
    *,
    zoom_in: bool,
    threshold: float | None = None,
) -> Agreement:
    """Segment every picture with both."""
    agreement = Agreement()
    for number, pixels in enumerate(images):
        regions, asked = None, {} if threshold is None else {"presence_threshold": threshold}
        boxes, names = boxes_of((pixels.shape[1], pixels.shape[0]), number) if zoom_in else (None, None)
        if boxes is not None:
            regions = Proposals.from_boxes(boxes, names)
        mine = python(pixels, WORDS, regions=regions, zoom_in=ZoomIn() if zoom_in else False, **asked)
        theirs = cpp(pixels, WORDS, boxes=boxes, names=names, **asked)
        assert theirs.classes == list(mine.classes)
        assert theirs.searched == [one.searched for one in mine]
        presence = np.array([np.nan if one.presence is None else one.presence for one in mine], np.float32)
        assert (np.isnan(presence) == np.isnan(theirs.presence)).all()
        apart = np.abs(np.nan_to_num(presence) - np.nan_to_num(theirs.presence))
        agreement.presence = max(agreement.presence, float(apart.max()))
        for at, mask in enumerate(theirs.masks):
            if mine[at].status != theirs.status[at] or (mine[at].reason or "") != theirs.reason[at]:
                agreement.flipped += 1
            own = mine[at].mask
            both, either = (own & mask).sum(), (own | mask).sum()
            if either:
                agreement.ious.append(float(both / either))
    return agreement
