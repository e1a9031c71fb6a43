"""How a test is run: at which size masks are compared, and how often every pair counts.

Papers differ in both, so a result is printed with its protocol. Sizes: ``original`` compares at the picture's own
size; a number squashes picture (bilinear) and mask (nearest) to a square of that many pixels first. Episodes:
``1000`` is the customary test, ``every`` runs every pair once. A zero-shot run is deterministic, so each pair is
predicted once and counted with the number of episodes that it stands for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clsclip.data.base import Fold
from clsclip.data.coco import customary_episodes

EPISODES = 1000
SIZES = ("original", "400", "473", "480")
"""Sizes that papers use, by name; any other number of pixels will do as well."""


@dataclass(frozen=True)
class Protocol:
    """One way to test.

    Attributes:
        size: side of the square that pictures and masks are squashed to, pixels; None keeps them as they are.
        every: count every pair once, instead of 1000 episodes.
    """

    size: int | None = None
    every: bool = False

    @property
    def name(self) -> str:
        """Short name, such as "480, 1000 episodes"."""
        return f"{self.size or 'original'}, {'every pair once' if self.every else f'{EPISODES} episodes'}"

    def describe(self, fold: Fold) -> str:
        """Return the protocol in words, for a report."""
        size = (
            "masks compared at the pictures' own sizes"
            if self.size is None
            else f"pictures and masks squashed to {self.size}x{self.size} (bilinear, nearest)"
        )
        if self.every:
            episodes = f"every one of {len(set(fold.test_pairs))} pairs once"
        elif fold.test.name == "coco":
            episodes = f"{EPISODES} episodes: class, then picture, uniformly, numpy seed 0"
        else:
            episodes = f"{EPISODES} episodes: pair number i modulo {len(fold.test_pairs)}"
        return f"{self.name}: {size}; {episodes}"

    def image(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture (H, W, 3) uint8 as the model gets it."""
        if self.size is None:
            return pixels
        squashed = Image.fromarray(pixels).resize((self.size, self.size), Image.Resampling.BILINEAR)
        return np.asarray(squashed, np.uint8)

    def mask(self, truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the mask (H, W) uint8 that predictions are compared with."""
        if self.size is None:
            return truth
        rows, columns = (nearest(length, self.size) for length in truth.shape)
        return np.ascontiguousarray(truth[rows[:, None], columns])

    def boxes(self, boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return boxes (N, 4) xyxy of a picture of ``size`` = (width, height), in the pixels of :meth:`picture`."""
        if self.size is None:
            return boxes
        scale = np.array([self.size / size[0], self.size / size[1]] * 2, np.float32)
        return (boxes * scale).astype(np.float32)

    def weights(self, fold: Fold) -> dict[tuple[int, int], int]:
        """Count how many episodes every (picture index, class id) stands for, in the order of the test's pairs."""
        pairs = list(dict.fromkeys(fold.test_pairs))
        if self.every:
            return dict.fromkeys(pairs, 1)
        if fold.test.name == "coco":
            drawn = Counter(customary_episodes(fold, EPISODES))
        else:
            length = len(fold.test_pairs)
            drawn = Counter(fold.test_pairs[number % length] for number in range(EPISODES)) if length else Counter()
        return {pair: drawn[pair] for pair in pairs if drawn[pair]}


def nearest(inputs: int, outputs: int) -> NDArray[np.int64]:
    """Which of ``inputs`` pixels each of ``outputs`` takes, (outputs,) int64.

    As torch's ``interpolate(mode="nearest")``, which the published tests use: floor(i * scale) in float32, so that
    even its rounding is the same.
    """
    scale = np.float32(inputs) / np.float32(outputs)
    index = np.floor(np.arange(outputs, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(index, inputs - 1)
