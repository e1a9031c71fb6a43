"""The command ``clsclip-export``."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip.errors import ClsclipError
from clsclip_export.detector_options import check_from_bundle, detector_options, detector_source, report
from clsclip_export.engine_options import engine_options, read_engine, read_profile
from clsclip_export.errors import ExportError
from clsclip_export.int8_options import Quantize, int8_options, read_int8
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.paths import cannot_write

if TYPE_CHECKING:
    from clsclip_export.detector import PreparedDetector
    from clsclip_export.profiles import Profile

PROGRAM = "clsclip-export"

EXAMPLES = """
\b
Examples:
  clsclip-export --ckpt last.safetensors --out model.clsclip
  clsclip-export --ckpt last.safetensors --towers ViT-B-16 --pretrained vit_b16.safetensors --out model.clsclip
  clsclip-export --ckpt last.safetensors --out model.clsclip --detector yolo11n.onnx
  clsclip-export --from-bundle model.clsclip --out new.clsclip --detector yolo11n.pt --trust-pickle
  clsclip-export --ckpt last.safetensors --out model.clsclip --fp16 --check-images photos --check-words boat
  clsclip-export --ckpt last.safetensors --out model.clsclip --int8 --calibration-images photos
  clsclip-export --from-bundle model.clsclip --out small.clsclip --int8 --calibration-images photos
  clsclip-export --ckpt last.safetensors --out model.clsclip --fp16 --engine tensorrt-rtx --pairs 1,8,64
  clsclip-export --from-bundle model.clsclip --engine tensorrt
"""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--ckpt", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Checkpoint.")
@click.option("--out", type=click.Path(path_type=Path), help="Bundle folder to write.")
@click.option("--towers", help="Folder or open_clip name, when not the one that the checkpoint names.")
@click.option("--pretrained", help="Weights for --towers: a tag of open_clip or a local file.")
@click.option("--name", help="Name of the model in the manifest; default: the bundle's file name.")
@click.option("--fp32", "precision", flag_value="fp32", default=None, help="Graphs in FP32 [default].")
@click.option("--fp16", "precision", flag_value="fp16", help="Graphs in FP16, with FP32 where it matters.")
@click.option("--bf16", "precision", flag_value="bf16", help="Graphs in BF16 likewise; ONNX Runtime's CPU has none.")
@int8_options
@click.option(
    "--check-images",
    type=click.Path(exists=True, path_type=Path),
    help="Image or folder to check the export on; default: scikit-image's photographs.",
)
@click.option("--check-words", multiple=True, metavar="WORD", help="Word to check with; repeat. Default: 26 nouns.")
@click.option("--force", is_flag=True, help="Replace an existing bundle, once the new one is complete and checked.")
@detector_options
@engine_options
@click.version_option(package_name="clsclip")
def export(ckpt: Path | None, from_bundle: Path | None, out: Path | None, **options: Any) -> None:
    """Turn a checkpoint into a bundle that runs without PyTorch, and prove that it computes the same.

    With --engine, build TensorRT engines beside it, and prove what they are.
    """
    check_from_bundle(from_bundle, ckpt, out, options)
    if out is not None and out.exists() and not options["force"]:
        raise click.UsageError(f"{out} exists. Give --force to replace it, or another --out.")
    quantize = read_int8(options)
    profile, build = read_profile(options), read_engine(options)
    warnings.simplefilter("ignore")
    for logger in ("torch", "torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    if out is not None:
        write(ckpt, from_bundle, out, profile, quantize, options)
    folder = out or from_bundle
    if build is not None and folder is not None:
        build(folder, profile)


def write(
    ckpt: Path | None,
    from_bundle: Path | None,
    out: Path,
    profile: Profile,
    quantize: Quantize | None,
    options: dict[str, Any],
) -> None:
    """Write the bundle that the command line asks for."""
    source = detector_source(options)
    with contextlib.ExitStack() as stack:
        detector, target = None, out
        if source is not None:
            from clsclip_export.detector import prepared_detector

            detector = stack.enter_context(prepared_detector(source))
            report(detector)
        if quantize is not None and (ckpt is not None or detector is not None):
            target = stack.enter_context(beside(out)) / out.name
        if ckpt is not None:
            export_checkpoint(ckpt, target, detector, profile, options)
        elif from_bundle is not None and detector is not None:
            from clsclip_export.detector import add_to_bundle

            add_to_bundle(from_bundle, detector, target, force=options["force"])
        elif from_bundle is not None:
            target = from_bundle
        if quantize is not None:
            quantize(target, out, options)
    size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
    click.echo(f"[✓] {out} written: {size:.1f} MiB, words chosen at call time")


@contextlib.contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A folder for what comes before ``out``, on the same disk."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise cannot_write(out.parent, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def export_checkpoint(
    ckpt: Path, out: Path, detector: PreparedDetector | None, profile: Profile, options: dict[str, Any]
) -> None:
    """Write a checkpoint's bundle, and print how well it computes what PyTorch does."""
    from clsclip.checkpoint import load_checkpoint, read_header
    from clsclip.tower_files import load_towers
    from clsclip_export.bundle import BundleOptions, write_bundle
    from clsclip_export.check_data import CheckData

    given, precision = None, options["precision"] or "fp32"
    if precision == "int8":
        precision = "fp32"  # which is exact, and quantized afterwards
    if options["towers"] is not None:
        size = read_header(ckpt)["towers"]["image_size"]
        given = load_towers(options["towers"], options["pretrained"], image_size=size)
    model, header = load_checkpoint(ckpt, given)
    parity = write_bundle(
        model,
        header,
        out,
        BundleOptions(
            name=options["name"] or out.name.removesuffix(".clsclip"),
            precision=precision,
            profile=profile,
            detector=detector,
        ),
        data=CheckData.read(options["check_images"], options["check_words"]),
        force=options["force"],
    )
    for row in parity:
        click.echo(row.line())
    if precision == "bf16":
        click.echo("[i] ONNX Runtime's CPU provider runs no BF16: checked as rounded doubles, never as shipped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never a traceback for a user's mistake."""
    return run_command(export, PROGRAM, arguments, extra="export", errors=(ExportError, ClsclipError))


if __name__ == "__main__":
    sys.exit(main())
