"""The options of ``clsclip-export``, in the order of its help, and the job that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from clsclip.cli.tower_options import ACTIVATIONS, MEAN_STD
from clsclip_export.cli.groups import check_groups, option
from clsclip_export.cli.job import Calibrate, Checkpoint, Engines, Job
from clsclip_export.cli.triton import TRITON, read_repository
from clsclip_export.errors import ProfileError
from clsclip_export.options import Published
from clsclip_export.profiles import AXES, Profile, parse_bounds
from clsclip_runtime.backends.tensorrt.edition import EDITIONS
from clsclip_runtime.cli.output import echo
from clsclip_runtime.errors import one_line
from clsclip_runtime.paths import exists

Command = TypeVar("Command", bound=Callable[..., Any])

PRECISIONS = ("fp32", "fp16", "bf16")
TRAINING_FREE = ("cosine", "maskclip", "sclip", "clearclip", "naclip")
"""As :data:`clsclip.training_free.METHODS`, which needs PyTorch."""
_ENGINE_FLAGS = ("version_compatible", "hardware_compatible", "strip_weights", "tf32")

_FILE = click.Path(path_type=Path)
_MODEL = ("--ckpt", "--clipseg", "--training-free")
_PUBLISHED, _TOWERS = ("--clipseg", "--training-free"), ("--ckpt", "--training-free")
_DETECTOR, _INT8, _ENGINE = ("--detector",), ("--int8",), ("--engine",)
_PROFILE: dict[str, Any] = {"metavar": "N,N,N", "needs": (*_MODEL, "--engine")}

_OPTIONS = (
    option(
        "--ckpt",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        group="source",
        help="Checkpoint to export.",
    ),
    option(
        "--clipseg",
        metavar="NAME|DIR",
        group="source",
        help="CLIPSeg's weights: a name on the hub, such as CIDAS/clipseg-rd64-refined, or a folder.",
    ),
    option(
        "--training-free",
        type=click.Choice(TRAINING_FREE),
        group="source",
        help="CLIP's --towers with no decoder: how their last layer runs.",
    ),
    option(
        "--from-bundle",
        type=_FILE,
        metavar="BUNDLE",
        group="source",
        help="Bundle to add --detector, --classes-file or --engine to, or to make --int8.",
    ),
    option("--out", type=_FILE, help="Bundle folder to write."),
    option(
        "--force",
        is_flag=True,
        needs=("--out", "--triton"),
        help="Replace it, once the new one is complete.",
    ),
    option("--towers", needs=_TOWERS, help="Folder or open_clip name, when not the one that the checkpoint names."),
    option("--pretrained", needs=("--towers",), help="Weights for --towers: a tag of open_clip or a local file."),
    option(
        "--activation",
        type=click.Choice(ACTIVATIONS),
        needs=("--training-free",),
        help="Of the towers, where a weights file does not tell.",
    ),
    option(
        "--mean-std",
        type=click.Choice(MEAN_STD),
        needs=("--training-free",),
        help="Normalization of pixels, where a weights file does not tell.",
    ),
    option(
        "--background",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        needs=("--training-free",),
        help="What words compete with for a pixel, one a line. Default: 28 nouns such as sky and wall.",
    ),
    option(
        "--templates",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        needs=_PUBLISHED,
        help="Prompts of a word, one a line, {} where it stands; averaged.",
    ),
    option(
        "--image-size",
        type=click.IntRange(min=1),
        metavar="PIXELS",
        needs=_PUBLISHED,
        help="Side of the model's input. Default: what the weights come with.",
    ),
    option("--name", needs=_MODEL, help="Name of the model in the manifest; default: the bundle's file name."),
    option("--license", metavar="TEXT", needs=_MODEL, help="The weights' license; default: what they come with."),
    option("--description", metavar="TEXT", needs=_MODEL, help="A sentence: what the model knows."),
    option("--fp32", is_flag=True, needs=_MODEL, group="precision", help="Graphs in FP32 [default]."),
    option("--fp16", is_flag=True, needs=_MODEL, group="precision", help="Graphs in FP16, with FP32 where it matters."),
    option(
        "--bf16",
        is_flag=True,
        needs=_MODEL,
        group="precision",
        help="Graphs in BF16 likewise; not for ONNX Runtime's CPU.",
    ),
    option(
        "--int8",
        is_flag=True,
        group="precision",
        help="Products of the image graphs in INT8; needs --calibration-images.",
    ),
    option(
        "--calibration-images",
        type=_FILE,
        metavar="DIR",
        needs=_INT8,
        help="Images like those that the model will see, at least 8: INT8's ranges come from them.",
    ),
    option(
        "--calibration-words",
        multiple=True,
        metavar="WORD",
        needs=_INT8,
        help="Word to ask of them; repeat. Default: 26 nouns.",
    ),
    option(
        "--accept",
        type=click.FloatRange(0.5, 1.0),
        metavar="IOU",
        needs=_INT8,
        help="Write INT8 whose masks agree with FP32's to this mean IoU, in place of 0.97; the manifest tells it.",
    ),
    option(
        "--check-images",
        type=click.Path(exists=True, path_type=Path),
        needs=(*_MODEL, *_INT8),
        help="Image or folder to check the export on; default: scikit-image's photographs.",
    ),
    option(
        "--check-words",
        multiple=True,
        metavar="WORD",
        needs=(*_MODEL, *_INT8),
        help="Word to check with; repeat. Default: 26 nouns.",
    ),
    option(
        "--classes-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Words to encode into the bundle, one a line: a runtime finds them without a tokenizer.",
    ),
    option(
        "--no-text-encoder",
        is_flag=True,
        needs=("--classes-file",),
        help="Leave text encoder and tokenizer out: the bundle knows the words of --classes-file alone.",
    ),
    option(
        "--tiles-presence",
        type=click.FloatRange(0, 1),
        metavar="0..1",
        needs=_MODEL,
        help="Least presence of a class in tiles, as you fitted it; default: the checkpoint's, else a whole image's.",
    ),
    option("--detector", type=_FILE, metavar="FILE", help="Detector to carry: ONNX, or ultralytics' .pt."),
    option("--detector-names", metavar="FILE", needs=_DETECTOR, help="Its class names, one a line, or coco."),
    option("--detector-format", metavar="NAME", needs=_DETECTOR, help="Its outputs' format; default: found by itself."),
    option(
        "--detector-license", metavar="TEXT", needs=_DETECTOR, help="Its weights' license; default: what the file says."
    ),
    option(
        "--detector-side",
        type=click.IntRange(32, 4096),
        metavar="PIXELS",
        needs=_DETECTOR,
        help="Input side of a .pt, a multiple of 32; default: 640.",
    ),
    option(
        "--trust-pickle", is_flag=True, needs=_DETECTOR, help="Load a .pt, although that can run code that is in it."
    ),
    option("--crops", help="Crops a call: least, usual, most. Default: 1,1,4; of a bundle: its own.", **_PROFILE),
    option("--classes", help="Classes a call, likewise. Default: 1,8,64.", **_PROFILE),
    option("--pairs", help="(crop, class) pairs a call, likewise. Default: 1,8,32.", **_PROFILE),
    option("--engine", type=click.Choice(list(EDITIONS)), help="Build TensorRT engines of the bundle too."),
    option(
        "--engines",
        "engine_folder",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        needs=_ENGINE,
        help="Where engines go; default: the user's cache, from which they are loaded by themselves.",
    ),
    option(
        "--workspace",
        type=click.IntRange(min=1),
        metavar="MIB",
        needs=_ENGINE,
        help="Bound on the memory of one layer.",
    ),
    option("--version-compatible", is_flag=True, needs=_ENGINE, help="Engines that later minor versions run, slower."),
    option("--hardware-compatible", is_flag=True, needs=_ENGINE, help="Engines that newer GPUs run too, slower."),
    option("--strip-weights", is_flag=True, needs=_ENGINE, help="Engines without weights; these come from the ONNX."),
    option("--tf32", is_flag=True, needs=_ENGINE, help="Let FP32 products round to TF32."),
    *TRITON,
    option("--optimization-level", type=click.IntRange(0, 5), needs=_ENGINE, help="How long to look for fast kernels."),
)


def export_options(command: Command) -> Command:
    """Add all options to a click command."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


def read_job(context: click.Context, values: dict[str, Any]) -> Job:
    """Make the job that the command line asks for.

    Raises:
        UsageError: the options contradict each other, or ask for nothing.
        WordError: the file of words cannot be used.
    """
    given = check_groups(context)
    check_source(given)
    checkpoint = read_model(values)
    if values["out"] is not None and exists(values["out"]) and not values["force"]:
        raise click.UsageError(f"{values['out']} exists. Give --force to replace it, or another --out.")
    if values["triton"] is not None and exists(values["triton"]) and not values["force"]:
        raise click.UsageError(f"{values['triton']} exists. Give --force to replace it, or another --triton.")
    if values["int8"] and values["calibration_images"] is None:
        raise click.UsageError("--int8 needs --calibration-images, a folder of images like those it will see.")
    return Job(
        checkpoint=checkpoint,
        bundle=values["from_bundle"],
        out=values["out"],
        force=values["force"],
        detector=read_detector(values),
        words=read_classes(values["classes_file"]),
        text_encoder=not values["no_text_encoder"],
        calibrate=Calibrate(values["calibration_images"], _words(values["calibration_words"]), values["accept"])
        if values["int8"]
        else None,
        check_images=values["check_images"],
        check_words=_words(values["check_words"]),
        profile=read_profile(values),
        engines=read_engines(values),
        tiles_presence=values["tiles_presence"],
        license=values["license"],
        description=values["description"],
        triton=values["triton"],
        repository=read_repository(values),
    )


def read_model(values: dict[str, Any]) -> Checkpoint | Published | None:
    """The model that is asked for; None for a bundle."""
    precision = next((name for name in PRECISIONS if values[name]), "fp32")
    if values["ckpt"] is not None:
        return Checkpoint(values["ckpt"], values["towers"], values["pretrained"], values["name"], precision)
    if values["clipseg"] is None and values["training_free"] is None:
        return None
    if values["training_free"] is not None and values["towers"] is None:
        raise click.UsageError("--training-free needs --towers, such as ViT-B-16 with --pretrained openai.")
    return Published(
        clipseg=values["clipseg"],
        training_free=values["training_free"],
        towers=values["towers"],
        pretrained=values["pretrained"],
        activation=values["activation"],
        mean_std=values["mean_std"],
        image_size=values["image_size"],
        background=read_classes(values["background"]),
        templates=read_templates(values["templates"]),
        license=values["license"],
        name=values["name"],
        precision=precision,
    )


def read_templates(path: Path | None) -> tuple[str, ...]:
    """The prompts of ``--templates``; none without it."""
    if path is None:
        return ()
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read as UTF-8 text: {error}") from error
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if not found:
        raise click.UsageError(f"{path} holds no prompt. Write one a line, such as: a photo of a {{}}.")
    for line in found:
        if line.count("{}") != 1 or set("{}") & set(line.replace("{}", "")):
            raise click.UsageError(f"{path}: {line!r} is no prompt. Write {{}} once, where the word stands.")
    return found


def check_source(given: set[str]) -> None:
    """Refuse what has no source or nothing to do.

    Args:
        given: options, as they are typed.
    """
    if not given & {*_MODEL, "--from-bundle"}:
        raise click.UsageError(
            "Give --ckpt, --clipseg or --training-free, or --from-bundle with --detector, --classes-file, --int8 or "
            "--engine: one of them."
        )
    changes = given & {*_MODEL, "--detector", "--classes-file", "--int8"}
    if not changes and not given & {"--engine", "--triton"}:
        raise click.UsageError(
            "--from-bundle needs what to do with it: --detector, --classes-file, --int8, --engine or --triton."
        )
    if "--triton" in given and ("--engine" in given or changes):
        raise click.UsageError("--triton writes a bundle as it is. Change the bundle, or build engines, first.")
    if changes and "--out" not in given:
        raise click.UsageError("Give --out, the bundle folder to write.")
    if not changes and "--out" in given:
        raise click.UsageError(
            "--engine builds in the bundle itself, so --out needs --detector, --classes-file or --int8."
        )
    if {"--int8", "--engine"} <= given:
        raise click.UsageError(
            "--int8 rounds activations with zero points, as CPUs like it best, and TensorRT takes none. "
            "Use --fp16 with --engine."
        )


def read_detector(values: dict[str, Any]) -> Any:
    """The detector that is asked for (a ``DetectorSource``), or None."""
    path: Path | None = values["detector"]
    if path is None:
        return None
    side = values["detector_side"]
    if side is not None and path.suffix.lower() == ".onnx":
        raise click.UsageError("--detector-side is for a .pt: the size of an ONNX file is its own.")
    if side is not None and side % 32:
        raise click.UsageError(f"--detector-side must be a multiple of 32, and it is {side}.")
    from clsclip_export.detector import SIDE, DetectorSource

    return DetectorSource(
        path,
        names=values["detector_names"],
        output_format=values["detector_format"] or "auto",
        license=values["detector_license"],
        trust_pickle=values["trust_pickle"],
        side=side or SIDE,
    )


def read_classes(path: Path | None) -> tuple[str, ...]:
    """The words of ``--classes-file``; none without it."""
    return () if path is None else _words((), path)


def _words(typed: Sequence[str], file: Path | None = None) -> tuple[str, ...]:
    """Words that are typed or in a file, clean; what was changed about them is printed."""
    if not typed and file is None:
        return ()
    from clsclip_runtime.text.typed import typed_classes

    asked = typed_classes(typed, file)
    for note in asked.notes:
        echo(f"note: {one_line(note)}", err=True)
    return asked.words


def read_profile(values: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """The sizes of calls that are given, by axis."""
    try:
        found = {name: parse_bounds(name, values[name]) for name in AXES.values() if values[name] is not None}
        Profile(**found)
    except ProfileError as error:
        raise click.UsageError(str(error)) from error
    return found


def read_engines(values: dict[str, Any]) -> Engines | None:
    """What engines are asked for; None for none."""
    if values["engine"] is None:
        return None
    return Engines(
        values["engine"],
        folder=values["engine_folder"],
        workspace_mib=values["workspace"],
        optimization_level=values["optimization_level"],
        **{name: values[name] for name in _ENGINE_FLAGS},
    )
