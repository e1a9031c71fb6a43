"""Which pictures are asked: the judge's own, by their seeds, and the training maker's for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.judge.maker import Maker, Scene, Shown
from clsclip.reproduce.stickers.images import StickerWorld
from clsclip.reproduce.stickers.sheets import StickerBook

DEMO = range(12)
"""Seeds of the twelve pictures that are shown to people."""

FIGURES = range(1000, 1500)
"""Seeds of the pictures that every published figure is measured on. Nothing is ever chosen on them."""

CHOICE = range(5000, 6000)
"""Seeds for all that is chosen: early stopping, thresholds. No figure is measured on them."""

TRAINING_SEED = 3031
"""Names the training maker's pictures that figures are measured on; training uses seeds below 100."""

TRAINED_STYLES = ("noto", "fluent")
UNSEEN_STYLES = ("twemoji",)


def judge_scenes(stickers: Path, seeds: range) -> Iterator[Scene]:
    """The judge's pictures of some seeds."""
    maker = Maker(stickers, TRAINED_STYLES)
    for seed in seeds:
        yield maker.scene(seed)


def training_scenes(stickers: Path, count: int, styles: tuple[str, ...]) -> Iterator[Scene]:
    """New pictures of the training maker: 256 px, 1 to 8 things of 2 to 60 % of the side."""
    world = StickerWorld(StickerBook(stickers, styles), 256, (0.02, 0.6), (1, 8), TRAINING_SEED)
    for index in range(count):
        made = world.image(index)
        things = (
            Shown(thing.noun, thing.style, thing.box, made.instances == number)
            for number, thing in enumerate(made.things, start=1)
        )
        yield Scene(index, made.pixels, tuple(things))
