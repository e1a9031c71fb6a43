"""All benchmarks of the README, one after another, into ``benchmarks/results``: ``sh benchmarks/run.sh``.

    python -m benchmarks.run [--fresh] [--only STEP] [--name cpu] [--work build/benchmarks]

Every step is a command of its own and leaves one JSON. A step whose JSON is there is not run again, so a run that was
stopped goes on. One that fails is told at the end, and the others go on. At the end the results are put together into
``results/NAME.json``, ``results/NAME.md`` and plots. The tables between the markers of README.md are replaced, and so
are the figures of other pages (``benchmarks.pages``). Rows that did not fit into the minutes of their step are told.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.pages import PLACES, ROOT, Documents
from benchmarks.peers import disk, plus
from benchmarks.peers import table as peers
from clsclip_bench.plots import plot
from clsclip_bench.report import markdown, peaks_sentence, read_document, write_document, write_text
from clsclip_runtime.paths import is_file

HERE = Path(__file__).parent
README = HERE / "README.md"
BENCH = "clsclip_bench.cli"


@dataclass(frozen=True)
class Step:
    """One benchmark.

    Attributes:
        name: of its JSON, and of its markers in the README.
        command: module and arguments; ``--report`` is added.
        minutes: after which it is ended, and counted as failed.
        markdown: makes its table.
        needs_bundle: it measures the full-size model, whose bundle has to be made before.
    """

    name: str
    command: tuple[str, ...]
    minutes: float
    markdown: Callable[[dict[str, Any]], str]
    needs_bundle: bool = False


def steps(work: Path) -> list[Step]:
    """In this order; what matters most first."""
    full_size = str(work / "b16-fp32.clsclip")
    folder = ("--work", str(work))
    one_image = ("--model", full_size, "--crops", "1", "--max-classes", "1")
    exact, filtered = ("--mode", "exact"), ("--mode", "filtered", "--classes", "1,20,100,1000")
    # A thousand words segmented one by one would take minutes a call, and nobody does that: the filter is for them.
    embedded = (BENCH, "--crops", "1,4", *exact, "--classes", "1,5,20,100")
    embedded_filtered = (BENCH, "--crops", "1,4,16", *filtered)
    return [
        Step("peers", ("benchmarks.peers.table", "--seconds", "2", *folder), 20, peers.markdown),
        Step("plus", ("benchmarks.peers.plus", "--seconds", "3", *folder), 2, plus.markdown),
        Step("disk", ("benchmarks.peers.disk", "--seconds", "6", *folder), 2, disk.markdown, True),
        Step("embedded", (*embedded, "--minutes", "5"), 7, markdown),
        Step("embedded-filtered", (*embedded_filtered, "--minutes", "5"), 7, markdown),
        Step("full-size", (BENCH, *one_image, *exact, "--classes", "1,5,20", "--minutes", "2"), 3, markdown, True),
        Step("full-size-filtered", (BENCH, *one_image, *filtered, "--minutes", "6"), 7, markdown, True),
    ]


@click.command()
@click.option("--fresh", is_flag=True, help="Forget what was measured before.")
@click.option("--only", multiple=True, help="Steps to run; others stay as they are.")
@click.option("--name", default="cpu", show_default=True, help="Of the machine, in the names of the results.")
@click.option("--work", default=Path("build/benchmarks"), type=click.Path(path_type=Path), help="Bundles and parts.")
@click.option("--results", default=HERE / "results", type=click.Path(path_type=Path), show_default=True)
@click.option("--readme/--no-readme", default=True, help="Put the tables into README.md and other pages.")
def main(fresh: bool, only: tuple[str, ...], name: str, work: Path, results: Path, readme: bool) -> None:
    """Run what is missing, then put everything together."""
    every = steps(work)
    unknown = set(only) - {step.name for step in every}
    if unknown:
        raise click.UsageError(f"no step {', '.join(sorted(unknown))}. There are: {', '.join(s.name for s in every)}")
    parts = work / "parts" / name
    if fresh:
        shutil.rmtree(parts, ignore_errors=True)
    failed = [step.name for step in every if (not only or step.name in only) and not run_step(step, parts, work)]
    documents = {step.name: read_document(path) for step in every if is_file(path := parts / f"{step.name}.json")}
    if not documents:
        raise click.ClickException("nothing was measured")
    put_together(documents, every, results, name)
    if readme:
        fill(README, {step.name: step.markdown(documents[step.name]) for step in every if step.name in documents})
        fill_pages(ROOT, documents)
    click.echo(f"{len(documents)} of {len(every)} steps are in {results}")
    for step, rows in unmeasured(documents).items():
        click.echo(f"{step}: {rows} rows were not measured; {results / name}.md says why", err=True)
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}; run again to try them again")


def run_step(step: Step, parts: Path, work: Path) -> bool:
    """Run one step, if its JSON is not there; whether it is there then."""
    path = parts / f"{step.name}.json"
    if is_file(path):
        click.echo(f"{step.name}: there already")
        return True
    scratch = parts / f"{step.name}.part.json"
    parts.mkdir(parents=True, exist_ok=True)
    scratch.unlink(missing_ok=True)
    begin = time.monotonic()
    try:
        if step.needs_bundle:
            run([sys.executable, "-m", "benchmarks.peers.material", str(work)], 5)
        run([sys.executable, "-m", *step.command, "--report", str(scratch)], step.minutes)
    except (OSError, subprocess.SubprocessError) as error:
        click.echo(f"{step.name}: failed after {time.monotonic() - begin:.0f} s: {error}", err=True)
        return False
    scratch.replace(path)
    click.echo(f"{step.name}: {time.monotonic() - begin:.0f} s")
    return True


def run(command: list[str], minutes: float) -> None:
    """Run a command in the project's folder; SubprocessError if it fails or takes longer."""
    subprocess.run(command, cwd=ROOT, check=True, timeout=60 * minutes)


def put_together(documents: dict[str, dict[str, Any]], every: list[Step], results: Path, name: str) -> None:
    """One JSON and one Markdown file of all steps, and a plot of those that have a grid."""
    write_document(results / f"{name}.json", documents)
    lines = [f"# Measured on {name}\n"]
    for step in every:
        if step.name in documents:
            document = documents[step.name]
            lines += [f"## {step.name}\n", f"    python -m {' '.join(step.command)}\n"]
            lines += [step.markdown(document).strip() + "\n", peaks_sentence(document) + "\n"]
            if step.command[0] == BENCH and any(row["whole_ms"] for row in document["rows"]):
                plot(document, results / f"{name}-{step.name}.png")
    write_text(results / f"{name}.md", "\n".join(lines))


def unmeasured(documents: Documents) -> dict[str, int]:
    """How many rows of a step have no time, and how many cases were left out; steps without any are not listed."""
    counted = {
        name: sum(row["whole_ms"] is None for row in document["rows"]) + len(document.get("left_out", ()))
        for name, document in documents.items()
    }
    return {name: count for name, count in counted.items() if count}


def fill_pages(root: Path, documents: Documents) -> None:
    """Put the figures of other pages between their markers, where all steps that they need are there."""
    for place in PLACES:
        if all(name in documents for name in place.needs):
            try:
                fill(root / place.page, {place.marker: place.text(documents)})
            except LookupError as error:
                click.echo(f"{place.page} keeps its old figures: {error.args[0]}", err=True)


def fill(path: Path, tables: dict[str, str]) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``. ClickException if a marker is missing."""
    text = path.read_text("utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise click.ClickException(f"{path} lacks the markers {begin} and {end}, between which the table goes")
        text = f"{before}{begin}\n{table.strip()}\n{end}{after}"
    write_text(path, text)


if __name__ == "__main__":
    main()
