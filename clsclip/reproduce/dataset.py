"""The sticker world as a data set: pictures made on demand, with a mask for every word of a word set.

Three word sets. ``pascal``: VOC's classes without dining table, which has no emoji; fold f holds out classes
5f .. 5f+4 in VOC's order, so fold 2 has four. ``coco``: those of COCO's classes that have an emoji, 56 of 80; fold f
holds out those of classes f, f+4, f+8, ... In both, about half of the things in a picture are of these words, the
others of any noun; masks are of the set's words only.
``all``: every noun; the held-out ones of ``nouns.txt`` are the test.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsclip.data.base import Fold
from clsclip.data.coco import COCO_WORDS
from clsclip.data.files import LastFew
from clsclip.data.pascal import FOLDS, PASCAL_WORDS
from clsclip.errors import DataError
from clsclip.reproduce.stickers.images import StickerImage, StickerWorld
from clsclip.reproduce.stickers.sheets import StickerBook
from clsclip.reproduce.stickers.vocabulary import nouns

WORD_SETS = ("pascal", "coco", "all")
_OTHER_THINGS = {"keyboard", "mouse"}
"""COCO means the computer's; the emoji of these words show a piano and the animal."""
_PER_FOLD = len(PASCAL_WORDS) // FOLDS
_TEST_SEED = 1_000_003
"""Added to the seed for the test's world: two seeds share neither pictures nor procedural grounds."""

CLOSE_UP = (0.5, 1.1)
"""Smallest and largest longer side of a close-up's things, as a share of the picture's."""

_KEPT_BYTES = 256 << 20
"""Of made pictures, which cost more to make than to train on, are kept up to this."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StickerOptions:
    """What the made pictures look like.

    Attributes:
        words: "pascal", "coco" or "all"; see the module's text.
        styles: families of drawings, names from ``clsclip.reproduce.stickers.sheets.STYLES``.
        side: height and width of a picture, pixels.
        sizes: smallest and largest longer side of a thing, as a share of ``side``.
        log_sizes: draw the logarithms of sizes evenly, and not the sizes.
        things: fewest and most things a picture.
        seed: names the world.
        close_ups: share of the pictures that show one or two things large, as crops of regions do.
        train_images: number of pictures to train on.
        test_images: number of pictures of the test, from a world of its own.
    """

    words: str = "pascal"
    styles: tuple[str, ...] = ("noto",)
    side: int = 128
    sizes: tuple[float, float] = (0.1, 0.6)
    things: tuple[int, int] = (1, 8)
    seed: int = 0
    close_ups: float = 0.0
    log_sizes: bool = False
    train_images: int = 4000
    test_images: int = 500


class StickerImagesWithMasks:
    """Pictures 0 to ``count - 1`` of a world; see :class:`clsclip.data.base.MaskDataset`.

    Args:
        world: makes the pictures.
        count: how many.
        classes: the words; class id i is noun ``noun_of[i]``.
        noun_of: noun index of every class.
        close_ups: share of the pictures that are close-ups, spread evenly over them.
    """

    name = "stickers"

    def __init__(
        self,
        world: StickerWorld,
        count: int,
        classes: tuple[str, ...],
        noun_of: tuple[int, ...],
        close_ups: float = 0.0,
    ) -> None:
        self.world, self.count, self.classes, self.noun_of = world, count, classes, noun_of
        self.close_ups = close_ups
        self._near = replace(world, sizes=CLOSE_UP, things=(1, 2)) if close_ups else world
        self._class_of = {noun: class_id for class_id, noun in enumerate(noun_of)}
        self._shown: dict[int, tuple[int, ...]] = {}
        self._made: LastFew[StickerImage] = LastFew(
            max(8, _KEPT_BYTES // (4 * world.side**2))
        )  # three colours, one label

    def __len__(self) -> int:
        return self.count

    def key(self, index: int) -> str:
        return f"sticker-{self.world.seed}-{index:06d}"

    def made(self, index: int) -> StickerImage:
        """The picture with all its things."""
        if not 0 <= index < self.count:
            raise DataError(f"There is no sticker picture {index}; there are {self.count}, counted from 0.")
        near = int((index + 1) * self.close_ups) > int(index * self.close_ups)
        return self._made.get(index, (self._near if near else self.world).image)

    def shown(self, index: int) -> tuple[int, ...]:
        if index not in self._shown:
            found = (self._class_of.get(noun) for noun in self.made(index).nouns)
            self._shown[index] = tuple(sorted(one for one in found if one is not None))
        return self._shown[index]

    def image(self, index: int) -> NDArray[np.uint8]:
        return self.made(index).pixels

    def mask(self, index: int, class_id: int) -> NDArray[np.uint8]:
        return self.made(index).mask(self.noun_of[class_id]).astype(np.uint8)


def open_stickers(root: Path, fold: int, options: StickerOptions | None = None, *, part: str = "both") -> Fold:
    """A fold of the sticker world.

    Which words a picture shows is known only once it is made, so the pairs cost one making of every picture.

    Args:
        root: folder with the unpacked npm packages of the styles.
        fold: 0 to 3 for the word sets "pascal" and "coco"; -1 for "all".
        options: what the pictures look like; None is the defaults.
        part: "train" or "test" makes only that side, and leaves the other empty; "both" makes both.

    Raises:
        DataError: stickers are absent, or the fold or the word set does not exist.
    """
    options = options or StickerOptions()
    words, noun_of, novel = word_set(options.words, fold)
    seen = tuple(one for one in range(len(words)) if one not in novel)
    book = StickerBook(root, options.styles)

    def side(wanted: str, count: int, seed: int) -> StickerImagesWithMasks:
        drawn = pool(options.words, noun_of)
        world = StickerWorld(book, options.side, options.sizes, options.things, seed, drawn, options.log_sizes)
        made = count if part in (wanted, "both") else 0
        return StickerImagesWithMasks(world, made, words, noun_of, options.close_ups)

    train = side("train", options.train_images, options.seed)
    test = side("test", options.test_images, options.seed + _TEST_SEED)
    number = -1 if options.words == "all" else fold
    return Fold(number, train, test, seen, novel, _pairs(train, seen), _pairs(test, novel))


def word_set(name: str, fold: int) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
    """The words of a set, the noun index of each, and the ids of those that are held out.

    Raises:
        DataError: there is no such set or fold.
    """
    if name == "all":
        every = nouns()
        held_out = tuple(noun.index for noun in every if noun.held_out)
        return tuple(noun.name for noun in every), tuple(noun.index for noun in every), held_out
    if name not in WORD_SETS:
        raise DataError(f"There is no word set {name!r}. Choose one of: {', '.join(WORD_SETS)}.")
    if fold not in range(FOLDS):
        raise DataError(f"The sticker world's {name} words have no fold {fold}; the folds are 0 to {FOLDS - 1}.")
    found = {word: noun.index for noun in reversed(nouns()) for word in (*noun.synonyms, noun.name)}
    known = PASCAL_WORDS if name == "pascal" else COCO_WORDS
    folds = {word: at // _PER_FOLD if name == "pascal" else at % FOLDS for at, word in enumerate(known)}
    words = tuple(word for word in known if word in found and word not in _OTHER_THINGS)
    return (
        words,
        tuple(found[word] for word in words),
        tuple(at for at, word in enumerate(words) if folds[word] == fold),
    )


def pool(words: str, noun_of: tuple[int, ...]) -> tuple[int, ...]:
    """Noun indices that things are drawn from: those of the word set about as often as all others together."""
    if words == "all":
        return ()
    others = tuple(noun.index for noun in nouns() if noun.index not in noun_of)
    return noun_of * max(1, len(others) // len(noun_of)) + others


def _pairs(images: StickerImagesWithMasks, classes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    if len(images) > 1000:
        _log.info("making %d pictures to see which words they show", len(images))
    wanted = set(classes)
    return tuple((index, one) for index in range(len(images)) for one in images.shown(index) if one in wanted)
