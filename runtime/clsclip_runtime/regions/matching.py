"""What words mean among the classes of proposals, found once for every list of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clsclip_runtime._types import Bools
from clsclip_runtime.regions.proposals import ANY, Proposals
from clsclip_runtime.text.encoder import TextEncoder
from clsclip_runtime.text.matching import Encode, WordMatch, joined_match, match_words
from clsclip_runtime.text.words import Asked

_KEPT = 16
"""Lists of words that are kept: frames of a video ask the same again and again."""


class Matcher:
    """Words to classes, with a memory. Safe to share between threads."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: dict[tuple[object, tuple[str, ...]], tuple[WordMatch, ...]] = {}

    def __call__(self, asked: Asked, proposals: Proposals, text: TextEncoder) -> tuple[WordMatch, ...]:
        """The boxes' classes of every prompt; a box that may be anything is asked for prompts that match none.

        A box that is named as a class is asked for all prompts of that class.
        """
        key = ((asked.classes, asked.prompts), proposals.names)
        matches = self._known.get(key)
        if matches is None:
            matches = _match(asked, proposals.names, text)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = matches
        if not (proposals.classes == ANY).any():
            return matches
        return tuple(one if one.classes else WordMatch(one.word, (), (), "any", None) for one in matches)


def _match(asked: Asked, names: tuple[str, ...], text: TextEncoder) -> tuple[WordMatch, ...]:
    words = [word for prompts in asked.prompts for word in prompts]
    found = list(match_words(words, names, _vectors(text), knows=text.knows, class_agnostic=False))
    at = 0
    for name, prompts in zip(asked.classes, asked.prompts, strict=True):
        if prompts != (name,):
            (own,) = match_words([name], names, class_agnostic=False)
            for place in range(at, at + len(prompts)):
                found[place] = joined_match(words[place], [own, found[place]])
        at += len(prompts)
    return tuple(found)


def joined_matches(asked: Asked, matches: Sequence[WordMatch]) -> tuple[WordMatch, ...]:
    """The matches of all prompts as one for each class; none where there are none."""
    found, at = [], 0
    for name, prompts in zip(asked.classes, asked.prompts, strict=True):
        if matches:
            found.append(joined_match(name, matches[at : at + len(prompts)]))
        at += len(prompts)
    return tuple(found)


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
