"""Cases in processes of their own, in rounds."""

from __future__ import annotations

import io
import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from clsclip_bench import session
from clsclip_bench.case import Workload
from clsclip_bench.process import CaseError, CaseProcess
from clsclip_bench.session import Measured, Peaks, in_order, measure
from clsclip_bench.worker import serve
from tests.benchmarks.clsclip_bench.doubles import MODULE, spec

WORKLOAD = Workload(2, 3)
FACTORY = f"{MODULE}:Product"


def test_cases_run_in_rounds_and_the_failing_ones_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "WARM_SECONDS", 0.01)
    note = tmp_path / "calls"
    specs = [
        spec("short", seconds=0.002, note=str(note), logit=1.0),
        spec("absent", "Unloadable"),
        spec("dying", "Dying"),
        spec("long", seconds=0.25, note=str(note), precision="bf16"),
    ]
    seen = []

    def after(process: CaseProcess) -> dict[str, object]:
        seen.append(process.spec.name)
        path = tmp_path / "logits.npy"
        return {"logit": float(np.load(path).max())} if process.logits(path) else {"logit": None}

    with Peaks(factory=FACTORY) as peaks:
        rows = measure(specs, WORKLOAD, peaks, seconds=0.0, after=after)
        assert peaks.found["cpu bf16"] == {"reason": "no engine multiplies bf16"}
        assert peaks.found["cpu fp32"]["engine"] == "sleep", "the engine that was fastest in the rounds"
    short, absent, dying, long = rows
    assert absent.reason == "this engine is not here. Run: pip install engine"
    assert absent.calls == [] and absent.load_seconds is None
    assert dying.reason is not None
    assert "exit code 7: out of memory, goodbye" in dying.reason
    assert seen == ["short", "dying", "long"]
    assert (short.parity, long.parity) == ({"logit": 1.0}, {"logit": None})
    # Rounds of 0.2 s a case: the short one calls many times before the long one's next call.
    streaks = [len(list(group)) for _, group in groupby(note.read_text("utf-8").split())]
    assert len(streaks) >= 2 * session.LEAST_ROUNDS
    assert len(long.calls) == session.LEAST_ROUNDS
    assert len(short.calls) > 10 * session.LEAST_ROUNDS
    assert short.reason is long.reason is None
    assert min(long.times()) >= 0.25
    assert short.times("engine") == [0.001] * len(short.calls)
    assert short.peak == pytest.approx(1e9 / 0.001)
    assert long.peak is None
    assert short.facts["pairs"] == 6


def test_rows_go_on_when_the_peak_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "WARM_SECONDS", 0.01)
    with Peaks(factory=f"{MODULE}:DyingProduct") as peaks:
        (row,) = measure([spec("row")], WORKLOAD, peaks, seconds=0.0)
        assert "exit code 3" in peaks.found["cpu fp32"]["reason"]
    assert row.reason is None
    assert len(row.calls) > session.LEAST_ROUNDS


def test_memory_is_that_of_the_row_alone() -> None:
    ballast = np.ones(150 << 17)  # 150 MiB in this process
    peaks = []
    for name in ("Sleeper", "Hungry"):
        with CaseProcess(spec(name, name)) as process:
            assert process.load() > 0
            process.round()
            peaks.append(process.memory()["mib"])
    small, large = peaks
    assert small is not None
    assert large is not None
    assert small < 140
    assert 95 < large - small < 160
    assert len(ballast)


def test_what_libraries_print_does_not_disturb(tmp_path: Path) -> None:
    with CaseProcess(spec("loud", logit=None)) as process:
        process.load()
        assert process.facts()["pairs"] == 1
        assert not process.logits(tmp_path / "x.npy")
        with pytest.raises(CaseError, match="unknown request 'dance'"):
            process.ask("dance")
        assert process.facts()["pairs"] == 1, "a request that fails does not end the process"
    with pytest.raises(CaseError, match="was closed"):
        process.facts()


def test_a_factory_that_is_not_there() -> None:
    with CaseProcess(spec("none", "Nobody")) as process, pytest.raises(CaseError, match="Nobody"):
        process.load()


def test_the_worker_answers_line_by_line() -> None:
    requests = [{"do": "facts"}, {"do": "load", "spec": spec("s").to_json()}, {"do": "round", "seconds": 0}]
    answers = io.StringIO()
    serve(io.StringIO("".join(json.dumps(one) + "\n" for one in requests) + "no JSON\n"), answers)
    early, loaded, calls, wrong = (json.loads(line) for line in answers.getvalue().splitlines())
    assert early == {"error": "RuntimeError: facts before load"}
    assert loaded["seconds"] >= 0
    assert len(calls["calls"]) == 1
    assert calls["calls"][0]["whole"] >= 0.001
    assert wrong["error"].startswith("DocumentError: Expecting value")


def test_the_least_work_comes_first() -> None:
    workloads = [Workload(crops, classes) for crops in (16, 1, 4) for classes in (20, 1)]
    assert [workload.pairs for workload in in_order([*workloads, Workload(1, 20)])] == [1, 4, 16, 20, 80, 320]


def test_a_row_without_calls_has_no_figures() -> None:
    row = Measured(spec("s"), WORKLOAD, reason="no time")
    assert row.summary() is None
    assert str(row.workload) == "2 crops x 3 classes"
