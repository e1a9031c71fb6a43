"""A short part of the campaigns, always the same, and what the driver counts."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clsclip_runtime.errors import BundleError
from tests.fuzz.bundles import write_bundle
from tests.fuzz.child import forked
from tests.fuzz.driver import Child, Command, Mutant, campaign, judged
from tests.fuzz.mutators import MUTATORS
from tests.fuzz.targets import TARGETS, Target

SOME = {"onnx": range(3, 27, 8), "pictures": range(40), "annotations": range(40), "coco-20i": range(20)}
"""Of kind and number; of graphs, encodings that no exporter writes, which are refused before an engine sees them."""

KINDS = [pytest.param(kind, marks=pytest.mark.slow) if kind == "videos" else kind for kind in sorted(MUTATORS)]
"""Videos are encoded first."""


@pytest.mark.parametrize("kind", SOME)
def test_a_few_of_every_kind(kind: str, tmp_path: Path) -> None:
    mutator = MUTATORS[kind]()
    for target in mutator.targets:
        if target in TARGETS:
            reader = Child(target)
            try:
                (tmp_path / target).mkdir()
                report = campaign(mutator, reader, SOME[kind], scratch=tmp_path / target)
            finally:
                reader.close()
            assert report.faults == [], "\n".join(report.lines())
            assert sum(report.counts.values()) == len(SOME[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_always_the_same(kind: str, tmp_path: Path) -> None:
    found = []
    for at in range(2):
        folder = tmp_path / str(at)
        folder.mkdir()
        mutant = MUTATORS[kind]().make(5, folder)
        paths = [mutant.path] if mutant.path.is_file() else sorted(filter(Path.is_file, mutant.path.rglob("*")))
        found.append((mutant.label, mutant.expect, [path.read_bytes() for path in paths]))
    assert found[0] == found[1]


def refuse(path: Path) -> Any:
    raise BundleError("no")


def fail(path: Path) -> Any:
    raise ValueError("foreign")


def end(path: Path) -> Any:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def hang(path: Path) -> Any:
    time.sleep(30)


@pytest.mark.parametrize(
    ("read", "kind"), [(str, "ok"), (refuse, "refused"), (fail, "raised"), (end, "crashed"), (hang, "hung")]
)
def test_every_outcome_is_told(read: Any, kind: str, tmp_path: Path) -> None:
    assert forked(Target(read), tmp_path, 0.5, 8 << 30)["kind"] == kind


def test_outcomes_are_judged() -> None:
    def kind(outcome: dict[str, Any], expect: str = "any") -> str:
        found: str = judged(outcome, Mutant(Path(), "", expect), [1, 2])["kind"]
        return found

    assert kind({"kind": "ok", "result": [1, 2]}) == "same"
    assert kind({"kind": "ok", "result": [1, 3]}) == "other"
    assert kind({"kind": "ok", "result": [1, 2]}, "refused") == "wrong"
    assert kind({"kind": "ok", "result": [1, 3]}, "same") == "wrong"
    assert kind({"kind": "refused"}, "same") == "wrong"
    assert kind({"kind": "refused", "bytes": 5 << 30}) == "ate"
    assert kind({"kind": "crashed"}, "refused") == "crashed"


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("print('[1]')", "ok"),
        ("import sys; sys.exit('no')", "refused"),
        ("import sys; sys.exit(7)", "raised"),
        ("import sys; sys.exit(1)", "raised"),
        ("print('x')", "raised"),
        ("import os; os.abort()", "crashed"),
    ],
)
def test_commands_are_read_by_their_exit_codes(program: str, kind: str, tmp_path: Path) -> None:
    assert Command([sys.executable, "-c", program, "{}"]).read(tmp_path)["kind"] == kind


def test_an_honest_file_that_is_not_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the honest file is not read"):
        campaign(
            MUTATORS["onnx"](), Command([sys.executable, "-c", "import sys; sys.exit('no')"]), [], scratch=tmp_path
        )


def test_the_bundle_of_mutants_is_the_embedded_one(tmp_path: Path) -> None:
    from clsclip_runtime import Bundle

    assert Bundle.open(write_bundle(tmp_path)).manifest == Bundle.open().manifest
