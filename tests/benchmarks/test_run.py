"""The script that measures everything: it goes on where it was stopped, and fills the tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks import run
from benchmarks.run import Step
from clsclip_bench.report import markdown, new_document, row_of
from tests.benchmarks.clsclip_bench.test_report import measured


@pytest.fixture
def two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two steps that take a moment, and a README of their own; the second needs a file that may not be there."""
    document = new_document("test", {})
    document["rows"] = [row_of(measured(operations=1e6))]
    (tmp_path / "made.json").write_text(json.dumps(document), "utf-8")
    module = tmp_path / "step_of_test.py"
    module.write_text(
        "import shutil, sys\nassert 'part' in sys.argv[3]\nshutil.copy(sys.argv[1], sys.argv[3])\n"
        f"open({str(tmp_path / 'log')!r}, 'a').write(sys.argv[1] + '\\n')\n",
        "utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "README.md").write_text("a\n<!-- one -->\nold\n<!-- /one -->\nb\n<!-- two --><!-- /two -->\n", "utf-8")
    monkeypatch.setattr(run, "README", tmp_path / "README.md")
    every = [
        Step("one", ("step_of_test", str(tmp_path / "made.json")), 1, markdown),
        Step("two", ("step_of_test", str(tmp_path / "later.json")), 1, lambda document: "the second table"),
    ]
    monkeypatch.setattr(run, "steps", lambda work: every)
    return tmp_path


def call(folder: Path, *arguments: str) -> tuple[int, str]:
    options = ["--work", str(folder / "work"), "--results", str(folder / "results"), "--name", "here", *arguments]
    done = CliRunner().invoke(run.main, options)
    return done.exit_code, done.output


def test_a_run_goes_on_where_it_failed(two_steps: Path) -> None:
    code, output = call(two_steps)
    assert code == 1
    assert "two: failed after" in output
    assert "failed: two; run again to try them again" in output
    readme = (two_steps / "README.md").read_text("utf-8")
    assert "old" not in readme
    assert readme.startswith("a\n<!-- one -->\n| model, engine |")
    assert readme.endswith("<!-- /one -->\nb\n<!-- two --><!-- /two -->\n")
    (two_steps / "made.json").rename(two_steps / "later.json")
    code, output = call(two_steps)
    assert code == 0, output
    assert "one: there already" in output
    assert (two_steps / "log").read_text("utf-8").count("\n") == 2, "each step ran once with success"
    assert "<!-- two -->\nthe second table\n<!-- /two -->" in (two_steps / "README.md").read_text("utf-8")
    results = two_steps / "results"
    assert sorted(path.name for path in results.iterdir()) == ["here.json", "here.md"]
    assert set(json.loads((results / "here.json").read_text("utf-8"))) == {"one", "two"}
    code, output = call(two_steps, "--fresh", "--only", "two")
    assert code == 0
    assert "1 of 2 steps" in output


def test_wrong_steps_and_missing_markers(two_steps: Path) -> None:
    code, output = call(two_steps, "--only", "three")
    assert code == 2
    assert "no step three. There are: one, two" in output
    (two_steps / "README.md").write_text("<!-- one -->", "utf-8")
    code, output = call(two_steps, "--only", "one")
    assert code == 1
    assert "lacks the markers <!-- one --> and <!-- /one -->" in output


def test_a_step_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(run.subprocess.TimeoutExpired):
        run.run([sys.executable, "-c", "import time; time.sleep(30)"], 0.005)


def test_the_readme_has_a_place_for_every_table(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(run.README.read_text("utf-8"), "utf-8")
    names = [step.name for step in run.steps(tmp_path)]
    run.fill(copy, dict.fromkeys(names, "TABLE"))
    text = copy.read_text("utf-8")
    assert text.count("TABLE") == len(names) == len(set(names))
    with pytest.raises(click.ClickException):
        run.fill(copy, {"nothing": "TABLE"})
    assert sum(step.minutes for step in run.steps(tmp_path)) <= 35, "even where every step takes as long as it may"
