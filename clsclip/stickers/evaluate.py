"""How well a bundle follows its words on new sticker pictures: mIoU, leakage, seen and held-out words apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from clsclip.stickers.pictures import Picture
from clsclip.stickers.vocabulary import Noun, nouns
from clsclip_runtime import Segmenter


@dataclass
class Score:
    """Pixels of one group of words, pooled over pictures.

    Attributes:
        overlap: by noun, pixels marked that are right.
        union: by noun, pixels marked or right, over the pictures that show the noun.
        marked_present: pixels marked for words that the picture shows.
        marked_absent: pixels marked for as many words that it does not show.
    """

    overlap: dict[int, int] = field(default_factory=dict)
    union: dict[int, int] = field(default_factory=dict)
    marked_present: int = 0
    marked_absent: int = 0

    @property
    def miou(self) -> float:
        """Mean over nouns of pooled intersection over pooled union, in percent."""
        return 100 * float(np.mean([self.overlap[noun] / self.union[noun] for noun in self.union]))

    @property
    def leakage(self) -> float:
        """Area marked by absent words over area marked by present words (design, "The word must matter")."""
        return self.marked_absent / self.marked_present if self.marked_present else float("nan")


def evaluate(
    segmenter: Segmenter, pictures: Iterable[Picture], presence_threshold: float | None = None
) -> dict[str, Score]:
    """Ask every picture for the words it shows and for as many absent ones of the same group.

    Args:
        segmenter: any runtime with any bundle.
        pictures: new ones.
        presence_threshold: None is the bundle's own, 0 the paper's behaviour.

    Returns:
        ``"seen"`` (masks were trained on) and ``"held out"`` (they were not).
    """
    groups = {
        "seen": [noun for noun in nouns() if not noun.held_out],
        "held out": [noun for noun in nouns() if noun.held_out],
    }
    scores = {name: Score() for name in groups}
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng(number)
        segmenter.set_image(picture.pixels)
        for name, group in groups.items():
            present = [noun for noun in group if noun.index in picture.nouns]
            absent = [noun for noun in group if noun.index not in picture.nouns]
            if present:
                asked = [absent[int(index)] for index in rng.permutation(len(absent))[: len(present)]]
                count_picture(segmenter, picture, present, asked, scores[name], presence_threshold)
    return scores


def count_picture(
    segmenter: Segmenter,
    picture: Picture,
    present: list[Noun],
    absent: list[Noun],
    score: Score,
    presence_threshold: float | None,
) -> None:
    """Add one picture's pixels to ``score``."""
    result = segmenter.predict([noun.name for noun in present + absent], presence_threshold=presence_threshold)
    for noun in present:
        marked, truth = result.mask(noun.name), picture.mask(noun.index)
        score.overlap[noun.index] = score.overlap.get(noun.index, 0) + int((marked & truth).sum())
        score.union[noun.index] = score.union.get(noun.index, 0) + int((marked | truth).sum())
        score.marked_present += int(marked.sum())
    score.marked_absent += sum(int(result.mask(noun.name).sum()) for noun in absent)
