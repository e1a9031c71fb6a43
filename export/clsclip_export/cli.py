"""The command ``clsclip-export``."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip_export.detector_options import check_from_bundle, detector_options, detector_source, report
from clsclip_export.errors import ExportError

if TYPE_CHECKING:
    from clsclip_export.detector import PreparedDetector

EXAMPLES = """
\b
Examples:
  clsclip-export --ckpt last.safetensors --out model.clsclip
  clsclip-export --ckpt last.safetensors --towers ViT-B-16 --pretrained vit_b16.safetensors --out model.clsclip
  clsclip-export --ckpt last.safetensors --out model.clsclip --detector yolo11n.onnx
  clsclip-export --from-bundle model.clsclip --out new.clsclip --detector yolo11n.pt --trust-pickle
"""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--ckpt", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Checkpoint.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Bundle folder to write.")
@click.option("--towers", help="Folder or open_clip name, when not the one that the checkpoint names.")
@click.option("--pretrained", help="Weights for --towers: a tag of open_clip or a local file.")
@click.option("--name", help="Name of the model in the manifest; default: the bundle's file name.")
@click.option("--force", is_flag=True, help="Replace an existing bundle, once the new one is complete and checked.")
@detector_options
@click.version_option(package_name="clsclip")
def export(ckpt: Path | None, from_bundle: Path | None, out: Path, **options: Any) -> None:
    """Turn a checkpoint into a bundle that runs without PyTorch, and prove that it computes the same."""
    check_from_bundle(from_bundle, ckpt, options)
    if out.exists() and not options["force"]:
        raise click.UsageError(f"{out} exists. Give --force to replace it, or another --out.")
    warnings.simplefilter("ignore")
    for logger in ("torch", "torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    source = detector_source(options)
    with contextlib.ExitStack() as stack:
        detector = None
        if source is not None:
            from clsclip_export.detector import prepared_detector

            detector = stack.enter_context(prepared_detector(source))
            report(detector)
        if ckpt is not None:
            export_checkpoint(ckpt, out, detector, **options)
        elif from_bundle is not None and detector is not None:
            from clsclip_export.detector import add_to_bundle

            add_to_bundle(from_bundle, detector, out, force=options["force"])
    size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
    click.echo(f"[✓] {out} written: {size:.1f} MiB, words chosen at call time")


def export_checkpoint(
    ckpt: Path,
    out: Path,
    detector: PreparedDetector | None,
    *,
    towers: str | None,
    pretrained: str | None,
    name: str | None,
    force: bool,
) -> None:
    """Write a checkpoint's bundle, and print how well it computes what PyTorch does."""
    from clsclip.checkpoint import load_checkpoint, read_header
    from clsclip.tower_files import load_towers
    from clsclip_export.bundle import write_bundle

    given = None
    if towers is not None:
        given = load_towers(towers, pretrained, image_size=read_header(ckpt)["towers"]["image_size"])
    model, header = load_checkpoint(ckpt, given)
    called = name or out.name.removesuffix(".clsclip")
    for row in write_bundle(model, header, out, name=called, force=force, detector=detector):
        click.echo(row.line())


def main() -> None:
    """Entry point: exit code 2 for wrong use, 1 for a failure, 130 on interrupt; no traceback for a user's mistake."""
    from clsclip.errors import ClsclipError
    from clsclip_runtime.errors import ClsclipRuntimeError

    try:
        sys.exit(export.main(standalone_mode=False) or 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (ClsclipError, ClsclipRuntimeError, ExportError) as error:
        click.echo(f"clsclip-export: {error}", err=True)
        sys.exit(1)
    except Exception as error:  # the last line of defence: one line, not a traceback
        if os.environ.get("CLSCLIP_DEBUG"):
            raise
        click.echo(
            f"clsclip-export: {type(error).__name__}: {error}\nRun with CLSCLIP_DEBUG=1 for the traceback.", err=True
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
