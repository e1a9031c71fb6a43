"""What the options of ``clsclip-infer`` say, as values that are checked once and then handed on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clsclip_runtime.bundle import opening
from clsclip_runtime.bundle.hub import hub_folder, on_hub
from clsclip_runtime.cli.arguments import STANDARD_INPUT, NamedSource, Piped
from clsclip_runtime.cli.output import Command
from clsclip_runtime.errors import BundleError, OutputError
from clsclip_runtime.images import MAX_PIXELS
from clsclip_runtime.paths import absence, exists, file_sha256, is_dir
from clsclip_runtime.version import __version__

if TYPE_CHECKING:
    from clsclip_runtime.bundle.specs import Manifest
    from clsclip_runtime.cli.zoom import Zooming
    from clsclip_runtime.detectors import Detector
    from clsclip_runtime.segmenter import Segmenter

DEFAULT_FOLDER = Path("clsclip-out")
IMAGE_FORMATS, VIDEO_FORMATS = "png,overlay", "overlay"
FRAMES = "frames"
"""The format of videos alone: frames as pictures."""
SHEET = "sheet"
"""The format of pictures alone: contact sheets of the whole run."""

Pairs = tuple[tuple[str, str], ...]
"""``NAME=VALUE`` options, split."""

_T = TypeVar("_T")


def limit_options(command: Command) -> Command:
    """Add the options that bound what a call takes."""
    for option in (
        click.option(
            "--max-pixels",
            type=click.IntRange(min=1),
            default=MAX_PIXELS,
            show_default=True,
            help="Refuse larger pictures.",
        ),
        click.option(
            "--memory-mb",
            type=click.IntRange(min=1),
            default=1024,
            show_default=True,
            help="Bound on the activations of one call, MiB.",
        ),
    ):
        command = option(command)
    return command


def take(kind: type[_T], options: dict[str, Any]) -> _T:
    """Make a dataclass of options, and take them out of ``options``."""
    return kind(**{field.name: options.pop(field.name) for field in fields(kind)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class ModelOptions:
    """Which model runs where."""

    model: Path | None
    backend: str
    backend_options: Pairs
    threads: int | None
    memory_mb: int
    max_pixels: int
    presence_filter: bool | None
    max_classes: int | None
    engines: Path | None
    trust_engines: bool
    isolated: bool
    validated_only: bool

    def __post_init__(self) -> None:
        if self.model is not None and not on_hub(self.model) and not is_dir(self.model):
            raise click.UsageError(f"{absence(self.model, 'bundle')}. Give the folder that clsclip-export wrote")

    def fetched(self) -> ModelOptions:
        """The same with the folder of a model on the hub. BundleError where it cannot be had."""
        return self if self.model is None or not on_hub(self.model) else replace(self, model=hub_folder(self.model))

    def check(self, manifest: Manifest) -> None:
        """BundleError where only a model that was validated is wanted, and this one was not."""
        if self.validated_only and manifest.doubt is not None:
            raise BundleError(
                f"{manifest.doubt}. So --validated-only refuses it. Train with pictures kept back (clsclip-train --val "
                "0.1) on CLIP's weights, or leave the option out"
            )

    def load(self, detector: Detector | None) -> Segmenter:
        """Load the model; see ``Segmenter.load`` for what it raises."""
        from clsclip_runtime.limits import Limits
        from clsclip_runtime.segmenter import Segmenter

        return Segmenter.load(
            self.model,
            self.backend,
            backend_options=dict(self.backend_options),
            detector=detector,
            presence_filter=self.presence_filter,
            max_classes=self.max_classes,
            threads=self.threads,
            engines=self.engines,
            trust_engines=self.trust_engines,
            isolated=self.isolated,
            limits=Limits(memory_mb=self.memory_mb, max_pixels=self.max_pixels),
        )


@dataclass(frozen=True)
class MaskOptions:
    """How masks are made of what the model gives; see ``Segmenter.predict``."""

    pixel_threshold: float | None
    min_area: int
    largest: bool
    fill_holes: bool
    refine: bool

    @property
    def asked(self) -> dict[str, Any]:
        """Arguments of a call of the segmenter."""
        return {
            "mask_threshold": self.pixel_threshold,
            "min_area": self.min_area,
            "largest": self.largest,
            "fill_holes": self.fill_holes,
            "refine": self.refine,
        }


@dataclass(frozen=True)
class FrameOptions:
    """How sources of many frames are read, segmented and written. None where an option was not given."""

    every: int | None
    max_frames: int | None
    drop_frames: bool | None
    batch: int | None
    fps: float | None
    container: str | None
    codec: str | None
    stream_option: Pairs
    reconnect: int | None
    smooth: bool | None
    track: bool | None

    def given(self) -> str | None:
        """The first option that was given, as typed."""
        names = (field.name for field in fields(self) if getattr(self, field.name))
        return next((f"--{name.replace('_', '-')}" for name in names), None)

    def check(self, sources: Sequence[NamedSource]) -> None:
        """Check that there are sources of which the options say something. click.UsageError if not."""
        given, kinds = self.given(), {source.kind for source in sources}
        if given is not None and kinds == {"picture"}:
            raise click.UsageError(f"{given} is for videos, cameras, streams and pipes, and no SOURCE is one")
        file = next((source.path for source in sources if source.kind == "video"), None)
        if self.drop_frames and file is not None:
            raise click.UsageError(f"--drop-frames is for live sources, and {file} is a file, which waits. See --every")
        if self.codec == "h264" and self.container == "webm":
            raise click.UsageError("--codec h264 is for --container mp4; webm takes vp9")
        if self.stream_option and "stream" not in kinds:
            raise click.UsageError("--stream-option is for streams, and no SOURCE is one")
        if self.reconnect is not None and not kinds & {"camera", "stream"}:
            raise click.UsageError("--reconnect is for cameras and streams, and no SOURCE is one")


@dataclass(frozen=True)
class OutputOptions:
    """What is written and printed.

    Attributes:
        out: folder of the files; None writes none.
        picture_formats, video_formats: of the files, names of ``results.files.FORMATS``.
        as_json: print JSON in place of tables.
        quiet: print errors only.
        skip_existing: leave out pictures whose files all exist.
        parts: each connected part of a mask is an object of its own.
        polygons: polygons in place of run-length codes.
        together: documents of many pictures hold all of them, because there are several or may be.
        frames: frames of videos are written as pictures.
        sheet: contact sheets of all pictures of the run are written.
    """

    out: Path | None
    image_formats: Sequence[str]
    video_formats: Sequence[str]
    as_json: bool
    quiet: bool
    skip_existing: bool
    parts: bool = False
    polygons: bool = False
    together: bool = False
    frames: bool = False
    sheet: bool = False

    @classmethod
    def from_options(
        cls,
        out: Path | None,
        formats: str | None,
        *,
        as_json: bool,
        quiet: bool,
        skip_existing: bool,
        parts: bool,
        polygons: bool,
        together: bool,
    ) -> OutputOptions:
        """Check the options; nothing is made yet.

        Raises:
            click.UsageError: they contradict each other.
            OptionError: there is no such format.
            OutputError: the folder cannot be made or written.
        """
        from clsclip_runtime.results.files import check_formats

        typed = [
            [name.strip() for name in (default if formats is None else formats).split(",")]
            for default in (IMAGE_FORMATS, VIDEO_FORMATS)
        ]
        own = {FRAMES, SHEET}  # of whole runs, which no result has by itself
        frames, sheet = FRAMES in typed[0], SHEET in typed[0]
        chosen = [
            [] if set(names) <= own else check_formats([name for name in names if name not in own]) for names in typed
        ]
        if out is None and as_json and skip_existing:
            raise click.UsageError("--skip-existing looks for files, and --json writes none. Add --out")
        folder = DEFAULT_FOLDER if out is None and not as_json else out
        if folder is not None:
            check_folder(folder)
        return cls(
            folder, chosen[0], chosen[1], as_json, quiet, skip_existing, parts, polygons, together, frames, sheet
        )

    @property
    def tables(self) -> bool:
        """Whether tables are printed."""
        return not (self.quiet or self.as_json)


@dataclass(frozen=True)
class InferOptions:
    """The whole command line but its words and sources.

    Attributes:
        model: which model runs where.
        presence_threshold: of the presence filter; None is the model's own.
        zooming: where regions come from, and how they are searched.
        masks: how masks are made.
        frames: of sources of many frames.
        output: what is written and printed.
        piped: what standard input gives.
    """

    model: ModelOptions
    presence_threshold: float | None
    zooming: Zooming
    masks: MaskOptions
    frames: FrameOptions
    output: OutputOptions
    piped: Piped

    def check(self, sources: Sequence[NamedSource]) -> None:
        """Check that there are sources of which the options say something. click.UsageError if not."""
        self.frames.check(sources)
        kinds = {source.kind for source in sources}
        if self.zooming.regions is not None and kinds != {"picture"}:
            raise click.UsageError("--regions has boxes of pictures, and a SOURCE is none. Use --detector for videos")
        if self.output.skip_existing and "picture" not in kinds:
            raise click.UsageError("--skip-existing is for pictures, and no SOURCE is one")
        if self.output.frames and kinds == {"picture"}:
            raise click.UsageError(f"the format {FRAMES} is for videos, and no SOURCE is one")
        if self.frames.smooth and (self.zooming.zoom is not None or self.zooming.tiles):
            raise click.UsageError("--smooth is for whole pictures, and regions are parts of them. See --track")
        if self.piped != "picture" and "pipe" not in kinds:
            raise click.UsageError(f"--stdin says what standard input gives. Give it as a SOURCE: {STANDARD_INPUT}")

    def made_of(self, words: Sequence[Any]) -> dict[str, Any]:
        """Everything that results of these words depend on, besides the pictures; see ``outputs.Record``."""
        model, zooming = self.model, self.zooming
        folder = opening.EMBEDDED if model.model is None else model.model
        detector = zooming.detector
        return {
            "version": __version__,
            "words": words,
            "bundle": _digest(folder / opening.MANIFEST),
            "backend": [model.backend, sorted(model.backend_options)],
            "presence": [self.presence_threshold, model.presence_filter, model.max_classes],
            "zoom": None if zooming.zoom is None else vars(zooming.zoom),
            "detector": None if detector is None else [_digest(detector), zooming.names, zooming.output_format],
            "regions": None if zooming.regions is None else _digest(zooming.regions.path),
            "tiles": zooming.tiles,
            "masks": vars(self.masks),
            "shapes": [self.output.parts, self.output.polygons],
        }


def _digest(path: Path) -> str:
    """SHA-256 of a file; none where it cannot be read, which whoever uses it will tell."""
    try:
        return file_sha256(path)
    except OSError:
        return ""


def check_folder(folder: Path) -> None:
    """Fail before the work, not after it, where a folder cannot be made or written. OutputError then."""
    existing = next((path for path in (folder, *folder.absolute().parents) if exists(path)), None)
    if existing is not None and (not is_dir(existing) or not os.access(existing, os.W_OK | os.X_OK)):
        raise OutputError(f"cannot write to {folder}: {existing} is not a folder that you may write to. Change --out")
