"""The script that measures everything: it goes on where it was stopped, and fills the tables."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

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
    assert sum(step.minutes for step in run.steps(tmp_path)) <= 48, "even where every step takes as long as it may"


def timed(name: str, milliseconds: float | None, classes: int = 20, **more: Any) -> dict[str, Any]:
    """A row as documents have it."""
    whole = None if milliseconds is None else {"p50": milliseconds}
    parity = {"reference": True} if more.pop("reference", False) else {"mean_iou": 0.98765}
    given = {"times_first": 2.0, "peak_share": 0.5, "outside_share": 0.1, "load_s": 1.25, "reason": None} | more
    return {"name": name, "whole_ms": whole, "classes": classes, "parity": parity, **given}


def made_documents() -> dict[str, Any]:
    """Those that pages are filled from; every time is another one."""
    model = "clsclip random ViT-B/16 fp32, "
    peers = [
        timed("PyTorch eager, a call for every word", 5000, reference=True),
        timed(model + "openvino", 1501),
        timed(model + "openvino, filtered to 1", 102),
        timed(model + "openvino:bf16", 803),
        timed(model + "onnxruntime-cpu", 1904),
        timed("clsclip random ViT-B/16 int8, openvino", 505),
        timed("clsclip random ViT-B/16 int8, openvino, filtered to 8", 206),
        timed("PyTorch eager, batched, stem shared", 4007),
        timed("CLIPSeg as documented", 4108, family="CLIPSeg"),
        timed("CLIPSeg, encoder shared", 309, family="CLIPSeg"),
    ]
    plus = [timed("ultralytics and PyTorch eager, a call for every word", 710), timed("clsclip, openvino", 111)]
    disk = [timed("openvino, noise", 1700, outside_share=0.08), timed("openvino, smooth", 1600, outside_share=0.17)]
    filtered = [
        timed("random ViT-B/16 fp32, openvino, filtered", ms, classes) for ms, classes in ((200, 20), (190, 1000))
    ]
    named = {"peers": peers, "plus": plus, "disk": disk, "full-size-filtered": filtered}
    return {name: {"rows": rows, "machine": {"processor": "a processor"}} for name, rows in named.items()}


def test_the_figures_of_other_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in run.PLACES:
        page = tmp_path / place.page
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text((run.ROOT / place.page).read_text("utf-8"), "utf-8")
    run.fill_pages(tmp_path, made_documents())
    readme, speed, many = ((tmp_path / page).read_text("utf-8") for page in dict.fromkeys(p.page for p in run.PLACES))
    rows = readme.split("<!-- speed -->")[1].split("<!-- /speed -->")[0].strip().split("\n")
    assert [row.split(" | ")[1] for row in rows[2:]] == ["5,000", "1,501", "505", "102"]
    assert [row.split(" | ")[2] for row in rows[2:4]] == ["1 |", "0.988 |"]
    told = speed.split("<!-- speed -->")[1]
    for figure in (
        "1,904",
        "803",
        "206",
        "4,007",
        "4,108",
        "309",
        "takes 111 ms",
        "take 710. Measured on: a processor.",
        "8.0 % to 17 %",
        "0.95",
    ):
        assert figure in told, figure
    assert "20 words take 1,501 ms without the filter and 102 ms with one\nword left" in many
    assert "take 0.95 times as long" in many


def test_a_page_keeps_its_figures_where_a_row_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = made_documents()
    documents["peers"]["rows"][1]["whole_ms"] = None
    assert run.unmeasured(documents) == {"peers": 1}
    (tmp_path / "README.md").write_text("<!-- speed -->\nold\n<!-- /speed -->", "utf-8")
    run.fill_pages(tmp_path, {"peers": documents["peers"]} | {"disk": documents["disk"]})
    assert "old" in (tmp_path / "README.md").read_text("utf-8")
    assert "README.md keeps its old figures: no row that ends in" in capsys.readouterr().err


def test_the_readme_shows_what_was_measured() -> None:
    table = run.README.read_text("utf-8").split("<!-- peers -->")[1].split("<!-- /peers -->")[0]
    for page in ("README.md", "docs/guides/speed.md"):
        rows = (run.ROOT / page).read_text("utf-8").split("<!-- speed -->")[1].split("<!-- /speed -->")[0]
        times = re.findall(r"^\| [^|]+ \| ([\d,./ ]+) \|", rows, re.MULTILINE)
        assert len(times) >= 4
        for time in (one for row in times for one in row.split(" / ")):
            assert f"| {time} |" in table, f"{page}: {time} ms is in no row of benchmarks/README.md"
