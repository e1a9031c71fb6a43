"""``clsclip-infer``: segment pictures and videos by words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from clsclip_runtime.backends.select import BACKENDS, MOST_THREADS
from clsclip_runtime.cli.arguments import (
    PROGRAM,
    MultiWordCommand,
    find_sources,
    is_many,
    notes_about_folders,
    parse_pairs,
    parse_piped,
)
from clsclip_runtime.cli.options import (
    DEFAULT_FOLDER,
    IMAGE_FORMATS,
    VIDEO_FORMATS,
    FrameOptions,
    InferOptions,
    MaskOptions,
    ModelOptions,
    OutputOptions,
    limit_options,
    take,
)
from clsclip_runtime.cli.output import json_option
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.zoom import ZOOM_FLAGS, Zooming, ZoomOptions, zoom_options
from clsclip_runtime.inference.presence import check_filter
from clsclip_runtime.paths import exists
from clsclip_runtime.version import __version__

EXAMPLES = """\b
Examples:
  clsclip-infer photo.jpg --classes bottle boat "dining table"
  clsclip-infer holiday/ --classes dog --out masks --formats png,coco
  clsclip-infer "holiday/*.jpg" --classes-file words.txt --json
  clsclip-infer site.jpg --classes "helmet = safety helmet | hard hat" vest
  clsclip-infer --classes dog cat -- photo.jpg
  clsclip-infer photo.jpg --classes dog --model model.clsclip
  clsclip-infer photo.jpg --classes-file thousand.txt --max-classes 10
  clsclip-infer photo.jpg --classes dog --zoom-in --detector yolo11n.onnx
  clsclip-infer clip.mp4 --classes dog --every 5 --formats overlay,coco
  clsclip-infer 0 --classes cup --drop-frames
  clsclip-infer rtsp://host/door --classes person --json --max-frames 100
  ffmpeg -i clip.mp4 -f image2pipe -c:v mjpeg - |
    clsclip-infer - --stdin stream --classes dog

\b
Exit codes: 0 all done, 1 a failure (the other sources are done),
2 wrong use, 130 interrupted (143 by SIGTERM, 129 by SIGHUP;
what was written is complete)."""

MASKS = (
    *("--presence-threshold", "--presence-filter", "--max-classes", "--mask-threshold", "--min-area", "--largest"),
    *("--fill-holes", "--refine", "--parts", "--polygons"),
)
SECTIONS = {
    "Masks": MASKS,
    "Small things (ClsCLIP+)": ZOOM_FLAGS,
    "Videos, cameras, streams": (
        *("--every", "--max-frames", "--drop-frames", "--batch", "--container", "--codec", "--stream-option"),
        *("--reconnect", "--smooth", "--track", "--stdin", "--fps"),
    ),
    "Engine and limits": (
        *("--backend", "--backend-option", "--threads", "--engines", "--trust-engines", "--isolated"),
        *("--validated-only", "--memory-mb", "--max-pixels"),
    ),
}


@click.command(
    cls=MultiWordCommand,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXAMPLES,
    help="""Segment the things that words name, in pictures and videos.

    SOURCE is a picture, several, a folder of pictures, a quoted pattern, a video, the number of a camera, the address
    of a picture (http://, https://) or of a stream (rtsp://, http://, ...), or - for standard input. A file or folder
    whose name is a number comes before the camera. A word that is not in a picture is reported absent and gets an
    empty mask. Videos, cameras and streams need the extra "video" of the installation.""",
)
@click.argument("sources", metavar="SOURCE...", nargs=-1)
@click.option(
    "--classes",
    multiple=True,
    metavar="WORD...",
    help="Words to find, until the next option. 'helmet = safety helmet | hard hat' is one class of two prompts.",
)
@click.option(
    "--classes-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="More classes, one a line (UTF-8; # comments).",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="DIR|hf:USER/NAME",
    help="Bundle, also on a hub: hf:USER/NAME@REVISION. Default: the embedded model.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Where files go [default: {DEFAULT_FOLDER}; with --json none are written unless --out is given].",
)
@click.option(
    "--formats",
    metavar="LIST",
    help="Of png (a mask per word), overlay, labels, coco, npz, labelstudio, yolo, labelme, sheet; commas between. "
    "coco, labelstudio, yolo and sheet (small pictures side by side) hold all pictures of a run. Of a video, overlay "
    "is a video, coco and labelstudio are a file, the others, and frames, a folder with files of every frame. "
    f"[default: {IMAGE_FORMATS}; of videos {VIDEO_FORMATS}]",
)
@click.option(
    "--presence-threshold",
    type=click.FloatRange(0, 1),
    metavar="0..1",
    help="Words scoring below are absent; 0 segments every word. Default: the model's own.",
)
@click.option(
    "--presence-filter/--no-presence-filter",
    default=None,
    help="Find first which classes an image shows and segment those alone, or segment every class. "
    "Default: find first if the model's threshold was fitted.",
)
@click.option(
    "--max-classes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Segment at most the N likeliest classes of an image or region.",
)
@click.option(
    "--mask-threshold",
    "pixel_threshold",
    type=click.FloatRange(1e-6, 1 - 1e-6),
    metavar="0..1",
    help="Probability that a pixel must exceed to belong to a class. Default: the model's own.",
)
@click.option(
    "--min-area",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Leave out connected parts of masks with fewer pixels.",
)
@click.option("--largest", is_flag=True, help="Keep the largest connected part of every mask alone.")
@click.option("--fill-holes", is_flag=True, help="Make holes of masks part of them.")
@zoom_options
@click.option("--refine", is_flag=True, help="Give masks the edges of the picture.")
@click.option(
    "--parts",
    is_flag=True,
    help="Each connected part of a mask is an object with a box of its own: in JSON, coco, labelstudio, labelme.",
)
@click.option(
    "--polygons",
    is_flag=True,
    help="Polygons in place of run-length codes in coco and labelstudio. They have no holes.",
)
@click.option("--recursive", is_flag=True, help="Look into the sub-folders of folders.")
@json_option("One JSON document per picture or frame, a line each.")
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True, help="Engine.")
@click.option(
    "--backend-option",
    "backend_options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=parse_pairs,
    help="An option of that backend, such as precision=bf16 of openvino; may be given several times.",
)
@click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), metavar="N", help="Threads of the engine. Default: its choice."
)
@click.option(
    "--engines",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of TensorRT engines. Default: the user's cache.",
)
@click.option(
    "--trust-engines", is_flag=True, help="Load engines of --engines that others built: they are machine code."
)
@click.option(
    "--isolated", is_flag=True, help="Run the model in a process with limits: for a bundle of somebody you do not know."
)
@click.option(
    "--validated-only", is_flag=True, help="Refuse a model that was never validated, or that stands on random towers."
)
@limit_options
@click.option("--skip-existing", is_flag=True, help="Skip pictures whose files are there and were made of the same.")
@click.option("--every", type=click.IntRange(min=1), metavar="N", help="Videos: segment each N-th frame only.")
@click.option("--max-frames", type=click.IntRange(min=1), metavar="N", help="Videos: end after N segmented frames.")
@click.option(
    "--drop-frames",
    is_flag=True,
    default=None,
    help="Cameras, streams, pipes: take the newest frame and drop those that the model is too slow for. "
    "Else none is dropped.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Videos: frames that share a call of the model [default: 1].",
)
@click.option(
    "--container", type=click.Choice(["mp4", "webm"]), help="Videos: kind of the overlay's file [default: mp4]."
)
@click.option(
    "--codec",
    type=click.Choice(["vp9", "h264"]),
    help="Videos: how the overlay is coded. h264 is for mp4, and written by x264 (GPL) [default: vp9].",
)
@click.option(
    "--stream-option",
    multiple=True,
    callback=parse_pairs,
    metavar="NAME=VALUE",
    help="Streams: an option of FFmpeg, such as rtsp_transport=udp; repeat.",
)
@click.option(
    "--reconnect",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cameras, streams: connect again at most N times when they hang up [default: end with exit code 1].",
)
@click.option(
    "--smooth",
    is_flag=True,
    default=None,
    help="Videos: hold classes whose presence flickers, and average masks along the motion.",
)
@click.option(
    "--track", is_flag=True, default=None, help="Videos: connected parts get ids that last, in JSON and coco: track_id."
)
@click.option(
    "--stdin",
    callback=parse_piped,
    default="picture",
    show_default=True,
    metavar="KIND",
    help="What - gives: a picture; a stream of JPEG, PNG or PPM pictures; a video (Matroska, MPEG-TS); or raw RGB "
    "frames of a size such as 640x480.",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, 1000, min_open=True),
    metavar="RATE",
    help="Frames a second of sources that do not tell [default: 25].",
)
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.version_option(__version__, prog_name=PROGRAM)
def command(sources: tuple[str, ...], classes: tuple[str, ...], classes_file: Path | None, **options: Any) -> int:
    """Parse, check everything that costs nothing, then run; returns the exit code."""
    # Wrong use must be told at once, not after a model was loaded or a picture was segmented.
    from clsclip_runtime.cli.run import Run
    from clsclip_runtime.text.typed import typed_classes

    if not sources:
        raise click.UsageError(_no_source(classes))
    if not classes and classes_file is None:
        raise click.UsageError("no words were given. Add them: --classes bottle boat")
    cleaned = typed_classes(classes, classes_file)
    recursive, out = options.pop("recursive"), options["out"] or (None if options["as_json"] else DEFAULT_FOLDER)
    found = find_sources(sources, options["stdin"], recursive=recursive, leave_out=out)
    notes = notes_about_folders(sources, recursive=recursive, leave_out=out)
    model, threshold = take(ModelOptions, options), options.pop("presence_threshold")
    about_presence = {
        "--presence-filter": model.presence_filter,
        "--presence-threshold": threshold,
        "--max-classes": model.max_classes,
    }
    zooming = Zooming.from_options(take(ZoomOptions, options), [k for k, v in about_presence.items() if v is not None])
    check_filter(model.presence_filter, threshold, model.max_classes)
    frames, masks, piped = take(FrameOptions, options), take(MaskOptions, options), options.pop("stdin")
    output = OutputOptions.from_options(**options, together=is_many(sources))
    asked = InferOptions(model, threshold, zooming, masks, frames, output, piped)
    asked.check(found)
    return Run(replace(asked, model=model.fetched()), cleaned, found, notes).all_sources()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never a traceback for a user's mistake."""
    with _own_bomb_limit():
        return run_command(command, PROGRAM, argv)


def _no_source(words: Sequence[str]) -> str:
    message = "no SOURCE was given. Give a picture, a folder or a pattern"
    if any(exists(word) for word in words):
        message += f"; words run until the next option, so put it before --classes: {PROGRAM} photo.jpg --classes dog"
    return message


@contextmanager
def _own_bomb_limit() -> Iterator[None]:
    """Let --max-pixels hold alone: some decoders ask for Pillow's limit, which is that of the whole process."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
