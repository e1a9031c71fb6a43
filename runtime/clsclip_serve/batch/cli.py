"""``clsclip-batch``: a table of masks of many images, that is never begun anew."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip_runtime.backends.select import BACKENDS, MOST_THREADS
from clsclip_runtime.cli.arguments import MultiWordCommand, parse_pairs
from clsclip_runtime.cli.infer import MASKS
from clsclip_runtime.cli.options import limit_options
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.progress import duration
from clsclip_runtime.cli.runner import INTERRUPTED, run_command
from clsclip_runtime.paths import absence, is_dir
from clsclip_runtime.version import __version__

if TYPE_CHECKING:
    from clsclip_serve.batch.job import Job
    from clsclip_serve.batch.run import Outcome, Pool
    from clsclip_serve.batch.sources import Source

PROGRAM = "clsclip-batch"

EXAMPLES = """\b
Examples:
  clsclip-batch images/ --classes bottle boat --out masks
  clsclip-batch s3://bucket/images --classes dog --out s3://bucket/dogs
  clsclip-batch "shards/*.parquet" --classes-file words.txt --out masks
  clsclip-batch images/ --classes dog --out masks --share 3/8
  clsclip-batch images/ --classes dog --out masks --ray auto --workers 16
  clsclip-batch images/ --classes dog --out masks --coco dogs.json

\b
Exit codes: 0 every image has a row, 1 a failure, 2 wrong use, 130
interrupted (143 by SIGTERM, 129 by SIGHUP). Whatever the end, files that
were written stay, and the same command does the rest."""

SECTIONS = {
    "Masks, as in clsclip-infer": MASKS,
    "Small things (ClsCLIP+)": ("--zoom-in", "--detector"),
    "Files of the table": ("--rows", "--seconds", "--coco", "--retry-errors"),
    "Engine and limits": (
        *("--threads", "--batch", "--backend", "--backend-option", "--memory-mb", "--max-pixels", "--image-seconds"),
    ),
    "Several machines": ("--share", "--ray", "--ray-cpus", "--actor-cpus", "--actor-gpus"),
}


def parse_share(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    """Parse ``I/N``. click.BadParameter for what is none."""
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", value)
    if found is None or int(found[1]) > int(found[2]):
        raise click.BadParameter(f"{value!r} is not I/N, such as 3/8")
    return int(found[1]), int(found[2])


@click.command(
    cls=MultiWordCommand,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXAMPLES,
    help="""Segment many images by words into a table: Parquet files, a row for each image.

    SOURCE is a folder (with its sub-folders), a quoted pattern, an image, a .txt of addresses, or Parquet files with
    encoded images; on this machine or on any file system that fsspec knows (s3://, gs://, ...). What the output holds
    is left out, so the same command continues where the last one ended.""",
)
@click.argument("source")
@click.option("--classes", multiple=True, metavar="WORD...", help="Words to find, until the next option.")
@click.option("--classes-file", type=click.Path(path_type=Path), metavar="FILE", help="More classes, one a line.")
@click.option("--out", required=True, metavar="DIR|ADDRESS", help="Folder of the table, on any file system.")
@click.option("--model", metavar="DIR|hf:USER/NAME", help="Bundle. Default: the embedded model.")
@click.option("--workers", type=click.IntRange(1, 100_000), metavar="N", help="Processes [default: one for each core].")
@click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), metavar="N", help="Of each process's engine [default: 1]."
)
@click.option("--batch", type=click.IntRange(1, 1024), default=1, show_default=True, help="Images that share a call.")
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True, help="Engine.")
@click.option(
    "--backend-option",
    "backend_options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=parse_pairs,
    help="An option of it; repeat.",
)
@click.option(
    "--presence-threshold", type=click.FloatRange(0, 1), metavar="0..1", help="Words scoring below are absent."
)
@click.option(
    "--presence-filter/--no-presence-filter", "presence_filter", default=None, help="Find first what an image shows."
)
@click.option("--max-classes", type=click.IntRange(min=1), metavar="N", help="Segment at most the N likeliest.")
@click.option(
    "--mask-threshold",
    type=click.FloatRange(1e-6, 1 - 1e-6),
    metavar="0..1",
    help="Probability that a pixel must exceed.",
)
@click.option("--min-area", type=click.IntRange(min=0), default=0, metavar="N", help="Leave out parts of fewer pixels.")
@click.option("--largest", is_flag=True, help="Keep the largest part of every mask alone.")
@click.option("--fill-holes", is_flag=True, help="Make holes of masks part of them.")
@click.option("--refine", is_flag=True, help="Give masks the edges of the picture.")
@click.option("--zoom-in", is_flag=True, help="ClsCLIP+: regions of the detector, or tiles where there is none.")
@click.option("--detector", type=click.Path(path_type=Path), metavar="ONNX", help="Finds the regions of --zoom-in.")
@limit_options
@click.option(
    "--rows",
    "shard_rows",
    type=click.IntRange(1, 1_000_000),
    default=1000,
    show_default=True,
    help="Most rows of a file.",
)
@click.option(
    "--seconds",
    "shard_seconds",
    type=click.FloatRange(0.1, 86_400),
    default=60.0,
    show_default=True,
    help="After which a file is written with fewer rows: what a kill loses.",
)
@click.option(
    "--image-seconds",
    type=click.FloatRange(1, 86_400),
    default=600.0,
    show_default=True,
    help="Most seconds of one image.",
)
@click.option(
    "--share", default="1/1", callback=parse_share, metavar="I/N", help="Do the I-th of N parts: on N machines."
)
@click.option("--retry-errors", is_flag=True, help="Do images again whose rows have an error.")
@click.option("--coco", metavar="FILE", help="Write the whole table as one COCO document at the end.")
@click.option("--ray", "ray_address", metavar="local|auto|ADDRESS", help="Ray cluster, in place of processes.")
@click.option("--ray-cpus", type=click.IntRange(1), metavar="N", help="CPUs that --ray local may use.")
@click.option(
    "--actor-cpus", type=click.FloatRange(0.01), default=1.0, show_default=True, help="CPUs of an actor of Ray."
)
@click.option("--actor-gpus", type=click.FloatRange(0), default=0.0, show_default=True, help="GPUs of an actor of Ray.")
@json_option("A JSON document of the run at the end.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.version_option(__version__, prog_name=PROGRAM)
def command(
    source: str,
    classes: tuple[str, ...],
    classes_file: Path | None,
    out: str,
    as_json: bool,
    quiet: bool,
    share: tuple[int, int],
    coco: str | None,
    **options: Any,
) -> int:
    """Check everything that costs nothing, then run."""
    from clsclip_runtime.text.typed import typed_classes

    if not classes and classes_file is None:
        raise click.UsageError("no words were given. Add them: --classes bottle boat")
    if options["ray_cpus"] is not None and options["ray_address"] != "local":
        raise click.UsageError("--ray-cpus is about a cluster that is started here. Add --ray local")
    asked = typed_classes(classes, classes_file)
    from clsclip_serve.batch.coco import coco_from_parquet
    from clsclip_serve.batch.places import Place
    from clsclip_serve.batch.run import run
    from clsclip_serve.batch.shards import Lock, Writer, read_held
    from clsclip_serve.batch.sources import find_images

    model = _model(options["model"])
    place = Place.from_address(out)
    if coco is not None:
        Place.from_address(coco)
    job = _job(model, asked, options)
    found = find_images(source, share=share)
    made_of = job.made_of(found.root)
    writer = Writer(place, made_of, rows=options["shard_rows"], seconds=options["shard_seconds"])
    lock = Lock(place, f"{share[0]}-{share[1]}")
    try:
        held = read_held(place, made_of, retry_errors=options["retry_errors"])
        writer.begin()
        images = set(found.names)
        held.done &= images
        if not quiet:
            for note in (*asked.notes, *found.notes):
                echo(f"note: {note}", err=True)
            if held.done:
                echo(f"{len(held.done):,} of {len(images):,} images are in {place.address}", err=True)
        workers = options["workers"] or _cores()
        chunks = found.left(held.done, _chunk(len(images) - len(held.done), workers, options["batch"]))
        outcome = run(
            _pool(job, found, workers, options, bool(chunks)), chunks, writer, held, len(images), shown=not quiet
        )
        if coco is not None and not outcome.stopped:
            outcome.notes += coco_from_parquet(out, coco)
    finally:
        lock.release()
    _report(outcome, place.address, as_json=as_json, quiet=quiet)
    return INTERRUPTED if outcome.stopped else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(command, PROGRAM, arguments, extra="scale")


def _model(model: str | None) -> str | None:
    """The model as every process finds it."""
    if model is None or model.startswith("hf:"):
        return model
    if not is_dir(model):
        raise click.UsageError(f"{absence(model, 'bundle')}. Give the folder that clsclip-export wrote")
    return os.path.abspath(model)  # noqa: PTH100 (links stay as they are)


def _job(model: str | None, asked: Any, options: dict[str, Any]) -> Job:
    from clsclip_serve.batch.job import Job

    detector = options["detector"]
    if detector is not None and not options["zoom_in"]:
        raise click.UsageError("--detector finds the regions of --zoom-in. Add it")
    names = ("presence_threshold", "presence_filter", "max_classes", "mask_threshold", "min_area", "largest")
    asked_options = {name: options[name] for name in (*names, "fill_holes", "refine", "zoom_in")}
    return Job.of_model(
        model,
        asked,
        backend=options["backend"],
        backend_options=dict(options["backend_options"]),
        detector=None if detector is None else os.path.abspath(detector),  # noqa: PTH100
        threads=options["threads"] or 1,
        batch=options["batch"],
        memory_mb=options["memory_mb"],
        max_pixels=options["max_pixels"],
        options={name: value for name, value in asked_options.items() if value not in (None, False, 0)}
        | {name: value for name, value in asked_options.items() if value is False and name == "presence_filter"}
        | ({"presence_threshold": 0.0} if options["presence_threshold"] == 0 else {}),
    )


def _pool(job: Job, found: Source, workers: int, options: dict[str, Any], is_work: bool) -> Pool:
    address = options["ray_address"]
    if address is None or not is_work:
        from clsclip_serve.batch.pool import ProcessPool

        return ProcessPool(job, found.reader(), workers, seconds=options["image_seconds"])
    from clsclip_serve.batch.ray_pool import RayPool

    return RayPool(
        job,
        found.reader(),
        workers,
        address,
        cpus=options["actor_cpus"],
        gpus=options["actor_gpus"],
        local_cpus=options["ray_cpus"],
        seconds=options["image_seconds"],
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunk(images: int, workers: int, batch: int) -> int:
    """Images that a process takes at a time: few, so that all end together, in whole calls."""
    return batch * max(1, min(8, images // (workers * batch * 4)))


def _report(outcome: Outcome, address: str, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json(outcome.to_json() | {"out": address})
    if quiet:
        return
    for note in outcome.notes:
        echo(f"note: {note}", err=True)
    for line in outcome.first_errors:
        echo(f"note: {line}", err=True)
    rest = outcome.errors - len(outcome.first_errors)
    if rest > 0:
        echo(f"note: {rest:,} more rows have an error: column error of the table", err=True)
    if not as_json:
        rate = f", {outcome.rate:.2f} a second after {outcome.started:.1f} s to begin" if outcome.rate else ""
        echo(
            f"{outcome.before + outcome.rows:,} of {outcome.images:,} images in {address}: {outcome.rows:,} in "
            f"{duration(outcome.started + outcome.seconds)}{rate}; {outcome.errors:,} with an error"
        )


if __name__ == "__main__":
    sys.exit(main())
