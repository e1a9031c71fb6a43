"""How far a model can be trusted, from what its manifest says of its training and validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NEVER = "never validated"


def trust_line(manifest: Mapping[str, Any]) -> str:
    """One line: how long it was trained, on how much, and what validation found; ``never validated`` where nothing did.

    Args:
        manifest: the document, of which nothing but its form was checked.
    """
    provenance = _mapping(manifest, "provenance")
    validation = _mapping(provenance, "validation")
    steps, images = _count(provenance, "steps"), _count(provenance, "pictures")
    trained = "" if steps is None else f"trained {steps:,} step{'' if steps == 1 else 's'}"
    if trained and images is not None:
        trained += f" on {images:,} picture{'' if images == 1 else 's'}"
    if provenance.get("random_towers") is True:
        trained = f"{trained or 'made'} on random towers, which know no word"
    figures = [
        f"{label} {number:.{digits}f}"
        for key, label, digits in (("miou", "mIoU", 1), ("leakage", "leakage", 2))
        if (number := _number(validation, key)) is not None
    ]
    found = NEVER
    if figures:
        count = _count(validation, "pictures")
        found = f"validation: {', '.join(figures)}" + ("" if count is None else f" on {count:,} pictures")
    return "; ".join(part for part in (trained, found) if part)


def doubt_of(manifest: Mapping[str, Any]) -> str | None:
    """A note for results of a model that nobody validated, or that stands on random towers; None for others."""
    provenance = _mapping(manifest, "provenance")
    validated = _number(_mapping(provenance, "validation"), "miou") is not None
    if validated and provenance.get("random_towers") is not True:
        return None
    return f"nobody knows how good the masks of this model are: {trust_line(manifest)}"


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def _number(document: Mapping[str, Any], key: str) -> float | None:
    found = document.get(key)
    if not isinstance(found, (int, float)) or isinstance(found, bool):
        return None
    return float(found) if math.isfinite(found) and abs(found) < 2**53 else None


def _count(document: Mapping[str, Any], key: str) -> int | None:
    found = _number(document, key)
    return int(found) if found is not None and found >= 0 and found == int(found) else None
