"""Options of ``clsclip-export`` about sizes of calls and TensorRT engines, and the building of what they ask for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from clsclip_export.engines.options import EngineOptions
from clsclip_export.errors import ProfileError
from clsclip_export.profiles import AXES, Profile, parse_bounds
from clsclip_runtime.backends.tensorrt.edition import EDITIONS, find_edition

Command = TypeVar("Command", bound=Callable[..., Any])

_FLAGS = ("version_compatible", "hardware_compatible", "strip_weights", "tf32")
_DETAILS = (*_FLAGS, "workspace", "optimization_level")


def engine_options(command: Command) -> Command:
    """The options, as a decorator of a click command."""
    sizes: dict[str, Any] = {"metavar": "N,N,N", "show_default": True}
    for option in reversed(
        (
            click.option("--crops", default="1,1,4", help="Crops a call: least, usual, most.", **sizes),
            click.option("--classes", default="1,8,64", help="Classes a call, likewise.", **sizes),
            click.option("--pairs", default="1,8,32", help="(crop, class) pairs a call, likewise.", **sizes),
            click.option("--engine", type=click.Choice(list(EDITIONS)), help="Build engines of the bundle too."),
            click.option(
                "--workspace", type=click.IntRange(min=1), metavar="MIB", help="Bound on the memory of one layer."
            ),
            click.option("--version-compatible", is_flag=True, help="Engines that later minor versions run, slower."),
            click.option("--hardware-compatible", is_flag=True, help="Engines that newer GPUs run too, slower."),
            click.option("--strip-weights", is_flag=True, help="Engines without weights; these come from the ONNX."),
            click.option("--tf32", is_flag=True, help="Let FP32 products round to TF32."),
            click.option("--optimization-level", type=click.IntRange(0, 5), help="How long to look for fast kernels."),
        )
    ):
        command = option(command)
    return command


def read_profile(options: dict[str, Any]) -> Profile:
    """The profile of the command line; click.UsageError where it makes no sense."""
    try:
        return Profile(**{name: parse_bounds(name, options.pop(name)) for name in AXES.values()})
    except ProfileError as error:
        raise click.UsageError(str(error)) from error


def read_engine(options: dict[str, Any]) -> Callable[[Path, Profile], None] | None:
    """Take the engines' options out of ``options``: what builds them in a bundle, or None.

    The edition is looked for at once, so that a missing one is told before an export and not after it.
    """
    name, details = options.pop("engine"), {key: options.pop(key) for key in _DETAILS}
    if name is None:
        given = [key for key in _DETAILS if details[key]]
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')} says something about --engine, which is missing.")
        return None
    edition = find_edition(name)

    def build(folder: Path, profile: Profile) -> None:
        from clsclip_export.engines.build import build_engines
        from clsclip_runtime.backends.tensorrt.engine_files import this_machine
        from clsclip_runtime.bundle.opening import Bundle

        bundle = Bundle.open(folder)
        chosen = EngineOptions(
            profile,
            workspace_mib=details["workspace"],
            optimization_level=details["optimization_level"],
            **{key: details[key] for key in _FLAGS},
        )
        click.echo(f"[i] {edition.name} {edition.version}, {bundle.manifest.precision}")
        show = progress_line() if sys.stderr.isatty() else (lambda phase, done, steps: True)
        for one in build_engines(bundle, edition, this_machine(edition), chosen, progress=show):
            click.echo(one.line())

    return build


def progress_line() -> Callable[[str, int, int], bool]:
    """Progress of a build on one line of a terminal, at most ten times a second."""
    last = [0.0]

    def show(phase: str, done: int, steps: int) -> bool:
        now = time.monotonic()
        if now - last[0] > 0.1:
            last[0] = now
            click.echo(f"\r\x1b[K{phase[:60]} {done}/{steps}\r", nl=False, err=True)
        return True

    return show
