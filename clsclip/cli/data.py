"""``clsclip-data``: look at data before they are trained on, and turn them from one tool's format into another's.

Nothing here needs PyTorch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import click

from clsclip.data.account import Account
from clsclip.data.base import MaskDataset
from clsclip.data.convert import FORMATS
from clsclip.errors import ClsclipError
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.progress import LogHandler, Progress
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.sections import Group
from clsclip_runtime.errors import ImageError, one_line
from clsclip_runtime.images import open_image
from clsclip_runtime.paths import readable, write_bytes
from clsclip_runtime.version import __version__

PROGRAM = "clsclip-data"

_PATH = click.Path(path_type=Path)
_KINDS = click.Choice(["folder", "coco", "labelstudio", "yolo", "labelme", "pascal"])

EXAMPLES = """\b
Examples:
  clsclip-data check mine --sheet sheet.png
  clsclip-data check instances.json --images pictures
  clsclip-data convert project.json mine --images uploads --to folder

\b
Exit codes: 0 done, 1 a failure, 2 wrong use."""


@click.group(cls=Group, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def command() -> None:
    """Check masks and annotations before training, and convert them.

    ROOT is a folder (images, masks and classes.txt; YOLO; labelme; VOC2012) or a file (COCO's JSON, Label Studio's
    JSON export, YOLO's data.yaml).
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[LogHandler()])


def _data_of_root(function: Any) -> Any:
    for option in reversed(
        (
            click.argument("root", type=_PATH),
            click.option("--data", "kind", type=_KINDS, help="Kind of data. Default: told by what lies in ROOT."),
            click.option("--images", type=_PATH, metavar="DIR", help="Pictures of a file. Default: beside it."),
            click.option("--allow-missing", is_flag=True, help="Go on without absent pictures, and say how many."),
        )
    ):
        function = option(function)
    return function


@command.command(short_help="Count what ROOT holds and what was left out.")
@_data_of_root
@click.option("--sheet", type=_PATH, metavar="PNG", help="Write a contact sheet: pictures with masks over them.")
@click.option("--sheet-pictures", type=click.IntRange(1, 400), default=24, show_default=True, help="Pictures on it.")
@click.option("--headers-only", is_flag=True, help="Do not decode every picture; damage in their pixels is not seen.")
@json_option("One JSON document on standard output.")
def check(
    root: Path,
    kind: str | None,
    images: Path | None,
    allow_missing: bool,
    sheet: Path | None,
    sheet_pictures: int,
    headers_only: bool,
    as_json: bool,
) -> None:
    """Tell what ROOT holds: for each class pictures, instances, share of pixels, smallest thing.

    Then what was left out and why, counted. Every picture is decoded. The same table comes before every training.
    """
    from clsclip.data.sheet import contact_sheet
    from clsclip.data.summary import summarize

    found, sides = _open(root, kind, images, allow_missing)
    document: dict[str, Any] = {"kind": found, "sides": {}}
    for side, data in sides.items():
        with closing(Progress("pictures", len(data))) as progress:
            summary = summarize(data, progress=progress.update)
        if not headers_only:
            _decode(data, summary.account)
        document["sides"][side] = summary.to_json()
        if not as_json:
            if len(sides) > 1:
                echo(f"{side}:")
            for line in summary.lines():
                echo(line)
    if sheet is not None:
        drawn, damaged = contact_sheet(next(iter(sides.values())), sheet_pictures)
        content = BytesIO()
        drawn.save(content, "PNG")
        write_bytes(sheet, content.getvalue())
        for one in damaged:
            echo(f"note: not on the sheet: {one_line(one)}", err=True)
        if not as_json:
            echo(f"{sheet} written: look whether masks lie on what they name")
        document["sheet"] = str(sheet)
    if as_json:
        print_json(document)


@command.command(short_help="Write it in another format.")
@_data_of_root
@click.argument("out", type=_PATH)
@click.option("--to", type=click.Choice(FORMATS), required=True, help="Format to write.")
@json_option("One JSON document on standard output.")
def convert(
    root: Path, kind: str | None, images: Path | None, allow_missing: bool, out: Path, to: str, as_json: bool
) -> None:
    """Write what ROOT holds in another format into the new folder OUT. Pictures are copied, masks stay to the pixel."""
    from clsclip.data.convert import convert as write

    found, sides = _open(root, kind, images, allow_missing)
    account = getattr(next(iter(sides.values())), "account", Account())
    told = write(sides, to, out)
    notes = [*account.lines(), *told.lines()]
    if as_json:
        print_json({"from": found, "to": to, "folder": readable(out), "notes": notes})
        return
    for note in notes:
        echo(f"note: {note}")
    check = {"coco": "/instances.json", "labelstudio": "/tasks.json"}.get(to, "") if "all" in sides else ""
    echo(f"{out} written. See it: clsclip-data check {out}{check}")


def _open(root: Path, kind: str | None, images: Path | None, allow_missing: bool) -> tuple[str, dict[str, MaskDataset]]:
    """The kind of data and its sides: train and val where a list tells them apart, else all."""
    from clsclip.data.own import open_own, recognized

    told, annotations = recognized(root) if kind is None else (kind, root if kind in ("coco", "labelstudio") else None)
    if images is not None and annotations is None:
        raise click.UsageError("--images is for a file of annotations: a COCO document, or Label Studio's export.")
    if told == "pascal":
        from clsclip.data.pascal import files_there, voc_images

        return told, {"all": voc_images(root, sorted(files_there(root)))}
    fold = open_own(told, root, annotations=annotations, images=images, allow_missing=allow_missing)
    same = fold.train is fold.test or [fold.train.key(at) for at in range(len(fold.train))] == [
        fold.test.key(at) for at in range(len(fold.test))
    ]
    return told, {"all": fold.train} if same else {"train": fold.train, "val": fold.test}


def _decode(data: Any, account: Any) -> None:
    """Count the pictures whose pixels cannot be decoded."""
    with closing(Progress("decoding pictures", len(data))) as progress:
        for index in range(len(data)):
            path = data.images[index].path if hasattr(data, "images") else data.files[index][1]
            try:
                open_image(path)
            except ImageError as error:
                account.add("pictures are damaged; training passes them over", error)
            progress.update(index + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command(command, PROGRAM, arguments, errors=(ClsclipError,))


if __name__ == "__main__":
    sys.exit(main())
