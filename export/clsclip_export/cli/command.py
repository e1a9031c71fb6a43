"""The command ``clsclip-export``."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from clsclip.errors import ClsclipError
from clsclip_export.cli.job import run_job
from clsclip_export.cli.options import export_options, read_job
from clsclip_export.errors import ExportError
from clsclip_runtime.cli.output import json_option, print_json
from clsclip_runtime.cli.progress import LogHandler
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.sections import Command
from clsclip_runtime.version import __version__

PROGRAM = "clsclip-export"

EXAMPLES = """
\b
Examples:
  clsclip-export --ckpt last.safetensors --out model.clsclip
  clsclip-export --ckpt last.safetensors --out model.clsclip --fp16
  clsclip-export --ckpt last.safetensors --out model.clsclip --int8 \\
    --calibration-images photos
  clsclip-export --ckpt last.safetensors --out model.clsclip \\
    --detector yolo11n.onnx
  clsclip-export --ckpt last.safetensors --out small.clsclip \\
    --classes-file words.txt --no-text-encoder
  clsclip-export --clipseg CIDAS/clipseg-rd64-refined --out clipseg.clsclip
  clsclip-export --training-free naclip --towers ViT-B-16 \\
    --pretrained openai --out clip.clsclip
  clsclip-export --from-bundle model.clsclip --out small.clsclip --int8 \\
    --calibration-images photos
  clsclip-export --from-bundle model.clsclip --engine tensorrt

\b
Exit codes: 0 written, and right; 1 a failure, 2 wrong use, 130 interrupted.
A bundle that does not compute the same is not written."""

SECTIONS = {
    "Weights other than a checkpoint's": (
        *("--towers", "--pretrained", "--activation", "--mean-std", "--background", "--templates", "--image-size"),
    ),
    "Precision": ("--fp32", "--fp16", "--bf16", "--int8", "--calibration-images", "--calibration-words", "--accept"),
    "What the bundle carries": (
        *("--classes-file", "--no-text-encoder", "--tiles-presence", "--detector", "--detector-names"),
        *("--detector-format", "--detector-license", "--detector-side", "--trust-pickle"),
    ),
    "Checks": ("--check-images", "--check-words"),
    "TensorRT engines": (
        *("--engine", "--engines", "--crops", "--classes", "--pairs", "--workspace", "--version-compatible"),
        *("--hardware-compatible", "--strip-weights", "--tf32", "--optimization-level"),
    ),
    "Triton": (
        *("--triton", "--triton-layout", "--triton-platform", "--triton-engines", "--triton-gpu"),
        "--triton-environment",
    ),
}


@click.command(
    cls=Command, sections=SECTIONS, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]}
)
@export_options
@json_option("One JSON document on standard output; lines go to the other.")
@click.version_option(__version__, prog_name=PROGRAM)
@click.pass_context
def command(context: click.Context, /, as_json: bool, **values: Any) -> None:
    """Turn a checkpoint into a bundle that runs without PyTorch, and prove that it computes the same.

    With --from-bundle, add to a bundle. With --engine, build TensorRT engines of it, and prove what they are.
    """
    job = read_job(context, values)
    warnings.simplefilter("ignore")
    for logger in ("torch", "torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    with _told():
        done = run_job(job)
    if as_json:
        print_json(done.to_json())


@contextmanager
def _told() -> Iterator[None]:
    """Print what the export is at, from its first second, on standard error."""
    log, handler = logging.getLogger("clsclip_export"), LogHandler()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never a traceback for a user's mistake."""
    return run_command(command, PROGRAM, arguments, extra="export", errors=(ExportError, ClsclipError))


if __name__ == "__main__":
    sys.exit(main())
