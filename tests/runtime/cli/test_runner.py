"""Exit codes: 0 done, 1 a failure, 2 wrong use, 130 interrupted; one line on standard error."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest

from clsclip_runtime.cli import runner
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.errors import BundleError, OptionError, WordError

Captured = pytest.CaptureFixture[str]


class OtherPackageError(Exception):
    pass


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def ends(command: click.Command, capsys: Captured, *arguments: str, extra: str | None = None) -> tuple[int, str]:
    """Exit code and the one line on standard error."""
    code = run_command(command, "prog", arguments, extra=extra, errors=(OtherPackageError,))
    (line,) = capsys.readouterr().err.splitlines() or [""]
    return code, line


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (click.Abort(), 130, "interrupted"),
        (click.UsageError("no such thing"), 2, "no such thing (see prog --help)"),
        (WordError("an empty word"), 2, "an empty word"),
        (OptionError("a value"), 2, "a value"),
        (OtherPackageError("no mask\nhere"), 1, "no mask here"),
        (BundleError("no bundle"), 1, "no bundle"),
        (
            ZeroDivisionError("oops"),
            1,
            "unexpected ZeroDivisionError: oops. Run with CLSCLIP_DEBUG=1 for the traceback",
        ),
    ],
)
def test_errors(
    error: BaseException, code: int, message: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLSCLIP_DEBUG", raising=False)
    assert ends(raising(error), capsys) == (code, f"prog: {message}")


def test_an_interrupt_leaves_the_terminals_line(capsys: Captured) -> None:
    assert run_command(raising(KeyboardInterrupt()), "prog", []) == 130
    assert capsys.readouterr().err == "\nprog: interrupted\n"


def test_debug_shows_the_traceback_and_keeps_the_code(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSCLIP_DEBUG", "1")
    assert run_command(raising(ZeroDivisionError("oops")), "prog", []) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith("prog: unexpected ZeroDivisionError")


@click.group()
def group() -> None:
    """Things to do."""


@group.command()
def fine() -> None:
    pass


@group.command()
@click.option("--crop-margin", type=float)
@click.option("--backend", type=click.Choice(["openvino"]))
@click.option("--backend-option")
@click.option("--fallback")
@click.option("--report")
@click.option("--json", "as_json", is_flag=True)
def three(**_: object) -> int:
    return 3


def test_results_and_help(capsys: Captured) -> None:
    assert run_command(group, "prog", ["fine"]) == 0
    assert run_command(group, "prog", ["three"]) == 3
    assert run_command(group, "prog", ["--help"]) == 0
    assert "Things to do" in capsys.readouterr().out
    assert ends(group, capsys, "four") == (2, "prog: No such command 'four' (see prog --help)")


def test_a_group_without_a_command_shows_its_help(capsys: Captured) -> None:
    assert run_command(group, "prog", []) == 2
    assert "Things to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--margin", "4"], "--margin is gone since 0.2. Use --crop-margin"),
        (["--margin=4"], "--margin is gone since 0.2. Use --crop-margin"),
        (["--on-missing", "empty"], "--on-missing empty is gone since 0.2. Use --fallback none"),
        (["--on-missing=whole-image"], "--on-missing is gone since 0.2. Use --fallback whole-image or --fallback none"),
        (["--json", "new.json"], "--json FILE is gone since 0.2. Use --report FILE"),
        (["--backend", "openvino-throughput"], "openvino-throughput is gone since 0.2. Use backend='openvino'"),
        (["--backend=openvino-bf16"], "openvino-bf16 is gone since 0.2. Use backend='openvino' with backend_options"),
        # What this command never had is click's own error, and so is the new name of what it has not got.
        (["--marginal"], "No such option '--marginal'"),
        (["--top-k", "1"], "No such option '--top-k'"),
        (["--backend", "tensorflow"], "Invalid value for '--backend': 'tensorflow' is not 'openvino'"),
        (["--json", "more"], "Got unexpected extra argument (more)"),
    ],
)
def test_what_0_1_had_gives_the_new_name(arguments: list[str], message: str, capsys: Captured) -> None:
    code, line = ends(group, capsys, "three", *arguments)
    assert code == 2
    assert line.startswith(f"prog: {message}")
    if "since 0.2" not in message:
        assert line.endswith(" (see prog three --help)")


def test_a_missing_extra_is_one_sentence(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> click.Command:
        return raising(ModuleNotFoundError(f"No module named {name!r}", name=name))

    code, line = ends(missing("torch"), capsys, extra="export")
    assert code == 1
    assert line.startswith("prog: torch is not installed, and this command needs it. Run: ")
    assert "[export]'" in line
    assert "[bench]'" in ends(missing("matplotlib"), capsys, extra="bench")[1]
    assert "[video]'" in ends(missing("av"), capsys, extra="export")[1]
    monkeypatch.setattr(runner, "installed", lambda name: "0.5.7")
    line = ends(missing("onnxscript._framework_apis.torch_2_11"), capsys)[1]
    assert line.startswith("prog: onnxscript 0.5.7 has no _framework_apis.torch_2_11")
    assert line.endswith("Run: pip install --upgrade onnxscript")
    assert ends(missing("clsclip_runtime.nothing"), capsys)[1].startswith("prog: unexpected ModuleNotFoundError")


PRINTS = """
    import sys
    import click
    from clsclip_runtime.cli.output import print_json
    from clsclip_runtime.cli.runner import run_command

    @click.command()
    @click.argument("how")
    def command(how):
        for number in range(100_000 if how != "short" else 1):
            print_json({"number": number}) if how == "json" else print(number) if how == "short" else click.echo(number)

    sys.exit(run_command(command, "prog"))
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("how", ["json", "echo", "short"])
def test_a_closed_standard_output_is_one_line(how: str, unbuffered: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PRINTS), encoding="utf-8")
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, program, how],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "prog: standard output was closed before the end\n")


def test_a_broken_pipe_elsewhere_is_not_standard_outputs(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    text = PRINTS.replace("for number", 'raise BrokenPipeError(32, "worker")\n        for number')
    program.write_text(textwrap.dedent(text), encoding="utf-8")
    done = subprocess.run([sys.executable, program, "x"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("prog: unexpected BrokenPipeError")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("how", ["json", "echo", "short"])
def test_a_full_disk_under_standard_output_is_one_line(how: str, unbuffered: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PRINTS), encoding="utf-8")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, program, how],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    message = "standard output cannot be written: No space left on device. What is in files is complete"
    assert (done.returncode, done.stderr) == (1, f"prog: {message}\n")


CLOSED = """
import os, sys
import click
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.runner import run_command

@click.command()
@click.argument("how")
@json_option("JSON.")
def command(how, as_json):
    opened = os.open("made", os.O_CREAT | os.O_WRONLY)
    assert opened > 2, "the file took the number of a closed stream"
    print_json({}) if as_json or how == "json" else echo("a table")

sys.exit(run_command(command, "prog"))
"""


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
@pytest.mark.parametrize(("how", "code"), [("json", 1), ("--json x", 1), ("table", 0)])
def test_closed_streams_are_never_taken_by_files(how: str, code: int, tmp_path: Path) -> None:
    """JSON that nobody can get is an error; files of a program without a console are not."""
    (tmp_path / "program.py").write_text(CLOSED, encoding="utf-8")
    shell = ["/bin/sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "program.py", *how.split()]
    done = subprocess.run(shell, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("standard output is closed" in done.stderr) == (code == 1)
    assert "{" not in done.stderr
    assert how == "--json x" or (tmp_path / "made").read_bytes() == b""
