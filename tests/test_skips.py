"""A skip that nobody allowed fails a run in CI."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import skips
from tests.conftest import LONG

ROOT = Path(__file__).parent.parent

TESTS = """
import pytest

@pytest.mark.parametrize("at", [1, 2])
def test_gpu(at):
    pytest.skip("no GPU here")

def test_other():
    pytest.skip("not built")

def test_fine():
    pass

@pytest.mark.xfail(reason="known")
def test_known():
    assert False
"""

MODULE = 'import pytest\npytest.importorskip("nothing_of_this_name", reason="not installed")\n'


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_one.py").write_text(TESTS)
    (tmp_path / "test_two.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(skips.LIST, str(tmp_path / "list.txt"))

    def run(allowed: str, *options: str) -> tuple[int, str]:
        (tmp_path / "list.txt").write_text(allowed)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.skips", "-p", "no:hypothesispytest", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr

    gpu = "test_one.py::test_gpu* | no GPU* | here is none\n"
    monkeypatch.setenv("CI", "true")
    code, output = run(gpu, "-n", "2")
    assert code == 1
    assert "test_one.py::test_other: not built" in output and "test_two.py: not installed" in output
    assert "test_gpu[1]: no GPU" not in output
    assert run(f"# all\n\n{gpu}test_one.py::test_other | not built | x\ntest_two.py | not installed | x\n")[0] == 0
    monkeypatch.delenv("CI")
    code, output = run("")
    assert (code, "allowed_skips" in output) == (0, False)


def test_patterns() -> None:
    (line,) = skips.allowed("a/test_x.py::test_y* | no * here | because\n# a comment\n\n")
    assert line.fits("a/test_x.py::test_y[1]", "no GPU here")
    for test, reason in (
        ("a/test_x.py::test_y[1]", "no GPU there"),
        ("a/test_x.py::test_z", "no GPU here"),
        ("b/a/test_x.py::test_y", "no GPU here"),
    ):
        assert not line.fits(test, reason)


def test_long_tests_are_there() -> None:
    lines = LONG.read_text("utf-8").splitlines()[1:]
    assert len(lines) >= 40
    for line in lines:
        seconds, test = line.split(" | ")
        path, *name = test.split("::")
        assert not name or f"def {name[0]}(" in (ROOT / path).read_text("utf-8"), line
        assert (ROOT / path).is_file(), line
        assert float(seconds) >= 0.4


def test_the_list() -> None:
    lines = list(skips.allowed(skips.list_path().read_text("utf-8")))
    assert lines
    for line in lines:
        path, name = line.test.split("::")
        assert f"def {re.split(r'[*[]', name)[0]}" in (ROOT / path).read_text("utf-8"), line
    with pytest.raises(ValueError, match="is not 'test"):
        list(skips.allowed("tests/test_x.py | why"))
