"""The options that name data, alike in every command that reads data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from clsclip.data import Fold
from clsclip.folds import FOLDS_OF, KINDS, StickerOptions, open_fold

Command = TypeVar("Command", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)

_STICKERS = StickerOptions()
_WORD_SETS = click.Choice(["pascal", "coco", "all"])

_OPTIONS = (
    click.option("--root", type=_PATH, required=True, metavar="DIR", help="VOC2012, COCO, own or sticker folder."),
    click.option("--splits", type=_PATH, metavar="DIR", help="pascal: customary lists. Default: made from the masks."),
    click.option("--allow-missing", is_flag=True, help="Go on without absent pictures, and say how many."),
    click.option("--novel", multiple=True, metavar="WORD", help="folder: a class held out of training; repeat."),
    click.option("--words", type=_WORD_SETS, default=_STICKERS.words, help="stickers: word set."),
    click.option("--style", "styles", multiple=True, metavar="NAME", help="stickers: drawings; repeat. Default: noto."),
    click.option("--side", type=click.IntRange(min=16), default=_STICKERS.side, help="stickers: side in pixels."),
    click.option("--sizes", type=float, nargs=2, default=_STICKERS.sizes, help="stickers: things' share of the side."),
    click.option("--things", type=int, nargs=2, default=_STICKERS.things, help="stickers: fewest and most a picture."),
    click.option("--close-ups", type=click.FloatRange(0, 1), default=0.0, help="stickers: share of close-ups."),
    click.option("--world-seed", type=int, default=_STICKERS.seed, help="stickers: names the world."),
)


@dataclass(frozen=True)
class DataOptions:
    """Which data a command reads, as its options say; see their help."""

    kind: str
    root: Path
    splits: Path | None
    allow_missing: bool
    novel: tuple[str, ...]
    words: str
    styles: tuple[str, ...]
    side: int
    sizes: tuple[float, float]
    things: tuple[int, int]
    close_ups: float
    world_seed: int
    train_pictures: int = _STICKERS.train_pictures
    test_pictures: int = _STICKERS.test_pictures

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> DataOptions:
        """Take them out of all values of a command."""
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})


_TRAIN_PICTURES = click.option(
    "--train-pictures", type=click.IntRange(min=1), default=_STICKERS.train_pictures, help="stickers: to train on."
)
_TEST_PICTURES = click.option(
    "--test-pictures", type=click.IntRange(min=1), default=_STICKERS.test_pictures, help="stickers: of the test."
)


def data_options(part: str, *, or_benchmark: bool = False) -> Callable[[Command], Command]:
    """Add the options to a command, which gets them as keyword arguments; see :class:`DataOptions`.

    Args:
        part: the side that the command reads: "train", "test" or "both".
        or_benchmark: the command has ``--benchmark`` too, which takes the place of ``--data``.
    """
    kind = click.option("--data", "kind", type=click.Choice(KINDS), required=not or_benchmark, help="Kind of data.")
    options = [kind, *_OPTIONS]
    if part in ("train", "both"):
        options.append(_TRAIN_PICTURES)
    if part in ("test", "both"):
        options.append(_TEST_PICTURES)

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def folds_asked(kind: str, fold: str | None, words: str) -> Sequence[int]:
    """Numbers of the folds that ``--fold`` names: one, or all of them."""
    known = (-1,) if kind == "stickers" and words == "all" else FOLDS_OF[kind]
    if known == (-1,):
        if fold not in (None, "all"):
            raise click.UsageError("These data have no folds. Leave --fold out.")
        return known
    if fold is None:
        raise click.UsageError("Give --fold: whose classes are held out.")
    return known if fold == "all" else (int(fold),)


def open_data(fold: int, data: DataOptions, part: str) -> Fold:
    """Open one fold.

    Args:
        fold: its number.
        data: which.
        part: as given to :func:`data_options`.

    Raises:
        UsageError: an option does not belong to the kind of data.
        DataError: the data cannot be read.
    """
    if data.splits is not None and data.kind != "pascal":
        raise click.UsageError("--splits is for --data pascal.")
    if data.novel and data.kind != "folder":
        raise click.UsageError("--novel is for --data folder.")
    stickers = StickerOptions(
        words=data.words,
        styles=data.styles or _STICKERS.styles,
        side=data.side,
        sizes=data.sizes,
        things=data.things,
        close_ups=data.close_ups,
        seed=data.world_seed,
        train_pictures=data.train_pictures,
        test_pictures=data.test_pictures,
    )
    return open_fold(
        data.kind,
        data.root,
        fold,
        splits=data.splits,
        allow_missing=data.allow_missing,
        part=part,
        novel=data.novel or None,
        stickers=stickers,
    )
