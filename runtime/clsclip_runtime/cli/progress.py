"""How far long work is: the one progress display of all commands.

On a terminal it is one line that is written over. Elsewhere it is a plain line every ten seconds, so that a log of
short work holds nothing.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from typing import TextIO

from clsclip_runtime.cli.output import cut_left, is_terminal
from clsclip_runtime.errors import one_line, printable

REDRAW_S = 0.2
"""Between two drawings on a terminal."""

PLAIN_S = 10.0
"""Between two plain lines elsewhere."""

_drawn: Progress | None = None
"""What has its line on the terminal now."""

_lock = threading.RLock()
"""Of the terminal: lines are drawn by several threads."""


def _forget() -> None:
    """In a child process: the terminal's line is its parent's, and so is whoever held the lock."""
    global _drawn, _lock
    _drawn, _lock = None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Progress:
    """A context manager; ``update`` tells how far the work is.

    with Progress("pictures", total=len(pictures)) as progress:
        for done, picture in enumerate(pictures, 1):
            ...
            progress.update(done)
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        *,
        begin: int = 0,
        shown: bool = True,
        stream: TextIO | None = None,
        alive: bool = False,
    ) -> None:
        """Begin to count the time; nothing is drawn yet.

        Args:
            label: what is counted.
            total: how much there is; None where that is not known yet.
            begin: how much was done before, as in a run that is resumed.
            shown: False draws nothing at all.
            stream: where it is drawn; None is standard error.
            alive: draw between updates too, in a thread of its own, so that work of long steps does not look dead.
        """
        self._label, self._total, self._shown = one_line(label), total, shown
        self._stream = sys.stderr if stream is None else stream
        self._terminal = is_terminal(self._stream)
        self._begin = self._done = begin
        self._detail = ""
        self._started = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._next = self._started + (0 if self._terminal else PLAIN_S)
        self._last = self._started
        self._alive = alive
        self._ended = threading.Event()
        if alive and shown:
            threading.Thread(target=self._keep_alive, name="clsclip-progress", daemon=True).start()

    def update(self, done: int, total: int | None = None, detail: str | None = None) -> None:
        """Tell how much is done; draws now and then.

        Args:
            done: of ``total``, with what was done before.
            total: how much there is, if it was not known before or has changed.
            detail: more about it, until other is told.
        """
        now = time.monotonic()
        if self._first is None and done > self._begin:
            self._first = (done, now)
        self._done, self._last = done, now
        if total is not None:
            self._total = total
        if detail is not None:
            self._detail = one_line(detail)
        self._draw_if_due(now)

    def _draw_if_due(self, now: float) -> None:
        with _lock:
            if not self._shown or now < self._next:
                return
            self._next = now + (REDRAW_S if self._terminal else PLAIN_S)
            self._draw(now)

    def _keep_alive(self) -> None:
        while not self._ended.wait(min(1.0, max(0.05, PLAIN_S))):
            self._draw_if_due(time.monotonic())

    def clear(self) -> None:
        """Take the line from the terminal, so that something else can be printed; the next update draws it again."""
        global _drawn
        with _lock:
            if _drawn is not self:
                return
            _drawn = None
            self._write("\r" + " " * (_columns() - 1) + "\r")

    def close(self) -> None:
        """End; nothing is left on a terminal."""
        self._ended.set()
        with _lock:
            self._shown = False
            self.clear()

    def text(self, now: float) -> str:
        """``pictures  120/300  8.2 a second  0:22 left``, as far as it is known.

        Args:
            now: as ``time.monotonic`` tells it.
        """
        parts = [self._label, f"{self._done}/{self._total}" if self._total else str(self._done)]
        rate = self._rate(now)
        if rate:
            parts.append(f"{rate:.1f} a second" if rate >= 1 else f"{1 / rate:.1f} s each")
            if self._total and self._total >= self._done:
                parts.append(f"{duration((self._total - self._done) / rate)} left")
        elif self._alive and now - self._started >= 1:
            parts.append(f"{duration(now - self._started)} so far")
        return "  ".join(part for part in (*parts, self._detail) if part)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._started

    def left(self) -> str:
        """How long the rest will take, as ``0:22``; empty where that is not known yet."""
        rate = self._rate(time.monotonic())
        return duration((self._total - self._done) / rate) if rate > 0 and self._total else ""

    def _rate(self, now: float) -> float:
        """How much is done a second; 0 before it is known. What came before the first unit's end is start-up."""
        done, since = self._first or (self._done, self._last)
        if self._done > done and self._last > since > self._started:
            return (self._done - done) / (self._last - since)
        return (self._done - self._begin) / (now - self._started) if now > self._started else 0.0

    def _draw(self, now: float) -> None:
        global _drawn
        text = self.text(now)
        if not self._terminal:
            self._write(text + "\n")
            return
        if _drawn is not None and _drawn is not self:
            _drawn.clear()
        _drawn = self
        self._write("\r" + cut_left(text, _columns() - 1))

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError, AttributeError):  # nobody watches (any more), and the work goes on
            self._shown = False

    def __enter__(self) -> Progress:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.close()


class LogHandler(logging.StreamHandler[TextIO]):
    """Prints log lines to standard error, never into a line of progress."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))

    def emit(self, record: logging.LogRecord) -> None:
        with _lock:
            if _drawn is not None:
                _drawn.clear()
            super().emit(record)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: ``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _columns() -> int:
    return max(20, shutil.get_terminal_size().columns)
