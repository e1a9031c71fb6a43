"""From words to the classes of a detector (stand-in)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clsclip_runtime.detectors.names import same_class


@dataclass(frozen=True)
class WordMatch:
    """Which classes a word means, and how that is known."""

    word: str
    classes: tuple[int, ...]
    names: tuple[str, ...]
    how: str
    similarity: float | None = None


def match_words(
    words: Sequence[str], names: Sequence[str], encode: Callable[[Sequence[str]], Any] | None = None
) -> tuple[WordMatch, ...]:
    """The classes of every word."""
    found = []
    for word in words:
        classes = tuple(at for at, name in enumerate(names) if same_class(word, name))
        found.append(WordMatch(word, classes, tuple(names[at] for at in classes), "exact" if classes else "none"))
    return tuple(found)
