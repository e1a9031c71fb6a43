"""A data set of coloured squares in memory, and ``python -m`` of this file: one training run on it."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clsclip.data.base import Fold
from clsclip.model import ClsClip
from clsclip.training import TrainConfig, train
from tests.tiny import tiny_model

WORDS = ("dog", "cat", "boat", "bottle", "chair")
COLOURS = ((250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20), (250, 20, 250))


class Squares:
    """Every picture shows two words, each a square of its colour; the first row of pixels is to be ignored."""

    name = "squares"
    classes = WORDS

    def __init__(self, count: int = 12, side: int = 40, delay: float = 0.0) -> None:
        self.count, self.side, self.delay = count, side, delay
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.count

    def key(self, index: int) -> str:
        return f"square-{index}"

    def shown(self, index: int) -> tuple[int, ...]:
        return tuple(sorted({index % 5, (index + 1 + index // 5 % 3) % 5}))

    def places(self, index: int) -> dict[int, tuple[slice, slice]]:
        rng = np.random.default_rng(index)
        half = self.side // 2
        starts = [(int(rng.integers(1, half // 2)), int(rng.integers(0, half // 2)) + half * at) for at in (0, 1)]
        return {
            word: (slice(y, y + half), slice(x, x + half // 2))
            for word, (y, x) in zip(self.shown(index), starts, strict=True)
        }

    def image(self, index: int) -> NDArray[np.uint8]:
        time.sleep(self.delay)
        self.reads.append(index)
        pixels = np.full((self.side, self.side, 3), 90, dtype=np.uint8)
        for word, place in self.places(index).items():
            pixels[place] = COLOURS[word]
        return pixels

    def mask(self, index: int, class_id: int) -> NDArray[np.uint8]:
        mask = np.zeros((self.side, self.side), dtype=np.uint8)
        mask[self.places(index)[class_id]] = 1
        mask[0] = 255
        return mask


def tiny_fold(data: Squares | None = None, novel: tuple[int, ...] = (4,)) -> Fold:
    data = data or Squares()
    seen = tuple(one for one in range(len(WORDS)) if one not in novel)
    pairs = [(index, word) for index in range(len(data)) for word in data.shown(index)]
    return Fold(
        number=0,
        train=data,
        test=data,
        seen=seen,
        novel=novel,
        train_pairs=tuple(pair for pair in pairs if pair[1] in seen),
        test_pairs=tuple(pair for pair in pairs if pair[1] in novel),
    )


def fresh_model(**config: object) -> ClsClip:
    return tiny_model(**config)


def main() -> None:
    """``OUT DELAY RESUME SETTINGS``: train, print the summary as JSON."""
    logging.basicConfig(level=logging.INFO)
    out, delay, resume, settings = sys.argv[1:5]
    model = fresh_model(**json.loads(sys.argv[5]) if len(sys.argv) > 5 else {})
    config = TrainConfig(**json.loads(settings))
    fold = tiny_fold(Squares(delay=float(delay)))
    summary = train(model, fold, config, Path(out), towers="towers", resume=resume == "resume")
    print(json.dumps({"steps": summary.steps, "loss": summary.loss}))


def write_squares(root: Path, count: int) -> None:
    """Squares as pictures and masks in a folder of one's own: ``images``, ``masks`` and ``classes.txt``."""
    data = Squares(count)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(data.classes) + "\n")
    for index in range(len(data)):
        labels = np.zeros((data.side, data.side), dtype=np.uint8)
        for word, place in data.places(index).items():
            labels[place] = word + 1
        Image.fromarray(data.image(index)).save(root / "images" / f"{data.key(index)}.png")
        Image.fromarray(labels).save(root / "masks" / f"{data.key(index)}.png")


if __name__ == "__main__":
    main()
