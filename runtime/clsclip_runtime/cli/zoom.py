"""Options of ClsCLIP+ on the command line: where regions come from, and how they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clsclip_runtime.paths import absence, is_file

if TYPE_CHECKING:
    from clsclip_runtime.detectors import Detector
    from clsclip_runtime.regions import Proposals, RegionFile, ZoomIn

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)


CROP_FLAGS = ("--fallback", "--crop-margin", "--region-threshold", "--mask-margin")
ZOOM_FLAGS = (
    *("--zoom-in", "--detector", "--detector-names", "--detector-format", "--confidence", "--regions"),
    *("--class-agnostic", "--boxes-as-masks", *CROP_FLAGS),
)


def crop_options(command: Command) -> Command:
    """Decorate a click command with the options of how regions are searched; see ``CropOptions``."""
    for option in reversed(
        (
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


def zoom_options(command: Command) -> Command:
    """Decorate a click command with the options of regions; see ``ZoomOptions``."""
    command = crop_options(command)
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
            click.option(
                "--regions",
                type=_FILE,
                metavar="JSON|tiles",
                help="Boxes drawn before, in place of a detector; or tiles: overlapping parts of the whole image.",
            ),
            click.option(
                "--class-agnostic", is_flag=True, help="Search every box for every class, whatever it is called."
            ),
            click.option("--boxes-as-masks", is_flag=True, help="The regions themselves as masks; nothing is drawn."),
        )
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class CropOptions:
    """How regions are searched; None where an option was not given. See ``ZoomIn``."""

    fallback: str | None
    crop_margin: float | None
    mask_threshold: float | None
    mask_margin: float | None

    def given(self) -> dict[str, Any]:
        """Arguments of ``ZoomIn`` that were given."""
        values = {field.name: getattr(self, field.name) for field in fields(CropOptions)}
        return {name: value for name, value in values.items() if value is not None}

    def given_options(self) -> list[str]:
        """The same, as typed."""
        return [
            "--region-threshold" if name == "mask_threshold" else f"--{name.replace('_', '-')}" for name in self.given()
        ]


@dataclass(frozen=True)
class ZoomOptions(CropOptions):
    """All options of regions, as typed."""

    zoom_in: bool
    detector: Path | None
    names: str | None
    output_format: str | None
    confidence: float | None
    regions: Path | None
    class_agnostic: bool
    boxes_as_masks: bool


@dataclass(frozen=True)
class Zooming:
    """What the options mean.

    Attributes:
        zoom: how regions are searched; None searches whole images.
        detector: an ONNX file, or None for the bundle's.
        names: of the detector's classes; None are its own.
        output_format: of the detector.
        regions: boxes of a file, or None for a detector's.
        tiles: overlapping parts of the whole image in place of boxes.
    """

    zoom: ZoomIn | None = None
    detector: Path | None = None
    names: str | None = None
    output_format: str = "auto"
    regions: RegionFile | None = None
    tiles: bool = False

    @classmethod
    def from_options(cls, asked: ZoomOptions, about_presence: Sequence[str] = ()) -> Zooming:
        """Check the options, and read ``--regions``.

        Args:
            asked: the options.
            about_presence: options of the presence filter that were given.

        Raises:
            click.UsageError: they contradict each other.
            RegionError: the file of regions cannot be read.
        """
        from clsclip_runtime.regions import TILES, RegionFile, ZoomIn

        tiles = str(asked.regions) == TILES
        for name, file in (("detector", asked.detector), ("regions", None if tiles else asked.regions)):
            if file is not None and not is_file(file):
                raise click.UsageError(f"{absence(file)}. --{name} takes a file")
        if asked.detector is not None and asked.regions is not None:
            raise click.UsageError("give --detector or --regions, not both: each says where regions come from")
        if (asked.names is not None or asked.output_format is not None) and asked.detector is None:
            raise click.UsageError("--detector-names and --detector-format are about --detector: give it")
        about_crops = asked.given_options()
        if not (asked.zoom_in or asked.boxes_as_masks or asked.regions or asked.detector):
            about_regions = [*about_crops, *(["--confidence"] if asked.confidence is not None else [])]
            if about_regions:
                raise click.UsageError(f"{about_regions[0]} is about regions. Add --zoom-in, --detector or --regions")
            return cls()
        if asked.regions is not None and asked.confidence is not None:
            raise click.UsageError("--confidence is about a detector's boxes, and --regions takes the place of one")
        if asked.boxes_as_masks and (about_crops or about_presence):
            first = (*about_crops, *about_presence)[0]
            raise click.UsageError(f"{first} is about crops, and --boxes-as-masks makes none")
        if tiles and (asked.boxes_as_masks or asked.class_agnostic or about_crops):
            first = (*about_crops, *(["--boxes-as-masks"] if asked.boxes_as_masks else []), "--class-agnostic")[0]
            raise click.UsageError(f"{first} is about boxes, and tiles are not boxes of things")
        zoom = ZoomIn(
            boxes_as_masks=asked.boxes_as_masks,
            class_agnostic=asked.class_agnostic,
            confidence=asked.confidence,
            **asked.given(),
        )
        regions = None if asked.regions is None or tiles else RegionFile(asked.regions)
        return cls(zoom, asked.detector, asked.names, asked.output_format or "auto", regions, tiles)

    def check(self, has_detector: bool) -> None:
        """Usage error when boxes are needed, and nothing says where they come from."""
        if self.zoom is None or self.tiles or self.regions is not None or has_detector:
            return
        if self.zoom.boxes_as_masks or self.zoom.class_agnostic or self.zoom.confidence is not None:
            raise click.UsageError(
                "the model has no detector of its own, and --boxes-as-masks, --class-agnostic and --confidence need "
                "boxes. Add --detector yolo11n.onnx, or --regions boxes.json"
            )

    def load_detector(
        self,
        backend: str,
        threads: int | None,
        backend_options: Mapping[str, str] | None = None,
        isolated: bool = False,
    ) -> Detector | None:
        """The detector that was named; None leaves it to the bundle. DetectorError when it cannot be used."""
        from clsclip_runtime.detectors import Detector

        if self.detector is None:
            return None
        load = partial(Detector.load, self.detector, names=self.names, output_format=self.output_format)
        if not isolated:
            return load(backend=backend, backend_options=backend_options, threads=threads)
        from clsclip_runtime.backends.select import choose_backend
        from clsclip_runtime.isolated.backend import IsolatedBackend, Isolation

        size = self.detector.stat().st_size
        make = partial(IsolatedBackend, None, isolation=Isolation(), files_bytes=size)
        detector, _ = choose_backend(
            backend, lambda one: load(backend=one), threads=threads, options=backend_options, make=make
        )
        return detector

    def regions_of(self, source: str) -> Proposals | str | None:
        """The boxes that the file has of the picture called ``source``; ``tiles``; None leaves it to the model."""
        from clsclip_runtime.regions import TILES

        return TILES if self.tiles else None if self.regions is None else self.regions.of(source)
