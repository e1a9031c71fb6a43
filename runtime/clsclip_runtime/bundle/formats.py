"""Versions of the formats, and the values that a manifest may hold: what the C++ runtime knows from the same file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FORMATS: dict[str, Any] = json.loads(Path(__file__).with_name("formats.json").read_text("utf-8"))
"""The document of ``formats.json``."""
