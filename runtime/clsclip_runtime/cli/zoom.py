"""Options of ClsCLIP+ on the command line: where regions come from, and how they are looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clsclip_runtime.detectors import Detector
    from clsclip_runtime.regions import RegionFile, ZoomIn

Command = TypeVar("Command", bound=Callable[..., Any])

_HOW = ("crop_margin", "mask_threshold", "mask_margin", "fallback", "confidence")
_OF_DETECTOR = ("names", "output_format")
_NAMES = ("zoom_in", "detector", "regions", "boxes_as_masks", "class_agnostic", *_HOW, *_OF_DETECTOR)
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
            click.option(
                "--detector-names", "names", metavar="FILE", help="The detector's class names, one a line; or coco."
            ),
            click.option(
                "--detector-format",
                "output_format",
                metavar="NAME",
                help="How the detector's outputs are laid out: yolov7, ...",
            ),
            click.option(
                "--confidence",
                type=click.FloatRange(0, 1),
                metavar="0..1",
                help="Least score of the detector's boxes [default: 0.25].",
            ),
            click.option("--regions", type=_FILE, metavar="JSON", help="Boxes drawn before, in place of a detector."),
            click.option(
                "--class-agnostic", is_flag=True, help="Search every box for every class, whatever it is called."
            ),
            click.option("--boxes-as-masks", is_flag=True, help="The regions themselves as masks; nothing is drawn."),
            click.option(
                "--fallback",
                type=click.Choice(["whole-image", "none"]),
                help="Where a class without a region is searched [default: whole-image].",
            ),
            click.option(
                "--crop-margin",
                type=click.FloatRange(0, 10),
                metavar="SHARE",
                help="Context around a region, of its width and height [default: 0.1].",
            ),
            click.option(
                "--region-threshold",
                "mask_threshold",
                type=click.FloatRange(0.0001, 0.9999),
                metavar="0..1",
                help="Probability of a pixel's class in boxes that name it; 0.5 is the model's own [default: 0.2].",
            ),
            click.option(
                "--mask-margin",
                type=click.FloatRange(0, 10),
                metavar="SHARE",
                help="How far masks of such boxes reach beyond them, of their size [default: 0.03].",
            ),
        )
    ):
        command = option(command)
    return command


def _option(name: str) -> str:
    """An argument's name as an option of the command."""
    return "--region-threshold" if name == "mask_threshold" else "--" + name.replace("_", "-")


@dataclass(frozen=True)
class Zooming:
    """What the options say.

    Attributes:
        zoom: how regions are looked at; None looks at whole pictures.
        detector: an ONNX file, or None for the bundle's.
        reading: keyword arguments of ``Detector.load`` for it.
        regions: boxes of a file, or None for a detector's.
    """

    zoom: ZoomIn | None
    detector: Path | None
    reading: dict[str, Any]
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
        for name in ("detector", "regions"):
            if asked[name] is not None and not asked[name].is_file():
                raise click.UsageError(f"no such file: {asked[name]}. --{name} takes a file")
        if asked["detector"] is not None and asked["regions"] is not None:
            raise click.UsageError("give --detector or --regions, not both: each says where regions come from")
        how, reading = (
            {name: asked[name] for name in names if asked[name] is not None} for names in (_HOW, _OF_DETECTOR)
        )
        if reading and asked["detector"] is None:
            raise click.UsageError("--detector-names and --detector-format are about --detector: give it")
        if not (asked["zoom_in"] or asked["boxes_as_masks"] or asked["regions"] or asked["detector"]):
            if how:
                raise click.UsageError(
                    f"{_option(next(iter(how)))} is about regions. Add --zoom-in, --detector or --regions"
                )
            return cls(None, None, {}, None)
        if asked["regions"] is not None and asked["confidence"] is not None:
            raise click.UsageError("--confidence is about a detector's boxes, and --regions takes the place of one")
        of_gate = {
            name: options[name]
            for name in ("presence_threshold", "presence_filter", "max_classes")
            if options[name] is not None
        }
        of_crops = {name for name in (*how, *of_gate) if name != "confidence"}
        for name in sorted(of_crops) if asked["boxes_as_masks"] else ():
            raise click.UsageError(f"{_option(name)} is about crops, and --boxes-as-masks makes none")
        zoom = ZoomIn(boxes_as_masks=asked["boxes_as_masks"], class_agnostic=asked["class_agnostic"], **how)
        regions = RegionFile(asked["regions"]) if asked["regions"] else None
        return cls(zoom, asked["detector"], reading, regions)

    def check(self, has_detector: bool) -> None:
        """Usage error when regions are asked for, and nothing says where they come from."""
        if self.zoom is not None and self.regions is None and not has_detector:
            raise click.UsageError(
                "the model has no detector of its own. Add --detector yolo11n.onnx, or --regions boxes.json"
            )

    def load_detector(self, backend: str, threads: int | None) -> Detector | None:
        """The detector that was named; None leaves it to the bundle. DetectorError when it cannot be used."""
        from clsclip_runtime.detectors import Detector

        if self.detector is None:
            return None
        return Detector.load(self.detector, backend=backend, threads=threads, **self.reading)

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
