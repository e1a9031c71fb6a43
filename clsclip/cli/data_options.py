"""The options that name data, alike in every command that reads data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from clsclip.data import Fold
from clsclip.data.own import first_look
from clsclip.data.summary import summarize
from clsclip.folds import FOLDS_OF, KINDS, StickerOptions, open_fold
from clsclip_runtime.cli.output import echo

Command = TypeVar("Command", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)

_WITH_FILE = ("coco", "labelstudio")

_LOOK_SECONDS = 2.0
_TABLE_SECONDS, _LEAST_SECONDS = 3.0, 0.5
"""What a table may take, and what it takes where reading the data took long."""

_UNTIL_SECONDS = 4.0
"""From a command's begin to the end of its table, where reading the data does not take longer."""

_STICKERS = StickerOptions()
_WORD_SETS = click.Choice(["pascal", "coco", "all"])

_OPTIONS = (
    click.option("--root", type=_PATH, metavar="DIR", help="VOC2012, COCO, own or sticker folder."),
    click.option(
        "--annotations", type=_PATH, metavar="FILE", help="coco, labelstudio: a file of your own, for --root."
    ),
    click.option("--images", type=_PATH, metavar="DIR", help="Pictures of --annotations. Default: beside it."),
    click.option("--splits", type=_PATH, metavar="DIR", help="pascal: customary lists. Default: made from the masks."),
    click.option("--allow-missing", is_flag=True, help="Go on without absent pictures, and say how many."),
    click.option("--novel", multiple=True, metavar="WORD", help="Own data: a class held out of training; repeat."),
    click.option("--words", type=_WORD_SETS, default=_STICKERS.words, help="Word set."),
    click.option("--style", "styles", multiple=True, metavar="NAME", help="Drawings; repeat. Default: noto."),
    click.option("--side", type=click.IntRange(min=16), default=_STICKERS.side, help="Side in pixels."),
    click.option(
        "--sizes", type=float, nargs=2, default=_STICKERS.sizes, help="Things' share of the side, least and most."
    ),
    click.option("--log-sizes", is_flag=True, help="As many things of small sizes as of large ones."),
    click.option("--things", type=int, nargs=2, default=_STICKERS.things, help="Fewest and most a picture."),
    click.option("--close-ups", type=click.FloatRange(0, 1), default=0.0, help="Share of close-ups."),
    click.option("--world-seed", type=int, default=_STICKERS.seed, help="Names the world."),
)


STICKER_SECTION = {
    "The sticker world (--data stickers)": (
        *("--words", "--style", "--side", "--sizes", "--log-sizes", "--things", "--close-ups", "--world-seed"),
        *("--train-pictures", "--test-pictures"),
    )
}
"""Of a command's help."""


@dataclass(frozen=True)
class DataOptions:
    """Which data a command reads, as its options say; see their help."""

    kind: str
    root: Path | None
    annotations: Path | None
    images: Path | None
    splits: Path | None
    allow_missing: bool
    novel: tuple[str, ...]
    words: str
    styles: tuple[str, ...]
    side: int
    sizes: tuple[float, float]
    log_sizes: bool
    things: tuple[int, int]
    close_ups: float
    world_seed: int
    train_images: int = _STICKERS.train_images
    test_images: int = _STICKERS.test_images

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> DataOptions:
        """Take them out of all values of a command."""
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})


_TRAIN_IMAGES = click.option(
    "--train-pictures",
    "train_images",
    type=click.IntRange(min=1),
    default=_STICKERS.train_images,
    help="To train on.",
)
_TEST_IMAGES = click.option(
    "--test-pictures",
    "test_images",
    type=click.IntRange(min=1),
    default=_STICKERS.test_images,
    help="Of the test.",
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
        options.append(_TRAIN_IMAGES)
    if part in ("test", "both"):
        options.append(_TEST_IMAGES)

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def folds_asked(data: DataOptions, fold: str | None) -> Sequence[int]:
    """Numbers of the folds that ``--fold`` names: one, or all of them. UsageError where data and ``--fold`` differ."""
    check_place(data)
    one_alone = (data.kind == "stickers" and data.words == "all") or data.annotations is not None
    known = (-1,) if one_alone else FOLDS_OF[data.kind]
    if known == (-1,):
        if fold not in (None, "all"):
            raise click.UsageError("These data have no folds. Leave --fold out.")
        return known
    if fold is None:
        own = " For a COCO document of your own: --annotations FILE --images DIR." if data.kind == "coco" else ""
        raise click.UsageError(f"Give --fold: whose classes are held out.{own}")
    return known if fold == "all" else (int(fold),)


def check_place(data: DataOptions) -> None:
    """UsageError where a folder or a file of annotations is given that the kind of data has not, or is not given."""
    if data.annotations is not None and data.kind not in _WITH_FILE:
        raise click.UsageError(f"--annotations is for --data {' and --data '.join(_WITH_FILE)}. Give --root.")
    if data.annotations is not None and data.root is not None:
        raise click.UsageError("Give --root or --annotations. Pictures of --annotations are in --images.")
    if data.images is not None and data.annotations is None:
        raise click.UsageError("--images goes with --annotations.")
    if data.annotations is None and data.kind == "labelstudio":
        raise click.UsageError("Give the export of Label Studio: --annotations FILE --images DIR.")
    if data.annotations is None and data.root is None:
        more = ", or a COCO document of your own: --annotations FILE --images DIR" if data.kind == "coco" else ""
        raise click.UsageError(f"Give the folder of the data: --root DIR{more}.")


def is_own(data: DataOptions) -> bool:
    """Whether the data are of the user's own, and no benchmark."""
    return FOLDS_OF[data.kind] == (-1,) or data.annotations is not None


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
    if data.novel and FOLDS_OF[data.kind] != (-1,) and data.annotations is None:
        raise click.UsageError("--novel is for data of your own. Leave it out.")
    stickers = StickerOptions(
        words=data.words,
        styles=data.styles or _STICKERS.styles,
        side=data.side,
        sizes=data.sizes,
        things=data.things,
        log_sizes=data.log_sizes,
        close_ups=data.close_ups,
        seed=data.world_seed,
        train_images=data.train_images,
        test_images=data.test_images,
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
        annotations=data.annotations,
        images=data.images,
    )


def tell_first(data: DataOptions, *, err: bool = False) -> bool:
    """Print what a part of the data holds, where reading all of them takes long; returns whether it did.

    A file of annotations is read whole before anything is known of it; masks, and files of each picture, are not.

    Raises:
        DataError: the data cannot be read.
    """
    if data.root is None:
        return False
    look = first_look(data.kind, data.root, _LOOK_SECONDS, allow_missing=data.allow_missing)
    if look is None:
        return False
    for line in look.lines():
        echo(line, err=err)
    echo("this was a first look; all pictures are read now", err=err)
    return True


def tell_data(
    fold: Fold, data: DataOptions, *, since: float | None = None, err: bool = False, told: bool = False
) -> None:
    """Print what is trained on, class by class, and what was left out: within a few seconds, however much it is.

    Args:
        fold: as opened. The sticker world makes its pictures when they are needed, and has no table.
        data: which.
        since: when the command began, by ``time.monotonic``; None is now.
        err: print on standard error.
        told: ``tell_first`` had figures; what was left out remains to be told.
    """
    if told:
        account = getattr(fold.train, "account", None)
        for line in account.lines() if account is not None else ():
            echo(f"note: {line}", err=err)
    elif data.kind != "stickers":
        gone = 0.0 if since is None else time.monotonic() - since
        seconds = min(_TABLE_SECONDS, max(_LEAST_SECONDS, _UNTIL_SECONDS - gone))
        for line in summarize(fold.train, seconds=seconds, only=fold.seen).lines():
            echo(line, err=err)
