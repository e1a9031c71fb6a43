"""``clsclip-eval run --benchmark NAME``: a bundle scored as the training-free literature does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from clsclip.cli.protocol import size_protocol
from clsclip_runtime.bundle.hub import on_hub
from clsclip_runtime.cli.output import echo, print_json
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.paths import exists, is_file

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)

NAMES = ("voc21", "voc20", "coco-object", "context59", "cocostuff")

_OWN = {"names"}
"""Options that only a benchmark has."""

_SHARED = {
    *("benchmark", "root", "allow_missing", "models", "protocol", "presence", "backend", "threads", "limit"),
    *("regions", "refine"),
}
"""Options that a benchmark takes too, besides ``--json``."""


def benchmark_options(command: Command) -> Command:
    """Add the options of benchmarks to a command that reads data too."""
    options = (
        click.option("--benchmark", type=click.Choice(NAMES), help="In place of --data: every pixel gets a name."),
        click.option("--names", type=_FILE, metavar="FILE", help="benchmark: names, a line a class, commas between."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def run_benchmark(model: Path | None, options: dict[str, Any], limit: int | None, *, as_json: bool) -> bool:
    """Run ``--benchmark`` and print its score; takes its own options out of ``options``.

    Returns:
        Whether a benchmark was asked.

    Raises:
        UsageError: options are missing, or mean nothing for what was asked.
        DataError, BundleError, BackendError: from the parts.
    """
    benchmark, names = (options.pop(name) for name in ("benchmark", "names"))
    check_given(benchmark)
    if benchmark is None:
        return False
    if model is not None and not on_hub(model) and not exists(model):
        raise click.UsageError(f"no such model: {model}. Give a bundle's folder.")
    if model is not None and is_file(model):
        raise click.UsageError(
            f"--benchmark scores bundles, and {model} is a file. Make one: "
            f"clsclip-export --ckpt {model} --out model.clsclip"
        )
    protocol = size_protocol(options["protocol"], True)
    from clsclip_runtime.regions import TILES

    regions = options["regions"]
    if regions is not None and str(regions) != TILES:
        raise click.UsageError(f"--benchmark searches whole pictures, or --regions {TILES}: {regions} is neither.")
    from clsclip.data.benchmarks import BENCHMARKS, names_file
    from clsclip.evaluation.benchmark import Asking, benchmark_table, read_names, score_benchmark
    from clsclip_runtime import Segmenter

    if options["root"] is None:
        raise click.UsageError("Give the folder of the data: --root DIR.")
    opened = BENCHMARKS[benchmark](options["root"], options["allow_missing"])
    asked = read_names(names or names_file(opened), opened)
    asking = Asking(protocol, regions is not None, options["refine"], options["presence"])
    with (
        Segmenter.load(model, options["backend"], threads=options["threads"]) as segmenter,
        Progress(f"{benchmark}, pictures") as progress,
    ):
        score = score_benchmark(opened, segmenter, asked, asking, limit=limit, progress=progress.update)
    if as_json:
        print_json(score.to_json())
    else:
        echo(benchmark_table(score))
    return True


def check_given(benchmark: str | None) -> None:
    """Refuse options that were given and mean nothing. UsageError."""
    context = click.get_current_context()
    given = {
        option.name: option.opts[0]
        for option in context.command.params
        if option.name is not None
        and context.get_parameter_source(option.name) is not click.core.ParameterSource.DEFAULT
    }
    if benchmark is None:
        if "kind" not in given:
            raise click.UsageError("Give --data, or --benchmark.")
        for name in sorted(_OWN & set(given)):
            raise click.UsageError(f"{given[name]} is for --benchmark.")
        return
    for name in given:
        if name not in _OWN | _SHARED | {"as_json"}:
            raise click.UsageError(f"{given[name]} means nothing with --benchmark.")
