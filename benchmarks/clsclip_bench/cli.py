"""``clsclip-bench``: how fast bundles are on this machine, and how close to what it can do."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip_bench.ours import MODES, SPELLINGS
from clsclip_runtime.backends.select import MOST_THREADS
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.cli.runner import FAILURE, INTERRUPTED, fail, run_command
from clsclip_runtime.cli.sections import Command
from clsclip_runtime.errors import OptionError, one_line
from clsclip_runtime.paths import absence, exists, is_dir, is_file
from clsclip_runtime.version import __version__

if TYPE_CHECKING:
    from clsclip_bench.compare import Change

PROGRAM = "clsclip-bench"

EXAMPLES = """\b
Examples:
  clsclip-bench
  clsclip-bench --model model.clsclip --model model-int8.clsclip --minutes 5
  clsclip-bench --backend onnxruntime-cpu --crops 1 --classes 1,20
  clsclip-bench --report new.json --plot new.png
  clsclip-bench --compare old.json --fail-slower 10
  clsclip-bench --from new.json --compare old.json --markdown table.md

\b
Exit codes: 0 measured, 1 nothing could be, or a row became slower than
--fail-slower allows, 2 wrong use, 130 interrupted (what was measured
is kept)."""

SECTIONS = {
    "What is measured": (
        *("--mode", "--crops", "--classes", "--picture", "--side", "--words", "--max-classes"),
        *("--threads", "--memory-mb"),
    ),
    "Reports": ("--report", "--markdown", "--plot", "--compare", "--fail-slower", "--from"),
}


def parse_counts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Whole numbers of 1 or more with commas between, each once, in order. For click's ``callback``.

    Raises:
        click.BadParameter: they are none.
    """
    numbers = [int(part) if re.fullmatch(r"\s*[0-9]{1,6}\s*", part) else 0 for part in value.split(",")]
    if not all(numbers):
        raise click.BadParameter(f"'{value}' is not a list of whole numbers of 1 or more, such as 1,20")
    return tuple(dict.fromkeys(numbers))


@click.command(
    cls=Command,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXAMPLES,
    help="""Measure bundles on this machine: times, throughput, memory, loading, and % of the machine's peak.

    Every row is a process of its own. Rows that are compared run in rounds. The peak, the machine's rate of matrix
    products, is measured in the same rounds, so ratios and percentages hold on a busy machine too.""",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Bundle; may be given several times, such as for several precisions. Default: the embedded model.",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(list(SPELLINGS)),
    help="Engine; may be given several times. Default: every one that works here.",
)
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(MODES),
    help="Segment every pair, or those that the presence filter lets through. Default: both.",
)
@click.option(
    "--crops", callback=parse_counts, metavar="LIST", default="1,4,16", show_default=True, help="Pictures in one call."
)
@click.option(
    "--classes",
    callback=parse_counts,
    metavar="LIST",
    default="1,5,20,100,1000",
    show_default=True,
    help="Words of each.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="N",
    help="For everything; rows that would not fit are left out.",
)
@click.option(
    "--picture", "image", type=click.Path(path_type=Path), metavar="FILE", help="Picture to segment. Default: made up."
)
@click.option(
    "--side",
    type=click.IntRange(1, 20000),
    metavar="N",
    help="Side of the made-up picture, pixels. Default: the model's own.",
)
@click.option(
    "--words",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Words to ask, one a line (UTF-8; # comments). Default: made up.",
)
@click.option(
    "--max-classes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Filtered rows: words of a picture, whatever they score. Default: those above the model's threshold.",
)
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), metavar="N", help="Of the engines and of the peak.")
@click.option(
    "--memory-mb",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    metavar="N",
    help="Bound on the activations of one call, MiB.",
)
@json_option("One JSON document on standard output, in place of tables.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write that document here.")
@click.option("--markdown", type=click.Path(path_type=Path), metavar="FILE", help="Write the table here, too.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Write a PNG. Needs matplotlib.")
@click.option("--compare", "old", type=click.Path(path_type=Path), metavar="OLD.json", help="Ratios to an earlier run.")
@click.option(
    "--fail-slower",
    type=click.FloatRange(0),
    metavar="PERCENT",
    help="With --compare: exit with 1 if a row became slower by more.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Measure nothing: take the JSON of an earlier run.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.version_option(__version__, prog_name=PROGRAM)
def command(**options: Any) -> int:
    """Check everything that costs nothing, measure, and write; returns the exit code."""
    return _run(Options(**options))


@dataclass(frozen=True)
class Options:
    """The command line; see the options' own help."""

    models: tuple[Path, ...]
    backends: tuple[str, ...]
    modes: tuple[str, ...]
    crops: tuple[int, ...]
    classes: tuple[int, ...]
    minutes: float
    image: Path | None
    side: int | None
    words: Path | None
    max_classes: int | None
    threads: int | None
    memory_mb: int
    as_json: bool
    report: Path | None
    markdown: Path | None
    plot: Path | None
    old: Path | None
    fail_slower: float | None
    source: Path | None
    quiet: bool


def _run(options: Options) -> int:
    from clsclip_bench.plots import load_matplotlib, plot
    from clsclip_bench.report import markdown, read_document, write_document, write_text

    if options.fail_slower is not None and options.old is None:
        raise click.UsageError("--fail-slower needs an earlier run. Give it: --compare old.json")
    if options.plot is not None:
        load_matplotlib()
    old = None if options.old is None else read_document(options.old)
    for file in (options.report, options.markdown, options.plot):
        _check_file(file)
    code = 0
    if options.source is not None:
        document = read_document(options.source)
        if options.report is not None:
            write_document(options.report, document)
    else:
        document, code = _measure(options)
    changes = None if old is None else _changes(old, document)
    text = markdown(document)
    if options.as_json:
        print_json(document if changes is None else document | {"comparison": [asdict(one) for one in changes]})
    else:
        echo(text)
    if options.markdown is not None:
        write_text(options.markdown, text)
    if options.plot is not None and any(row["whole_ms"] for row in document["rows"]):
        plot(document, options.plot)
    return code if changes is None else max(code, _compared(changes, options))


def _measure(options: Options) -> tuple[dict[str, Any], int]:
    """The document, and the exit code so far."""
    from clsclip_bench.report import write_document
    from clsclip_bench.run import Plan, Run, open_bundles
    from clsclip_runtime.text.typed import typed_classes

    asked = None
    if options.words is not None:
        typed = typed_classes((), options.words)
        asked = list(typed.words)
        for note in typed.notes:
            echo(f"note: {one_line(note)}", err=True)
    if asked is not None and len(asked) < max(options.classes):
        raise click.UsageError(
            f"{options.words} has {len(asked)} words, and {max(options.classes)} are to be asked. "
            "Give a longer list, or fewer --classes"
        )
    if options.image is not None and not is_file(options.image):
        raise click.UsageError(absence(options.image))
    for model in options.models:
        if not is_dir(model):
            raise click.UsageError(f"{absence(model, 'bundle')}. Give the folder that clsclip-export wrote")
    plan = Plan(
        bundles=open_bundles(options.models),
        backends=options.backends,
        modes=options.modes or MODES,
        crops=options.crops,
        classes=options.classes,
        minutes=options.minutes,
        max_classes=options.max_classes,
        options={
            "threads": options.threads,
            "memory_mb": options.memory_mb,
            "image": None if options.image is None else str(options.image.absolute()),
            "side": options.side,
            "asked": asked,
        },
    )
    report = options.report
    with Progress("workloads", shown=not options.quiet) as progress:
        run = Run(plan, progress)
        try:
            run.measure(lambda document: None if report is None else write_document(report, document))
        except KeyboardInterrupt:
            progress.close()
            where = "" if report is None else f"; what was measured is in {report}"
            return run.document, fail(f"interrupted{where}", INTERRUPTED, PROGRAM)
    if run.failed:
        for name, reason in run.document["left_out"].items():
            fail(f"{name}: {reason}", FAILURE, PROGRAM)
    return run.document, FAILURE if run.failed else 0


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Rows of both runs. OptionError if there is none."""
    from clsclip_bench.compare import compare

    changes = compare(old, new)
    if not changes:
        raise OptionError("the two runs have no row in common: model, engine, crops or classes differ. Compare others")
    return changes


def _compared(changes: list[Change], options: Options) -> int:
    """Print the ratios; 1 if a row became slower than is allowed."""
    from clsclip_bench.compare import comparison_table, slower

    if not options.as_json:
        echo(comparison_table(changes))
    worse = [] if options.fail_slower is None else slower(changes, options.fail_slower / 100)
    for change in worse:
        fail(f"{change.key[0]}, {change.key[1]} x {change.key[2]}: {change.ratio:.2f} times as long", FAILURE, PROGRAM)
    return FAILURE if worse else 0


def _check_file(path: Path | None) -> None:
    """Fail before the work, not after it, where a file cannot be written."""
    if path is None:
        return
    folder = next((one for one in path.absolute().parents if exists(one)), None)
    if is_dir(path) or (folder is not None and not (is_dir(folder) and os.access(folder, os.W_OK | os.X_OK))):
        raise click.UsageError(f"cannot write {path}. Give a file in a folder that you may write to")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never a traceback for a user's mistake."""
    return run_command(command, PROGRAM, argv, extra="bench")


if __name__ == "__main__":
    sys.exit(main())
