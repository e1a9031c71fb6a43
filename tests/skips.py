"""In CI, where the variable CI is set, a run fails when a test is skipped that is not in ``allowed_skips.txt``.

A line there is ``test | reason | why it may``: the first two are patterns (``*`` is anything) of the test's name, as
pytest prints it, and of the reason that it gives itself. What is skipped without being listed is a test that nobody
runs any more: something is not built or installed that should be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LIST = "CLSCLIP_ALLOWED_SKIPS"
"""Environment variable: another list."""

_skipped: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Allowed:
    """A line of the list.

    Attributes:
        test, reason: patterns.
        why: for people.
    """

    test: str
    reason: str
    why: str

    def fits(self, test: str, reason: str) -> bool:
        """Whether a skip is this one."""
        return bool(_pattern(self.test).fullmatch(test) and _pattern(self.reason).fullmatch(reason))


def allowed(text: str) -> Iterator[Allowed]:
    """The lines of a list. ValueError for one that is no three parts."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            parts = [part.strip() for part in line.split(" | ")]
            if len(parts) != 3 or not all(parts):
                raise ValueError(f"allowed_skips.txt: {line!r} is not 'test | reason | why it may'")
            yield Allowed(*parts)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)


def list_path() -> Path:
    """The list of this run."""
    return Path(os.environ.get(LIST, Path(__file__).with_name("allowed_skips.txt")))


def unlisted() -> list[str]:
    """What was skipped and may not be."""
    lines = list(allowed(list_path().read_text("utf-8")))
    return [f"{test}: {why}" for test, why in sorted(_skipped) if not any(line.fits(test, why) for line in lines)]


def _note(report: Any) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.add((report.nodeid, reason.removeprefix("Skipped: ")))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a skipped test."""
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a skipped module."""
    _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The run fails for a skip that is not listed; where tests run in several processes, the first of them says so."""
    if os.environ.get("CI") and not hasattr(session.config, "workerinput") and unlisted():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name them."""
    found = unlisted() if os.environ.get("CI") else []
    if found:
        terminalreporter.section("skipped, and not in tests/allowed_skips.txt", red=True)
        for line in found:
            terminalreporter.line(line)
