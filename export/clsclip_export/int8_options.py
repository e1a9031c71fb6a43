"""Options of ``clsclip-export`` that make a bundle INT8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
Quantize = Callable[[Path, Path, dict[str, Any]], None]
"""(FP32 bundle, INT8 bundle to write, the other options) -> None."""


def int8_options(command: Command) -> Command:
    """The options, as a decorator of a click command."""
    for option in reversed(
        (
            click.option(
                "--int8",
                "precision",
                flag_value="int8",
                help="Products of the image graphs in INT8; needs --calibration-images.",
            ),
            click.option(
                "--calibration-images",
                type=click.Path(path_type=Path),
                metavar="DIR",
                help="Pictures like those that the model will see, at least 8: INT8's ranges come from them.",
            ),
            click.option(
                "--calibration-words",
                multiple=True,
                metavar="WORD",
                help="Word to ask of them; repeat. Default: 26 nouns.",
            ),
        )
    ):
        command = option(command)
    return command


def read_int8(options: dict[str, Any]) -> Quantize | None:
    """Take these options out of ``options``; None without ``--int8``.

    Raises:
        click.UsageError: they contradict each other.
        CalibrationError: the pictures cannot be used.
    """
    folder, words = options.pop("calibration_images"), options.pop("calibration_words")
    if options["precision"] != "int8":
        if folder is not None or words:
            name = "images" if folder is not None else "words"
            raise click.UsageError(f"--calibration-{name} says something about --int8, which is missing.")
        return None
    if folder is None:
        raise click.UsageError("--int8 needs --calibration-images, a folder of pictures like those it will see.")
    if options["engine"] is not None:
        raise click.UsageError(
            "--int8 rounds activations with zero points, as CPUs like it best, and TensorRT takes none. "
            "Use --fp16 with --engine."
        )
    from clsclip_export.calibration import Calibration

    calibration = Calibration.read(folder, words)

    def quantize(source: Path, out: Path, options: dict[str, Any]) -> None:
        from clsclip_export.check_data import CheckData
        from clsclip_export.int8_bundle import quantize_bundle

        chosen = f"{len(calibration.paths)} of {calibration.found} pictures"
        click.echo(f"[i] int8: calibrated on {chosen} and {len(calibration.words)} words")
        data = CheckData.read(options["check_images"], options["check_words"])
        for row in quantize_bundle(source, out, calibration, data, force=options["force"]).rows:
            click.echo(row.line())

    return quantize
