"""Tables: the paper's figures are copied right, runs are done once, and a report says what was not run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click import UsageError

from clsclip.cli.tables import region_sources
from clsclip.data import Fold
from clsclip.errors import DataError
from clsclip.evaluation import Protocol
from clsclip.model import ModelConfig
from clsclip.reproduce.tables.published import TABLES, Row, Table, at, navigation
from clsclip.reproduce.tables.report import markdown, summary
from clsclip.reproduce.tables.runs import GivenModel, TableRun, folder_name, mean_and_spread, run_table
from clsclip.training.config import TrainConfig
from tests.clsclip.evaluation.doubles import FixedMasks
from tests.clsclip.training.tiny_fold import tiny_fold
from tests.tiny import tiny_towers


def test_published_figures() -> None:
    main = TABLES[4].rows[0]
    assert sum(main.folds) / 4 == pytest.approx(56.4, abs=0.05)
    assert main.miou == 56.4
    coco = TABLES[5].rows[0]
    assert sum(coco.folds) / 4 == pytest.approx(37.0, abs=0.05)
    assert coco.miou == 37.0
    best = {number: max(row.miou or 0 for row in TABLES[number].rows) for number in (1, 3, 4, 6)}
    assert set(best.values()) == {71.5}, "every ablation's best row is the paper's ClsCLIP+"
    assert round(26.2 + 23.6, 1) == TABLES[7].rows[1].miou


def test_navigation_sets() -> None:
    assert [navigation(12, place) for place in ("first", "shallow", "spread", "last")] == [
        (0, 1, 2),
        (2, 3, 4),
        (2, 5, 8),
        (9, 10, 11),
    ]
    for layers in range(2, 12):
        for place in ("first", "shallow", "spread", "last"):
            chosen = navigation(layers, place)
            assert chosen and all(0 <= layer < layers for layer in chosen), (layers, place)
    assert len({navigation(6, place) for place in ("first", "shallow", "spread", "last")}) == 4


def test_mean_and_spread() -> None:
    assert mean_and_spread([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_and_spread([5.0, float("nan")]) == (5.0, 0.0)
    assert mean_and_spread([])[0] != mean_and_spread([])[0]


@pytest.fixture
def run(tmp_path: Path) -> TableRun:
    towers = tiny_towers()
    opened: dict[int, Fold] = {}

    def open_fold(fold: int) -> Fold:
        return opened.setdefault(fold, tiny_fold())

    return TableRun(
        open_fold=open_fold,
        towers=towers,
        towers_source=TOWERS,
        folds=(0,),
        seeds=(0, 1),
        base=ModelConfig(decoder_heads=2),
        training=TrainConfig(steps=1, batch=4, workers=0),
        protocol=Protocol(every=True),
        runs=tmp_path,
        regions={},
    )


TOWERS = "tiny:"


def test_a_table_trains_once_and_skips_what_it_cannot_run(run: TableRun, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsclip.reproduce.tables import runs

    monkeypatch.setattr(runs, "open_predictor", lambda path, towers: predictor_of(path, run))
    table = Table(
        1,
        "a table",
        "pascal",
        (Row("paper", at("last"), miou=56.4, fb_iou=67.9), Row("zoomed", at("last"), regions="regions", miou=71.5)),
        "a note",
    )
    outcomes = run_table(table, run)
    assert [len(outcome.results) for outcome in outcomes] == [2, 0]
    trained = sorted(path.parent.name for path in run.runs.rglob("last.safetensors"))
    assert trained == ["fold0-seed0", "fold0-seed1"]
    times = [path.stat().st_mtime_ns for path in sorted(run.runs.rglob("last.safetensors"))]
    again = run_table(table, run)
    assert [path.stat().st_mtime_ns for path in sorted(run.runs.rglob("last.safetensors"))] == times
    rows = [summary(outcome, run) for outcome in again]
    assert rows[0]["figures"]["miou"]["mean"] == pytest.approx(
        sum(json.loads(path.read_text())["miou"] for path in run.runs.rglob("result*.json")) / 2
    )
    text = markdown(table, rows, run, "pascal")
    assert "56.4 / 67.9" in text and "needs regions" in text and "a note" in text and "2 seeds" in text


def test_other_data_are_other_runs_and_rows_are_chosen(run: TableRun, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsclip.reproduce.tables import runs

    monkeypatch.setattr(runs, "open_predictor", lambda path, towers: predictor_of(path, run))
    table = Table(1, "a table", "pascal", (Row("one", at("last")), Row("other", at("shallow"))), "")
    own = replace(run, seeds=(0,), rows=(1,))
    assert [outcome.row.label for outcome in run_table(table, own)] == ["one"]
    run_table(table, replace(own, data="other pictures"))
    assert len(list(run.runs.rglob("last.safetensors"))) == 2
    with pytest.raises(DataError, match="no row 3; its rows are 1 to 2"):
        run_table(table, replace(own, rows=(1, 3)))


def test_true_regions_are_named_in_the_table(run: TableRun, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsclip.reproduce.tables import runs

    monkeypatch.setattr(runs, "open_predictor", lambda path, towers: predictor_of(path, run))
    table = Table(1, "a table", "pascal", (Row("zoomed", at("last"), regions="regions", miou=71.5),), "")
    own = replace(run, seeds=(0,), regions=region_sources(None, None, true_regions=True))
    (outcome,) = run_table(table, own)
    assert len(outcome.results) == 1
    assert "ClsCLIP+ looks at true regions." in markdown(table, [summary(outcome, own)], own, "pascal")
    with pytest.raises(UsageError, match="not both"):
        region_sources(Path("yolo.onnx"), None, true_regions=True)


def predictor_of(path: Path, run: TableRun) -> Any:
    from clsclip.checkpoint import load_checkpoint
    from clsclip.evaluation import CheckpointPredictor

    return CheckpointPredictor(load_checkpoint(path, run.towers)[0])


def test_folders_tell_models_apart() -> None:
    training = TrainConfig(steps=1)
    names = {
        folder_name(row.config(12, ModelConfig()), TrainConfig(steps=1, **row.training), "a")  # type: ignore[arg-type]
        for table in TABLES.values()
        for row in table.rows
    }
    assert len(names) == 10, names  # paper's form (shared), 3 navigation sets, 3 uses, prompts, absent, with the word
    same = folder_name(ModelConfig(), training, "a")
    assert same == folder_name(ModelConfig(), TrainConfig(steps=1, seed=5), "a")
    assert same != folder_name(ModelConfig(), training, "b")


def test_a_given_model_is_measured_once_as_it_is(run: TableRun) -> None:
    row = next(one for one in TABLES[4].rows if one.given == "clipseg")
    assert any(one.given == "clipseg" for one in TABLES[5].rows)
    table = Table(4, "a table", "pascal", (row,), "")
    (without,) = run_table(table, run)
    assert "--clipseg-model" in without.skipped
    predictor = FixedMasks({}, name="clipseg-rd64 (a backend)")
    own = replace(run, given={"clipseg": GivenModel(predictor, "abcd1234")})
    (outcome,) = run_table(table, own)
    assert [one["seed"] for one in outcome.results] == [0, 1]
    asked = len(predictor.asked)
    assert asked and not list(run.runs.rglob("*.safetensors"))
    run_table(table, own)
    assert len(predictor.asked) == asked
    run_table(table, replace(run, given={"clipseg": GivenModel(predictor, "other123")}))
    assert len(predictor.asked) == 2 * asked
    assert "| CLIPSeg (clipseg-rd64 (a backend)) |" in markdown(table, [summary(outcome, own)], own, "pascal")
