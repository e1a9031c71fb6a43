"""Try the files of .github/workflows as far as they can be tried here.

    python -m tests.workflows            list every line, with what it waits for
    python -m tests.workflows --run make run those that begin so, each once, in this checkout

Lines that install system packages, and jobs in containers or with another Python, need the machines of a CI.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Line:
    """A ``run:`` of a job.

    Attributes:
        job: workflow, job and values of its matrix.
        command: with the values filled in.
        obstacle: why it cannot be run here; empty if it can.
    """

    job: str
    command: str
    obstacle: str


def lines(folder: Path = ROOT / ".github" / "workflows") -> Iterator[Line]:
    """Every line of every workflow, for every combination of its matrix."""
    for path in sorted(folder.glob("*.yml")):
        document = yaml.safe_load(path.read_text("utf-8"))
        for name, job in document["jobs"].items():
            matrix = job.get("strategy", {}).get("matrix", {})
            for values in itertools.product(*matrix.values()):
                chosen = dict(zip(matrix, values, strict=True))
                label = f"{path.stem}/{name}" + "".join(f" {value}" for value in chosen.values())
                yield from _of_job(label, job, chosen)


def _of_job(label: str, job: dict[str, Any], chosen: dict[str, Any]) -> Iterator[Line]:
    obstacle = ""
    if "container" in job:
        obstacle = f"runs in {filled(job['container'], chosen)}"
    for step in job["steps"]:
        wanted = filled(str(step.get("with", {}).get("python-version", "")), chosen)
        if wanted and wanted != f"{sys.version_info[0]}.{sys.version_info[1]}":
            obstacle = obstacle or f"needs Python {wanted}"
        if "run" in step:
            command = filled(step["run"], chosen)
            installs = "installs system packages" if re.match(r"(sudo )?apt-get ", command) else ""
            yield Line(label, command, obstacle or installs)


def filled(text: str, chosen: dict[str, Any]) -> str:
    """A text with the values of the matrix in it. ValueError if it has another expression."""
    text = re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda found: str(chosen[found[1]]), text)
    if "${{" in text:
        raise ValueError(f"this script does not know: {text}")
    return text


@click.command()
@click.option("--run", "begins", metavar="TEXT", help="Run the lines that begin so, each once.")
def main(begins: str | None) -> None:
    """List the lines, or run some."""
    found = list(lines())
    if begins is None:
        for line in found:
            click.echo(f"{line.job}: {line.command}" + (f"\n    not run: {line.obstacle}" if line.obstacle else ""))
        return
    for command in dict.fromkeys(one.command for one in found if not one.obstacle and one.command.startswith(begins)):
        click.echo(f"--- {command}")
        if code := subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=ROOT).returncode:
            raise click.ClickException(f"{command} ended with {code}")


if __name__ == "__main__":
    main()
