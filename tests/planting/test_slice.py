"""Planted mistakes: those of a small module, a few of the real ones (all of them at night), and one that survives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from .__main__ import ROOT, TARGETS, path_of
from .mistakes import KINDS, mistakes

SOURCE = '''
import logging
from typing import Protocol
_log = logging.getLogger(__name__)

class Shape(Protocol):
    def area(self) -> int: ...

def copy(cuda, target, source: int.real, stream):
    """Copy."""
    _log.info("copies %s", target)
    if not stream:
        raise ValueError(f"no stream {stream}")
    cuda.to_device(target, source, kind="HostToDevice")
    return target
'''


def test_what_is_planted() -> None:
    found = {(one.kind, one.what) for one in mistakes(SOURCE)}
    assert found == {
        ("misspelt name", "cuda.to_device"),
        ("dropped argument", "target in cuda.to_device(target, source, kind='HostToDevice')"),
        ("dropped argument", "source in cuda.to_device(target, source, kind='HostToDevice')"),
        ("dropped argument", "kind in cuda.to_device(target, source, kind='HostToDevice')"),
        ("reversed copy", "cuda.to_device -> to_host"),
        ("reversed copy", "HostToDevice -> DeviceToHost"),
        ("emptied body", "copy()"),
        ("dropped statement", "raise ValueError(f'no stream {stream}')"),
        ("dropped statement", "cuda.to_device(target, source, kind='HostToDevice')"),
    }
    for one in mistakes(SOURCE):
        compile(one.source, one.what, "exec")
        assert one.source != SOURCE
    assert len({one.source for one in mistakes(SOURCE)}) == len(found), "each is another module"


def test_all_kinds_are_planted_in_every_module() -> None:
    for target in TARGETS.values():
        counts = Counter(one.kind for one in mistakes(path_of(target.module).read_text("utf-8")))
        assert counts.keys() >= {*KINDS} - {"reversed copy"}, target.module
        assert sum(counts.values()) >= 50


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "worker" else name for name in TARGETS]
)
def test_a_few_are_found(name: str) -> None:
    command = [sys.executable, "-m", "tests.planting", "--module", name, "--every", "100", "--jobs", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "every mistake was found"


SURVIVOR = """
import json, sys
from tests.planting.__main__ import Target, run
from tests.planting.mistakes import mistakes
test, module = sys.argv[1:]
source = open(module).read()
found = run(Target("of_two_functions", (test,), {}), module, list(mistakes(source)), jobs=2)
print(json.dumps({one.what: told for one, told in found}))
"""


def test_a_survivor_is_told(tmp_path: Path) -> None:
    """The tests of this target look at one of two functions. In a process of its own: forks of one that has loaded
    engines may never end."""
    module = tmp_path / "of_two_functions.py"
    module.write_text("def one():\n    return abs(-1)\n\ndef two():\n    return abs(-2)\n")
    test = tmp_path / "test_one.py"
    test.write_text("import of_two_functions\n\ndef test_one():\n    assert of_two_functions.one() == 1\n")
    command = [sys.executable, "-c", SURVIVOR, str(test), str(module)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    assert ends.keys() == {"one()", "-1 in abs(-1)", "two()", "-2 in abs(-2)"}
    assert "test_one" in ends["one()"] and "test_one" in ends["-1 in abs(-1)"]
    assert ends["two()"] == ends["-2 in abs(-2)"] == ""
