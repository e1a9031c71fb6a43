from __future__ import annotations

import io
import logging
import sys
import time

import pytest

from clsclip_runtime.cli import progress as module
from clsclip_runtime.cli.output import cells, cut_left
from clsclip_runtime.cli.progress import LogHandler, Progress, duration


class Clock:
    """Seconds that pass only when a test says so."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(Terminal):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "nobody reads")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setenv("COLUMNS", "60")
    return clock


def screen(text: str) -> list[str]:
    """What stands on a terminal after ``text``: every line, as carriage returns leave it."""
    shown = []
    for line in text.split("\n"):
        row = ""
        for part in line.split("\r"):
            row = part + row[len(part) :]
        shown.append(row.rstrip())
    return shown


def test_text_tells_rate_and_time_left(clock: Clock) -> None:
    progress = Progress("frames", 300, stream=io.StringIO())
    assert progress.text(100.0) == "frames  0/300"
    progress.update(120)
    assert progress.text(115.0) == "frames  120/300  8.0 a second  0:22 left"
    progress.update(10, 1000, detail="3 dropped")
    assert progress.text(200.0) == "frames  10/1000  10.0 s each  2:45:00 left  3 dropped"
    unknown = Progress("frames", stream=io.StringIO())
    unknown.update(5)
    assert unknown.text(101.0) == "frames  5  5.0 a second"


def test_what_was_done_before_does_not_count(clock: Clock) -> None:
    progress = Progress("steps", 200, begin=100, stream=io.StringIO())
    assert progress.text(150.0) == "steps  100/200"
    progress.update(110)
    assert progress.text(110.0) == "steps  110/200  1.0 a second  1:30 left"


def test_start_up_is_not_in_the_estimate(clock: Clock) -> None:
    progress = Progress("steps", 101, stream=io.StringIO())
    clock.now += 60
    progress.update(1)
    for done in range(2, 12):
        clock.now += 2
        progress.update(done)
    assert progress.text(clock.now) == "steps  11/101  2.0 s each  3:00 left"
    assert progress.text(clock.now + 60) == "steps  11/101  2.0 s each  3:00 left"  # a pause is not a slower step


def test_long_steps_are_drawn_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_S", 0.05)
    stream = io.StringIO()
    with Progress("steps", 4, stream=stream, alive=True):
        time.sleep(0.5)
    assert stream.getvalue().startswith("steps  0/4\nsteps  0/4\n")
    time.sleep(0.2)
    assert stream.getvalue().count("\n") < 12
    told = stream.getvalue()
    time.sleep(0.2)
    assert stream.getvalue() == told  # nothing after its end


def test_a_terminal_has_one_line_and_nothing_at_the_end(clock: Clock) -> None:
    terminal = Terminal()
    with Progress("pictures", 30, stream=terminal) as progress:
        for done in range(1, 31):
            clock.now += 0.125
            progress.update(done, detail="x" * (30 - done))
            assert len(screen(terminal.getvalue())) == 1
        assert screen(terminal.getvalue())[0].startswith("pictures  29/30  8.0 a second")
        drawn = terminal.getvalue().count("\r")
        assert drawn == 15, "five times a second at most"
    assert screen(terminal.getvalue()) == [""]


def test_elsewhere_a_plain_line_every_ten_seconds(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("pictures", 30, stream=stream) as progress:
        for done in range(1, 31):
            clock.now += 0.9
            progress.update(done)
    assert stream.getvalue() == ("pictures  12/30  1.1 a second  0:16 left\npictures  24/30  1.1 a second  0:05 left\n")


def test_short_work_leaves_a_log_empty(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("pictures", 30, stream=stream) as progress:
        for done in range(1, 31):
            clock.now += 0.3
            progress.update(done)
    assert stream.getvalue() == ""


def test_hidden_progress_draws_nothing(clock: Clock) -> None:
    terminal = Terminal()
    with Progress("pictures", 3, shown=False, stream=terminal) as progress:
        clock.now += 60
        progress.update(2)
        progress.clear()
    assert terminal.getvalue() == ""


def test_log_lines_are_never_torn(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    log = logging.Logger("test")
    log.addHandler(LogHandler())
    with Progress("pictures", 30) as progress:
        progress.update(1)
        assert screen(terminal.getvalue()) == ["pictures  1/30"]
        log.warning("no mask")
        assert screen(terminal.getvalue()) == ["no mask", ""]
        clock.now += 1
        progress.update(2)
        assert screen(terminal.getvalue()) == ["no mask", "pictures  2/30  2.0 a second  0:14 left"]
    log.warning("done")
    assert screen(terminal.getvalue()) == ["no mask", "done", ""]


def test_two_at_a_time_never_share_a_line(clock: Clock) -> None:
    terminal = Terminal()
    outer, inner = Progress("rows", 3, stream=terminal), Progress("pictures", 100, stream=terminal)
    outer.update(1)
    inner.update(1)
    assert screen(terminal.getvalue()) == ["pictures  1/100"]
    inner.close()
    clock.now += 1
    outer.update(2)
    assert screen(terminal.getvalue()) == ["rows  2/3  2.0 a second  0:00 left"]


def test_a_terminal_that_is_gone_does_not_end_the_work(clock: Clock) -> None:
    progress = Progress("pictures", 3, stream=Closed())
    progress.update(1)
    progress.update(2)
    progress.close()


def test_names_are_printable_and_fit(clock: Clock) -> None:
    terminal = Terminal()
    with Progress("a\x1b[31m\n" + "犬" * 40, 3, stream=terminal) as progress:
        progress.update(1)
        (line,) = terminal.getvalue().split("\r")[1:]
    assert cells(line) == 59 and line.endswith("  1/3")
    assert "\x1b" not in line


def test_cells_and_their_end() -> None:
    assert cells("abc") == 3 and cells("犬") == 2 and cells("e\N{COMBINING ACUTE ACCENT}") == 1
    assert cut_left("abcd", 3) == "bcd" and cut_left("a", 3) == "a  "
    assert cut_left("犬犬", 3) == "犬 "


def test_duration() -> None:
    assert [duration(one) for one in (0, 59.6, 3723.4, -3)] == ["0:00", "1:00", "1:02:03", "0:00"]
