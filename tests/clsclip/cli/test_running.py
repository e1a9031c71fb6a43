"""Exit codes: 0 done, 1 a failure, 2 wrong use, 130 interrupted; one line on standard error."""

from __future__ import annotations

import click
import pytest

from clsclip.cli.running import run_command
from clsclip.errors import DataError
from clsclip_runtime.errors import BundleError, WordError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (click.UsageError("no such thing"), 2, "no such thing (see prog --help)"),
        (WordError("an empty word"), 2, "an empty word"),
        (DataError("no mask\nhere"), 1, "no mask here"),
        (BundleError("no bundle"), 1, "no bundle"),
        (ZeroDivisionError("oops"), 1, "unexpected ZeroDivisionError: oops"),
    ],
)
def test_errors(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLSCLIP_DEBUG", raising=False)

    @click.command()
    def command() -> None:
        raise error

    assert run_command(command, "prog", []) == code
    err = capsys.readouterr().err.strip()
    assert err.startswith(f"prog: {message}")
    assert len(err.splitlines()) == 1
    if code == 1 and isinstance(error, ZeroDivisionError):
        monkeypatch.setenv("CLSCLIP_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            run_command(command, "prog", [])


def test_results_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    @click.group()
    def group() -> None:
        """Things to do."""

    @group.command()
    def fine() -> None:
        pass

    @group.command()
    def three() -> int:
        return 3

    assert run_command(group, "prog", ["fine"]) == 0
    assert run_command(group, "prog", ["three"]) == 3
    assert run_command(group, "prog", ["--help"]) == 0
    capsys.readouterr()
    assert run_command(group, "prog", ["four"]) == 2
    assert "No such command 'four'" in capsys.readouterr().err
    assert run_command(group, "prog", []) in (0, 2)
    assert "Things to do" in "".join(capsys.readouterr())
