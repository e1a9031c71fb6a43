"""Options of ClsCLIP+ on the command line: where regions come from, and how they are looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clsclip_runtime.regions import RegionFile, ZoomIn

Command = TypeVar("Command", bound=Callable[..., Any])

_NAMES = ("zoom_in", "detector", "regions", "boxes_only", "on_missing", "margin")
_FILE = click.Path(path_type=Path)


def zoom_options(command: Command) -> Command:
    """The options, as a decorator of a click command."""
    for option in reversed(
        (
            click.option("--zoom-in", is_flag=True, help="ClsCLIP+: look at regions, and join their masks."),
            click.option(
                "--detector",
                type=_FILE,
                metavar="ONNX",
                help="Finds the regions, in place of the model's own detector.",
            ),
            click.option("--regions", type=_FILE, metavar="JSON", help="Boxes drawn before, in place of a detector."),
            click.option("--boxes-only", is_flag=True, help="The regions themselves as masks; nothing is drawn."),
            click.option(
                "--on-missing",
                type=click.Choice(["whole-image", "empty"]),
                default="whole-image",
                show_default=True,
                help="What a word without a region gets.",
            ),
            click.option(
                "--margin",
                type=click.FloatRange(0, 10),
                default=0.1,
                show_default=True,
                metavar="SHARE",
                help="Context around a region, of its width and height.",
            ),
        )
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Zooming:
    """What the options say.

    Attributes:
        zoom: how regions are looked at; None looks at whole pictures.
        detector: an ONNX file, or None for the bundle's.
        regions: boxes of a file, or None for a detector's.
    """

    zoom: ZoomIn | None
    detector: Path | None
    regions: RegionFile | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> Zooming:
        """Take the options out of ``options``; reads ``--regions``.

        Raises:
            click.UsageError: they contradict each other.
            RegionError: the file of regions cannot be read.
        """
        from clsclip_runtime.regions import RegionFile, ZoomIn

        asked = {name: options.pop(name) for name in _NAMES}
        if asked["detector"] is not None and asked["regions"] is not None:
            raise click.UsageError("give --detector or --regions, not both: each says where regions come from")
        if not (asked["zoom_in"] or asked["boxes_only"] or asked["regions"] or asked["detector"]):
            return cls(None, None, None)
        zoom = ZoomIn(margin=asked["margin"], on_missing=asked["on_missing"], boxes_only=asked["boxes_only"])
        return cls(zoom, asked["detector"], RegionFile(asked["regions"]) if asked["regions"] else None)

    def arguments(self, source: str) -> dict[str, Any]:
        """Keyword arguments of a segmenter's call for the picture called ``source``."""
        if self.zoom is None:
            return {}
        if self.regions is None:
            return {"zoom_in": self.zoom}
        return {"zoom_in": self.zoom, "regions": self.regions.of(source)}

    def of_frames(self) -> dict[str, Any]:
        """Keyword arguments of a segmenter's call for frames of a video, which no file has boxes of."""
        return {} if self.zoom is None else {"zoom_in": self.zoom}
