"""What words mean among the classes of proposals, found once for every list of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clsclip_runtime._types import Bools
from clsclip_runtime.regions.proposals import ANY, Proposals
from clsclip_runtime.text.encoder import TextEncoder
from clsclip_runtime.text.matching import Encode, WordMatch, match_words

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
            matches = match_words(words, proposals.names, _vectors(text), knows=text.knows, class_agnostic=False)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = matches
        if not (proposals.classes == ANY).any():
            return matches
        return tuple(one if one.classes else WordMatch(one.word, (), (), "any", None) for one in matches)


def _vectors(text: TextEncoder) -> Encode | None:
    """What compares words with class names; None where the bundle has no feature for that."""
    name = text.matching
    return None if name is None else lambda words: text.encode(words).arrays[name]


def words_of_boxes(proposals: Proposals, matches: Sequence[WordMatch]) -> Bools:
    """(N, K) bool: whether word k is asked of box n, by its class or because it may be anything."""
    asked = np.repeat((proposals.classes == ANY)[:, None], len(matches), axis=1)
    for at, match in enumerate(matches):
        asked[:, at] |= np.isin(proposals.classes, match.classes)
    return asked
