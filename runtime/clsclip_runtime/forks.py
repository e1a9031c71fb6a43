"""Forked children: what engines loaded before the fork stays the parent's, and is loaded again where it is needed.

A child has none of its parent's threads. Engines wait for theirs when they are freed, and so a child that frees them
never ends. Here nothing that was there before a fork is ever freed in the child, and its owners are told to load anew.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from clsclip_runtime.errors import BackendError


class Owner(Protocol):
    """Something that has loaded what a child cannot use."""

    def after_fork(self) -> None:
        """Forget it, in the child, and make locks anew: a thread that is gone may hold them. Nothing is loaded here."""
        ...


_left: dict[int, weakref.ref[Any]] = {}
_owners: dict[int, weakref.ref[Owner]] = {}


def leave_in_parent(thing: Any) -> None:
    """Never free ``thing``, an engine's object, in a child that is forked from now on."""
    _remember(_left, thing)


def tell_after_fork(owner: Owner) -> None:
    """Call ``owner.after_fork()`` in every child that is forked from now on."""
    _remember(_owners, owner)


def close_at_end(owner: object, close: Callable[[], object]) -> None:
    """Call ``close`` when ``owner`` is gone or the process ends, but never in a child."""
    process = os.getpid()

    def close_here() -> None:
        if os.getpid() == process:
            close()

    weakref.finalize(owner, close_here)


class OwnLock:
    """A lock of the process: in a child that is forked it is free, whoever held it in the parent."""

    def __init__(self) -> None:
        """Make it."""
        self._lock = threading.Lock()
        tell_after_fork(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def after_fork(self) -> None:
        """Another one, in the child."""
        self._lock = threading.Lock()


class IdleThreads:
    """Threads that an engine keeps after what they ran for is freed, and gives to what is loaded next.

    A forked child has none of them, and an engine that counts on them there waits for ever.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._idle, self._lost = 0, False
        self._lock = threading.RLock()  # what frees a thing may come at any moment
        tell_after_fork(self)

    def check(self, backend: str) -> None:
        """BackendError in a child whose parent has freed what was loaded there."""
        if self._lost:
            raise BackendError(
                f"{backend} cannot load a model here: this process was forked from one that had closed one, and would "
                "wait for ever for threads that were left there. Start processes by spawn, "
                "multiprocessing.set_start_method('spawn'), or use backend='onnxruntime-cpu'"
            )

    def take(self, thing: Any) -> None:
        """Note that ``thing`` has been loaded, and when it will be freed."""
        with self._lock:
            self._idle = max(0, self._idle - 1)
        weakref.finalize(thing, self._free).atexit = False

    def _free(self) -> None:
        with self._lock:
            self._idle += 1

    def after_fork(self) -> None:
        """Whether there were any is all that counts in a child."""
        self._lost, self._lock = self._lost or self._idle > 0, threading.RLock()


def refuse_in_child(process: int, backend: str) -> None:
    """BackendError in any other process than the one of number ``process``, in which ``backend`` was made."""
    if os.getpid() != process:
        raise BackendError(
            f"{backend} was made before this process was forked, and CUDA cannot be used on both sides of a fork. Load "
            "the model after the fork, or start processes by spawn: multiprocessing.set_start_method('spawn')"
        )


def _remember(known: dict[int, weakref.ref[Any]], thing: Any) -> None:
    number = id(thing)
    known[number] = weakref.ref(thing, lambda _: known.pop(number, None))


def _in_child() -> None:
    for reference in list(_left.values()):
        thing = reference()
        if thing is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))  # one reference that nobody gives back
    _left.clear()
    for owner in [reference() for reference in list(_owners.values())]:
        if owner is not None:
            owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
