"""Engines that run a bundle's graphs."""

from __future__ import annotations

from clsclip_runtime.backends.base import Arrays, Backend, Graph, KeepsOnDevice, close_all, close_with, notes_of
from clsclip_runtime.backends.device import Array, DeviceArray, join_rows, to_host
from clsclip_runtime.backends.select import BACKENDS, choose_backend, select_backend

__all__ = [
    "BACKENDS",
    "Array",
    "Arrays",
    "Backend",
    "DeviceArray",
    "Graph",
    "KeepsOnDevice",
    "choose_backend",
    "close_all",
    "close_with",
    "join_rows",
    "notes_of",
    "select_backend",
    "to_host",
]
