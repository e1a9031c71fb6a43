"""What differs between two JSON documents, as sentences."""

from __future__ import annotations

import json
from typing import Any


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What differs between two settings, one line each: ``train.batch was 64 and is 32``."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted(before.keys() | now.keys())
            for line in differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    if before == now:
        return []

    def short(value: object) -> str:
        return text if len(text := json.dumps(value)) <= 60 else text[:57] + "..."

    return [f"{name} was {short(before)} and is {short(now)}"]
