"""SIGTERM (docker stop, systemd, Kubernetes, timeout) and SIGHUP (a closed terminal) become what Ctrl-C is.

Each raises KeyboardInterrupt in the main thread, so that what was done is kept, and the exit code says which it was.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_ONCE_S = 1.0
"""Requests that follow the first within this time are the same one: systemd sends both, shells send SIGHUP again."""

_AGAIN_S = 0.02
"""After which a signal is sent again that met an import."""

_IMPORT = "<frozen importlib._bootstrap>"
"""Where Python's imports run."""


class Stop:
    """Which signal asked first.

    Attributes:
        number: of SIGTERM or SIGHUP; None if neither asked.
    """

    def __init__(self) -> None:
        """Nothing has asked."""
        self.number: int | None = None
        self._since = 0.0

    def ask(self, number: int) -> bool:
        """Note a request; False if it is one that is known."""
        now = time.monotonic()
        known = self.number is not None and now - self._since < _ONCE_S
        if self.number is None:
            self.number, self._since = number, now
        return not known

    @property
    def code(self) -> int:
        """The exit code: 143 for SIGTERM, 129 for SIGHUP, 130 for Ctrl-C."""
        return 128 + (signal.SIGINT if self.number is None else self.number)

    @property
    def reason(self) -> str:
        """For people."""
        return "interrupted" if self.number is None else f"stopped by {signal.Signals(self.number).name}"


_current = Stop()


@contextmanager
def listening() -> Iterator[Stop]:
    """Listen, in the main thread; a signal that the program ignores, or handles by itself, stays as it is.

    While a module is imported nothing is raised: the code by which C modules begin may turn the interrupt into another
    error, or end the process by it. The signal is sent again until the import is over.
    """
    global _current
    stop, outer = Stop(), _current

    def handle(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            again = threading.Timer(_AGAIN_S, _send, [number])
            again.daemon = True
            again.start()
        elif number == signal.SIGINT or stop.ask(number):
            raise KeyboardInterrupt

    _current = stop
    usual = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        usual.append(signal.SIGINT)
    try:
        with _handlers(usual, handle):
            yield stop
    finally:
        _current = outer


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported somewhere below."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False


def _send(number: int) -> None:
    """Send a signal to the main thread."""
    if hasattr(signal, "pthread_kill"):  # wakes it where it waits for the system
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


@contextmanager
def as_event() -> Iterator[threading.Event]:
    """Turn every request, Ctrl-C too, into an event: for work that no exception may pass, and that asks itself."""
    event = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if number != signal.SIGINT:
            _current.ask(number)
        event.set()

    with _handlers([signal.SIGINT, *(number for number in _SIGNALS if callable(signal.getsignal(number)))], handle):
        yield event


@contextmanager
def deferred() -> Iterator[None]:
    """Let every request wait until the end of the block, which is short, and raise KeyboardInterrupt there."""
    with as_event() as asked:
        yield
    if asked.is_set():
        raise KeyboardInterrupt


@contextmanager
def _handlers(numbers: list[int], handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Set handlers for a while; none outside of the main thread, where Python has no signals."""
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)
