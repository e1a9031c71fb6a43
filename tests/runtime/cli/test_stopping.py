"""SIGTERM and SIGHUP end a command as Ctrl-C does, each with its own exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.stopping import as_event, listening

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    found = [signal.getsignal(number) for number in numbers]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    for number, handler in zip(numbers, found, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_each_signal_ends_a_command_with_its_code(name: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    kept = []

    @click.command()
    def command() -> None:
        try:
            signal.raise_signal(getattr(signal, name))
        finally:
            kept.append("done")

    assert run_command(command, "prog", []) == code
    assert kept == ["done"]
    line = "interrupted" if name == "SIGINT" else f"stopped by {name}"
    assert capsys.readouterr().err.strip() == f"prog: {line}"


def run_under_m(folder: Path, body: str) -> subprocess.CompletedProcess[bytes]:
    """A program whose command has this body, by ``python -m``."""
    (folder / "program.py").write_text(
        "import signal, sys, time, click\n"
        "from clsclip_runtime.cli.runner import run_command\n"
        "@click.command()\n"
        f"def command(): {body}\n"
        "if __name__ == '__main__': sys.exit(run_command(command, 'prog', []))\n"
    )
    paths = os.pathsep.join([str(folder), *(path for path in sys.path if path)])
    return subprocess.run(
        [sys.executable, "-m", "program"],
        cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, timeout=50, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def test_a_stop_while_modules_are_loaded_keeps_its_code_under_m(tmp_path: Path) -> None:
    """Imports run code by exec(), and Python would end by SIGINT because of it."""
    done = run_under_m(tmp_path, "exec('signal.raise_signal(signal.SIGTERM)')")
    assert (done.returncode, done.stderr.strip()) == (143, b"prog: stopped by SIGTERM")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_an_import_is_not_interrupted(name: str, code: int, tmp_path: Path) -> None:
    """C modules may end the process by an exception that meets the code by which they begin."""
    (tmp_path / "slow.py").write_text(
        f"import pathlib, signal, time\nsignal.raise_signal(signal.{name})\ntime.sleep(0.3)\n"
        "pathlib.Path('imported').touch()\n"
    )
    done = run_under_m(tmp_path, "import slow; time.sleep(60)")
    line = b"interrupted" if name == "SIGINT" else f"stopped by {name}".encode()
    assert (done.returncode, done.stderr.strip()) == (code, b"prog: " + line)
    assert (tmp_path / "imported").exists()


def test_what_follows_at_once_is_the_same_request() -> None:
    """systemd sends SIGTERM and SIGHUP together; a shell sends SIGHUP again."""
    with listening() as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        stop._since -= 5
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
    assert stop.code == 143


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening() as stop:
            signal.raise_signal(signal.SIGHUP)
            with as_event() as asked:
                signal.raise_signal(signal.SIGHUP)
        assert not asked.is_set()
        assert stop.code == 130
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_work_that_no_exception_may_pass_is_asked(number: signal.Signals, code: int) -> None:
    with listening() as stop, as_event() as asked:
        assert not asked.is_set()
        signal.raise_signal(number)
        assert asked.is_set()
    assert stop.code == code


def test_other_threads_have_no_signals() -> None:
    codes = []

    @click.command()
    def command() -> int:
        with as_event() as asked:
            return 7 if not asked.is_set() else 0

    thread = threading.Thread(target=lambda: codes.append(run_command(command, "prog", [])))
    thread.start()
    thread.join()
    assert codes == [7]
