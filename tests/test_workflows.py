"""The workflows call what is there: targets of the Makefile, scripts, jobs of installations, Pythons."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml

from tests import workflows
from tests.installs.__main__ import jobs

ROOT = Path(__file__).parents[1]


def test_every_line_calls_what_is_there() -> None:
    targets = set(re.findall(r"^([\w./-]+):(?!=)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    found = list(workflows.lines())
    assert len(found) > 30
    for line in found:
        first, *words = line.command.split()
        if first == "make":
            assert set(words) <= targets, line
        elif first.startswith("."):
            assert (ROOT / first).exists() or first.startswith(".venv/"), line
        else:
            assert first in ("sudo", "apt-get"), line
        if "tests.installs" in line.command:
            assert words[-1] in jobs(), line


def test_every_extra_has_a_job_and_both_ends_of_the_pythons() -> None:
    document = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text("utf-8"))
    assert set(document["jobs"]["installs"]["strategy"]["matrix"]["only"]) == set(jobs())
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    extras = set(config["options.extras_require"]) - {"dev", "tensorrt"}  # the latter is on its maker's index alone
    assert {name.removeprefix("extra-") for name in jobs() if name.startswith("extra-")} == extras
    lowest = config["options"]["python_requires"].removeprefix(">=")
    pythons = document["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert pythons[0] == lowest
    known = re.findall(r"Python :: (3\.\d+)", config["metadata"]["classifiers"])
    assert (pythons[0], pythons[-1]) == (known[0], known[-1])


def test_what_cannot_run_here_is_told(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text(
        "jobs:\n  a:\n    strategy: {matrix: {python: ['2.7'], way: [x, y]}}\n    steps:\n"
        "      - uses: z\n        with: {python-version: '${{ matrix.python }}'}\n      - run: make ${{ matrix.way }}\n"
        "  b:\n    steps:\n      - run: sudo apt-get update\n      - run: make x\n"
        "  c:\n    container: 'debian:12'\n    steps:\n      - run: make x\n",
        "utf-8",
    )
    assert [(one.command, one.obstacle) for one in workflows.lines(tmp_path)] == [
        ("make x", "needs Python 2.7"),
        ("make y", "needs Python 2.7"),
        ("sudo apt-get update", "installs system packages"),
        ("make x", ""),
        ("make x", "runs in debian:12"),
    ]
    with pytest.raises(ValueError, match="does not know"):
        workflows.filled("${{ secrets.key }}", {})
