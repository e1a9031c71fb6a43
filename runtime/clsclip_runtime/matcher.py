"""What words mean among the classes of proposals, found once for every list of words."""

from __future__ import annotations

from clsclip_runtime.detectors.matching import WordMatch, match_words
from clsclip_runtime.regions.proposals import ANY, Proposals
from clsclip_runtime.text import TextEncoder

_KEPT = 16
"""Lists of words that are kept: frames of a video ask the same again and again."""


class Matcher:
    """Words to classes, with a memory. Safe to share between threads."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[WordMatch, ...]] = {}

    def __call__(self, words: tuple[str, ...], proposals: Proposals, text: TextEncoder) -> tuple[WordMatch, ...]:
        """The classes of every word; a box that may be anything is asked for words that match none."""
        key = (words, proposals.names)
        matches = self._known.get(key)
        if matches is None:
            matches = match_words(words, proposals.names, lambda texts: text.encode(texts).features, agnostic=False)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = matches
        if not (proposals.classes == ANY).any():
            return matches
        return tuple(one if one.classes else WordMatch(one.word, (), (), "any", None) for one in matches)
