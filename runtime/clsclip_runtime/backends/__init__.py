"""Engines that run a bundle's graphs."""

from __future__ import annotations

from clsclip_runtime.backends.base import Arrays, Backend, Graph, close_with
from clsclip_runtime.backends.select import BACKENDS, choose_backend, select_backend

__all__ = ["BACKENDS", "Arrays", "Backend", "Graph", "choose_backend", "close_with", "select_backend"]
