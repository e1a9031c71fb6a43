"""Files among images that may be images and cannot be read as one: nobody should miss them without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from clsclip_runtime.images.formats import SUFFIXES

_COMPANIONS = frozenset(
    f".{suffix}"
    for suffix in (
        *("cache", "csv", "db", "html", "ini", "json", "jsonl", "log", "md", "names", "npy", "npz"),
        *("pdf", "py", "sh", "txt", "url", "xml", "xmp", "yaml", "yml"),
    )
)
"""Suffixes of files that lie beside images and that nobody takes for one."""


def is_other(name: str) -> bool:
    """Tell whether a file is passed over that somebody may take for an image, by its name; hidden files are not."""
    suffix = PurePath(name).suffix.lower()
    return not name.startswith(".") and suffix not in SUFFIXES and suffix not in _COMPANIONS


def by_suffix(names: Iterable[str]) -> str:
    """Count how many files there are of each suffix, the most first: ``3 .psd, 1 .dng``."""
    counts = Counter(PurePath(name).suffix.lower() for name in names).items()
    found = sorted(counts, key=lambda one: (-one[1], not one[0], one[0]))
    return ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in found)
