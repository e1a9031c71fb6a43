"""Versions of the formats, and the values that a manifest may hold: what the C++ runtime knows from the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsclip_runtime.documents import read_json

FORMATS: dict[str, Any] = read_json(Path(__file__).with_name("formats.json"))
"""The document of ``formats.json``."""
