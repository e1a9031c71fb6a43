"""The document: its rows, its table, its picture, and two of them compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsclip_bench.case import Workload
from clsclip_bench.compare import compare, comparison_table, slower
from clsclip_bench.operations import BundleOperations
from clsclip_bench.plots import plot
from clsclip_bench.report import (
    figure,
    markdown,
    new_document,
    percent,
    read_document,
    row_of,
    write_document,
    write_text,
)
from clsclip_bench.session import Measured
from clsclip_runtime.bundle.opening import TRUNK, Bundle
from clsclip_runtime.errors import OptionError, OutputError
from tests.benchmarks.clsclip_bench.doubles import spec


def measured(milliseconds: float = 20.0, classes: int = 5, **facts: Any) -> Measured:
    calls = [{"whole": milliseconds / 1000, "engine": 0.75 * milliseconds / 1000}] * 12
    row = Measured(spec("a|b"), Workload(1, classes), 1.25, {"whole": 0.1, "text": 0.03}, calls)
    row.facts = {"pairs": classes} | facts
    row.memory, row.peak = {"mib": 123.0, "gpu_mib": None}, 2e9
    return row


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    made = new_document("test", {"minutes": 1})
    made["rows"] = list(rows)
    made["peaks"] = {
        "cpu fp32": {"engine": "numpy", "size": 2048, "per_second": 2e9, "tried_per_second": {}, "products": 3},
        "cpu bf16": {"not_measured": "no engine"},
    }
    return made


def test_a_row_by_hand() -> None:
    row = row_of(measured(operations=15e6))
    assert row["whole_ms"]["p50"] == 20
    assert row["engine_ms"]["p50"] == 15
    assert row["outside_share"] == 0.25
    assert row["images_x_classes_per_second"] == 250
    assert row["per_second"] == 1e9  # 15 million in 15 ms
    assert row["peak_share"] == 0.5
    assert row["peak_share_whole"] == 0.375
    assert (row["load_s"], row["text_ms"], row["first_call_ms"]) == (1.25, 30, 100)
    assert row["peak_memory_mib"] == 123


def test_operations_are_of_the_graphs_that_ran() -> None:
    operations = BundleOperations(Bundle.open())
    row = row_of(measured(graphs=[TRUNK]), operations)
    assert row["operations"]["call"] == row["operations"]["by_graph"][TRUNK] == operations.of(TRUNK).at(C=1, K=5, P=5)
    assert row["operations"]["text"] == operations.of_words(5)
    row = row_of(measured(graphs=["nothing.onnx"]), operations)
    assert "nothing.onnx" in row["operations"]["reason"]
    assert row["peak_share"] is None


def test_the_document_is_whole_json(tmp_path: Path) -> None:
    not_run = row_of(Measured(spec("later"), Workload(4, 100), reason="no time left"))
    made = document(row_of(measured(operations=1e6)), not_run)
    path = tmp_path / "deep" / "run.json"
    write_document(path, made)
    assert read_document(path) == json.loads(path.read_text("utf-8")) == made
    assert {"schema", "date", "machine", "versions", "settings", "peaks", "rows", "interrupted"} <= set(made)
    assert {"processor", "cores", "memory_gib", "gpus", "python", "load_average"} <= set(made["machine"])
    assert made["versions"]["clsclip"]
    keys = set(made["rows"][0])
    assert keys == set(made["rows"][1]), "every row has every key"
    assert [one.name for one in path.parent.iterdir()] == ["run.json"]


def test_the_table(tmp_path: Path) -> None:
    not_run = row_of(Measured(spec("later"), Workload(4, 100), reason="no time left"))
    text = markdown(document(row_of(measured(operations=1e6)), not_run))
    header, rule, row, *rest = text.splitlines()
    assert header.count("|") == rule.count("|") == row.replace("\\|", "").count("|")
    assert "a\\|b" in row
    assert "25 %" in row
    assert any("2 GFLOP/s (numpy, 2048³)" in line and "no engine" in line for line in rest)
    assert rest[-1] == "Not measured: later, 4 x 100: no time left"


def test_reasons_stand_once_however_many_rows_have_them() -> None:
    late = [
        row_of(Measured(spec(name), Workload(1, classes), reason="no time left"))
        for name in ("one", "two")
        for classes in (5, 100)
    ]
    made = document(row_of(measured(operations=1e6)), *late) | {"left_out": {"a": "no GPU", "b": "no GPU", "c": "off"}}
    assert markdown(made).split("\n\n")[-3:] == [
        "Not measured: one; two, 1 x 5, 1 x 100: no time left",
        "Left out: a; b: no GPU",
        "Left out: c: off\n",
    ]
    assert "Over 100 %" not in markdown(made)
    made["rows"][0]["peak_share"] = 1.39
    assert "Over 100 % of peak: the peak is the fastest matrix product" in markdown(made)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (1234.5, "1,234"), (12.34, "12.3"), (0.01234, "0.0123"), (1e-7, "0.000000100")],
)
def test_figures_have_three_digits(value: float | None, text: str) -> None:
    assert figure(value) == text


def test_percent() -> None:
    assert [percent(one) for one in (None, 0.0512, 0.51, 1.0)] == ["–", "5.1 %", "51 %", "100 %"]


@given(old=st.floats(0.01, 1e4), new=st.floats(0.01, 1e4), tolerance=st.floats(0, 2))
def test_slower_is_by_time(old: float, new: float, tolerance: float) -> None:
    changes = compare({"rows": [row_of(measured(old))]}, {"rows": [row_of(measured(new))]})
    (change,) = changes
    assert change.ratio == pytest.approx(new / old, rel=1e-2, abs=0.02)
    assert bool(slower(changes, tolerance)) == (change.ratio > 1 + tolerance)


def test_only_rows_of_both_runs_are_compared() -> None:
    old = document(row_of(measured(20, classes=5, operations=1e6)), row_of(measured(20, classes=1)))
    not_run = row_of(Measured(spec("a|b"), Workload(1, 1), reason="no time"))
    new = document(row_of(measured(30, classes=5, operations=1e6)), row_of(measured(20, classes=7)), not_run)
    (change,) = compare(old, new)
    assert change.key == ("a|b", 1, 5)
    assert change.ratio == pytest.approx(1.5)
    assert change.ratio_of_shares == pytest.approx(1.5, rel=1e-4)
    assert "| 1.50 | 1.50 |" in comparison_table([change])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "cannot read"),
        ("[]", "not the result of a benchmark"),
        ('{"schema": 1, "rows": [{}]}', "not the result of a benchmark"),
        ('{"schema": 9, "rows": []}', "newer clsclip"),
    ],
)
def test_files_that_are_no_results(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(OptionError, match=message):
        read_document(path)


def test_results_of_0_1_have_the_new_names(tmp_path: Path) -> None:
    old = json.loads(Path(__file__).with_name("results_0_1.json").read_text("utf-8"))
    assert old["schema"] == 1, "measured with 0.1"
    (tmp_path / "old.json").write_text(json.dumps(old), "utf-8")
    new = read_document(tmp_path / "old.json")
    assert new["schema"] == 2
    assert new["peaks"] == old["limits"] and "limits" not in new
    assert new["settings"]["max_classes"] == old["settings"]["top_k"] == 1
    for row, before in zip(new["rows"], old["rows"], strict=True):
        assert (row["peak_share"], row["peak_share_whole"]) == (before["share"], before["share_whole"])
        assert row["peak_per_second"] == before["limit_per_second"]
        assert (row["mode"], before["mode"]) == ("filtered", "gated")
        assert row["name"] == before["name"].replace("gated", "filtered") != before["name"]
        assert row["whole_ms"] == before["whole_ms"]
    assert "% of peak" in markdown(new)


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "file" / "x.md", "text")
    with pytest.raises(OutputError, match="cannot write"):
        plot(document(row_of(measured())), tmp_path / "file" / "x.png")


def test_the_plot(tmp_path: Path) -> None:
    from PIL import Image

    plot(document(row_of(measured(operations=1e6)), row_of(measured(40, classes=20))), tmp_path / "run.png")
    with Image.open(tmp_path / "run.png") as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 10
    with pytest.raises(OptionError, match="nothing was measured"):
        plot(document(), tmp_path / "none.png")
