"""Options of ``clsclip-export`` that put a detector into the bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clsclip_export.detector import DetectorSource, PreparedDetector

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
_DETAILS = ("detector_names", "detector_layout", "detector_licence", "detector_side", "trust_pickle")
_OF_CHECKPOINT = ("towers", "pretrained", "name", "precision", "check_images", "check_words")
_OF_INT8 = ("precision", "check_images", "check_words")


def detector_options(command: Command) -> Command:
    """The options, as a decorator of a click command."""
    for option in reversed(
        (
            click.option(
                "--from-bundle",
                type=_FILE,
                metavar="BUNDLE",
                help="Add --detector or --engine to this bundle, or make it --int8.",
            ),
            click.option(
                "--detector", type=_FILE, metavar="FILE", help="Detector to carry: ONNX, or ultralytics' .pt."
            ),
            click.option("--detector-names", metavar="FILE", help="Its class names, one a line, or coco."),
            click.option("--detector-layout", metavar="NAME", help="Its outputs' layout; default: found by itself."),
            click.option(
                "--detector-licence", metavar="TEXT", help="Its weights' licence; default: what the file says."
            ),
            click.option(
                "--detector-side",
                type=click.IntRange(32, 4096),
                metavar="PIXELS",
                help="Input side of a .pt, a multiple of 32; default: 640.",
            ),
            click.option("--trust-pickle", is_flag=True, help="Load a .pt, although that can run code that is in it."),
        )
    ):
        command = option(command)
    return command


def detector_source(options: dict[str, Any]) -> DetectorSource | None:
    """Take the detector's options out of ``options``; click.UsageError where they contradict each other."""
    path: Path | None = options.pop("detector")
    details = {name: options.pop(name) for name in _DETAILS}
    if path is None:
        given = [name for name in _DETAILS if details[name]]
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')} says something about --detector, which is missing.")
        return None
    side = details["detector_side"]
    if side is not None and path.suffix.lower() == ".onnx":
        raise click.UsageError("--detector-side is for a .pt: the size of an ONNX file is its own.")
    if side is not None and side % 32:
        raise click.UsageError(f"--detector-side must be a multiple of 32, and it is {side}.")
    from clsclip_export.detector import SIDE, DetectorSource

    return DetectorSource(
        path,
        names=details["detector_names"],
        layout=details["detector_layout"] or "auto",
        licence=details["detector_licence"],
        trust_pickle=details["trust_pickle"],
        side=side or SIDE,
    )


def check_from_bundle(from_bundle: Path | None, ckpt: Path | None, out: Path | None, options: dict[str, Any]) -> None:
    """click.UsageError unless exactly one of a checkpoint and a bundle is given, with the options that it can have."""
    if (from_bundle is None) == (ckpt is None):
        raise click.UsageError("Give --ckpt, or --from-bundle with --detector, --int8 or --engine: one of the two.")
    int8 = options["precision"] == "int8"
    writes = from_bundle is None or options["detector"] is not None or int8
    if from_bundle is not None and not writes and options["engine"] is None and options["precision"] is None:
        raise click.UsageError("--from-bundle needs what to do with it: --detector, --int8 or --engine.")
    if writes and out is None:
        raise click.UsageError("Give --out, the bundle folder to write.")
    if not writes and out is not None:
        raise click.UsageError("--engine builds in the bundle itself, so --out needs --detector or --int8.")
    given = [name for name in _OF_CHECKPOINT if options.get(name) and not (int8 and name in _OF_INT8)]
    if from_bundle is not None and given:
        what = given[0].replace("_", "-") if given[0] != "precision" else options["precision"]
        raise click.UsageError(f"--{what} is for --ckpt: a bundle keeps its own.")


def report(detector: PreparedDetector) -> None:
    """Print what was found out about it."""
    for line in detector.lines():
        click.echo(line)
