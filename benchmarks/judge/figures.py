"""What is counted: the customary figures, and every thing by its size, with the quality of its edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.dice import Dice
from benchmarks.judge.maker import Scene
from clsclip.evaluation import Prediction, Scores
from clsclip.reproduce.stickers.vocabulary import nouns

Flags = NDArray[np.bool_]

SIZES = ((0.0, 0.01), (0.01, 0.03), (0.03, 0.1), (0.1, 1.0))
"""Bins of the share of the picture that a thing covers."""

FOUND = 0.1
"""A thing is missed when its IoU with its word's mask is below this."""

EDGE_SHARE = 0.02
"""Width of the edge that boundary IoU compares, as a share of the picture's diagonal."""

EDGE_LEAST_AREA = 0.03


def asked(scene: Scene) -> tuple[list[int], list[int]]:
    """The nouns that the scene shows, and as many that it does not, drawn by its seed."""
    present = sorted({thing.noun for thing in scene.things})
    others = [noun.index for noun in nouns() if noun.index not in present]
    order = np.argsort(Dice(0xAB5E, scene.seed).many(len(others)), kind="stable")
    return present, [others[at] for at in order[: len(present)]]


def overlap(first: Flags, second: Flags) -> float:
    """Intersection over union; 0 where both are empty."""
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 0.0


def inner_edge(mask: Flags, reach: int) -> Flags:
    """The mask's pixels at most ``reach`` (in rows or columns) from one outside; outside the picture counts."""
    side = 2 * reach + 1
    padded = np.pad(mask.astype(np.int64), ((reach + 1, reach), (reach + 1, reach)))
    sums = padded.cumsum(axis=0).cumsum(axis=1)
    window = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    flags: Flags = mask & (window < side * side)
    return flags


def boundary_overlap(first: Flags, second: Flags) -> float:
    """Boundary IoU of Cheng et al. (2021): the IoU of both masks' inner edges, 2 % of the diagonal wide."""
    reach = max(1, round(EDGE_SHARE * float(np.hypot(*first.shape))))
    return overlap(inner_edge(first, reach), inner_edge(second, reach))


@dataclass
class Count:
    """Everything that is counted over some scenes.

    Attributes:
        every, trained, held_out: scores of all nouns, and of the two groups alone.
        things: one (share of the picture, IoU, boundary IoU or NaN) a thing.
        scenes: how many.
    """

    every: Scores = field(default_factory=lambda: Scores(len(nouns())))
    trained: Scores = field(default_factory=lambda: Scores(len(nouns())))
    held_out: Scores = field(default_factory=lambda: Scores(len(nouns())))
    things: list[tuple[float, float, float]] = field(default_factory=list)
    scenes: int = 0

    def add(self, scene: Scene, present: Sequence[int], absent: Sequence[int], found: Prediction) -> None:
        """Count one scene; ``found`` holds the masks of the present nouns, then those of the absent ones."""
        self.scenes += 1
        masks = dict(zip(present, found.masks, strict=False))
        for noun, mask in masks.items():
            group = self.held_out if nouns()[noun].held_out else self.trained
            truth = scene.mask(noun).astype(np.uint8)
            for scores in (self.every, group):
                scores.add_episode(noun, mask, truth, in_several=len(present) > 1)
        marked = [int(np.count_nonzero(mask)) for mask in found.masks]
        self.every.add_marked(sum(marked[: len(absent)]), sum(marked[len(present) :]))
        for thing in scene.things:
            # What the mask shows of other things of the same word is not this one's error.
            own = masks[thing.noun] & ~(scene.mask(thing.noun) & ~thing.mask)
            share, agreed = float(thing.mask.mean()), overlap(own, thing.mask)
            edged = share > EDGE_LEAST_AREA and agreed >= FOUND
            self.things.append((share, agreed, boundary_overlap(own, thing.mask) if edged else float("nan")))

    def to_json(self) -> dict[str, Any]:
        """The figures: IoU, shares and medians in percent, leakage a ratio; null where nothing was counted."""
        values = np.array(self.things, np.float64).reshape(-1, 3)
        found = values[:, 1] >= FOUND
        sizes = []
        for low, high in SIZES:
            inside = (values[:, 0] > low) & (values[:, 0] <= high)
            sizes.append(
                {
                    "from": low,
                    "to": high,
                    "things": int(inside.sum()),
                    "missed": rounded(100 * (inside & ~found).sum() / inside.sum() if inside.any() else None),
                    "median_iou": median(values[inside & found, 1]),
                }
            )
        return {
            "pictures": self.scenes,
            "pairs": int(self.every.episodes.sum()),
            "miou": rounded(self.every.miou),
            "which_word": rounded(self.every.which_word),
            "leakage": rounded(self.every.leakage, 3),
            "miou_trained": rounded(self.trained.miou),
            "miou_held_out": rounded(self.held_out.miou),
            "boundary_iou": median(values[~np.isnan(values[:, 2]), 2]),
            "sizes": sizes,
        }


def median(values: NDArray[np.float64]) -> float | None:
    """Median in percent; None of nothing."""
    return rounded(100 * float(np.median(values))) if len(values) else None


def rounded(value: float | None, digits: int = 1) -> float | None:
    """Rounded; None for None and NaN."""
    return None if value is None or value != value else round(float(value), digits)
