"""From an asked word to the classes that a detector knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from clsclip_runtime.documents import read_json
from clsclip_runtime.errors import OptionError
from clsclip_runtime.text.mending import mend

Encode: TypeAlias = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""K words to their text features (K, f) float32 of unit norm."""

_RULES = ("exact", "plural", "synonym", "nearest", "any", "none")
"""Of ``WordMatch.how``, the surest first."""

NEAREST = 0.94
"""Cosine from which the nearest class name counts as the same thing.

Measured on the ViT-B/16 text features of COCO's 80 things, 91 COCO-Stuff names and VOC's 20 names (one template).
Different things come as close as 0.935 (bicycle, motorcycle), 0.928 (bear, teddy bear), 0.924 (car, truck) and 0.915
(cat, dog), so at 0.90 fourteen things would be taken for another one, and at 0.94 none. Of the 91 other names one
passes at 0.948, the next has 0.939. VOC's own words for COCO's classes lie at 0.99 (motorbike), 0.97 (sofa, aeroplane,
diningtable), 0.944 (pottedplant) and 0.88 (tvmonitor): five of six pass. Features that are averaged over many
templates lie closer together: bear and teddy bear at 0.95. In the embedded model's own feature space the closest
different things of COCO are at 0.916 (knife, spoon), and ship finds boat, pony horse and lorry truck, all above 0.99.
"""

_TABLES = read_json(Path(__file__).with_name("synonyms.json"))

_SYNONYMS: tuple[tuple[str, ...], ...] = tuple(map(tuple, _TABLES["synonyms"]))
"""Words for one thing, as VOC, COCO, Objects365 and British and American English name it."""

_IRREGULAR: dict[str, str] = _TABLES["irregular_plurals"]
"""Plurals that no rule makes, and their singulars."""

_AGNOSTIC = frozenset(_TABLES["class_agnostic"])
"""What the only class of a detector that knows no classes is called."""


@dataclass(frozen=True)
class WordMatch:
    """What a detector knows of one word.

    Attributes:
        word: as it was asked.
        classes: the detector's classes that it means, by number; none if ``how`` is "none".
        names: the names of these classes.
        how: "exact" (but for case and spaces), "plural" (or singular), "synonym", "nearest" (text feature), "any" (the
            detector knows no classes, so its boxes may be anything) or "none".
        similarity: cosine of the nearest class name, where one was looked for.
    """

    word: str
    classes: tuple[int, ...]
    names: tuple[str, ...]
    how: str
    similarity: float | None = None


def match_words(
    words: Sequence[str],
    names: Sequence[str],
    encode: Encode | None = None,
    *,
    knows: Callable[[str], bool] | None = None,
    class_agnostic: bool | None = None,
    threshold: float = NEAREST,
) -> tuple[WordMatch, ...]:
    """The classes of every word; the first of these rules that finds one decides.

    exact, then singular and plural, then synonyms, then the class name with the nearest text feature.

    Args:
        words: what is asked.
        names: the detector's class names.
        encode: text features, for the last rule; None leaves it out. It is called only if a word needs it.
        knows: whether ``encode`` can encode a class name; those that it cannot are left out of the last rule. None
            is all.
        class_agnostic: the detector knows no classes: every word may be any of its boxes; None asks
            ``is_class_agnostic``.
        threshold: least cosine for the last rule.

    Raises:
        OptionError: the threshold is not from -1 to 1, or ``encode`` gave features of a wrong shape.
    """
    if not -1 <= threshold <= 1:
        raise OptionError(f"the threshold of the nearest class must be from -1 to 1, and it is {threshold!r}")
    if is_class_agnostic(names) if class_agnostic is None else class_agnostic:
        return tuple(WordMatch(word, tuple(range(len(names))), tuple(names), "any") for word in words)
    found = [_by_rules(word, names) for word in words]
    missing = [at for at, match in enumerate(found) if match.how == "none"]
    known = [at for at, name in enumerate(names) if knows is None or knows(_plain(name))]
    if encode is not None and missing and known:
        asked = [words[at] for at in missing]
        for at, match in zip(missing, _by_features(asked, names, known, encode, threshold), strict=True):
            found[at] = match
    return tuple(found)


def joined_match(word: str, matches: Sequence[WordMatch]) -> WordMatch:
    """What several spellings of one thing match together; ``how`` is that of the surest of them.

    Args:
        word: what they are spellings of.
        matches: one or more.
    """
    surest = min(matches, key=lambda one: _RULES.index(one.how))
    classes = dict(pair for one in matches for pair in zip(one.classes, one.names, strict=True))
    similarities = [one.similarity for one in matches if one.similarity is not None]
    similarity = max(similarities) if similarities and surest.how in ("nearest", "none") else None
    numbers = sorted(classes)
    return WordMatch(word, tuple(numbers), tuple(classes[at] for at in numbers), surest.how, similarity)


def same_class(one: str, other: str) -> bool:
    """Whether two words name one class by any rule that needs no text features."""
    return _by_rules(one, [other]).how != "none"


def is_class_agnostic(names: Sequence[str]) -> bool:
    """Whether a detector with these class names knows no classes: it has one, called "thing" or the like."""
    return len(names) == 1 and bool(_singulars(_plain(names[0])) & _AGNOSTIC)


def _by_rules(word: str, names: Sequence[str]) -> WordMatch:
    plain = _plain(word)
    rules: tuple[tuple[str, Callable[[str], bool]], ...] = (
        ("exact", lambda name: _joined(name) == _joined(plain)),
        ("plural", lambda name: _one_number(plain, name)),
        ("synonym", lambda name: bool(_things(plain) & _things(name))),
    )
    alternatives = [_alternatives(name) for name in names]
    for how, matches in rules:
        own = tuple(at for at, spellings in enumerate(alternatives) if any(map(matches, spellings)))
        if own:
            return WordMatch(word, own, tuple(names[at] for at in own), how)
    return WordMatch(word, (), (), "none")


def _by_features(
    words: Sequence[str], names: Sequence[str], known: Sequence[int], encode: Encode, threshold: float
) -> list[WordMatch]:
    """The nearest of the ``known`` names, by number."""
    # The names first: they are the same in every call, and encoders keep what they know.
    of_names = np.asarray(encode([_plain(names[at]) for at in known]), np.float32)
    of_words = np.asarray(encode(list(words)), np.float32)
    shapes = (of_words.shape, of_names.shape)
    if of_words.ndim != 2 or of_names.ndim != 2 or of_words.shape[1] != of_names.shape[1]:
        raise OptionError(f"encode must give one row of features for every word, and it gave {shapes}")
    if (len(of_words), len(of_names)) != (len(words), len(known)):
        raise OptionError(f"encode must give one row of features for every word, and it gave {shapes}")
    cosines = of_words @ of_names.T
    found = []
    for word, row in zip(words, cosines, strict=True):
        nearest, similarity = known[int(row.argmax())], float(row.max())
        if similarity >= threshold:
            found.append(WordMatch(word, (nearest,), (names[nearest],), "nearest", similarity))
        else:
            found.append(WordMatch(word, (), (), "none", similarity))
    return found


def _plain(word: str) -> str:
    """Mended as words are, lower case, one space between words; data sets also join words with ``_`` and ``-``."""
    return " ".join(mend(word)[0].casefold().replace("-", " ").split())


def _joined(word: str) -> str:
    """Without spaces: VOC writes diningtable."""
    return word.replace(" ", "")


def _alternatives(name: str) -> list[str]:
    """The spellings that a class name offers: Objects365 has "Monitor/TV", LVIS "mouse_(computer_equipment)"."""
    without = re.sub(r"\([^()]*\)", " ", name)
    parts = [_plain(part) for part in [name, without, *without.split("/")]]
    return list(dict.fromkeys(part for part in parts if part))


def _one_number(one: str, other: str) -> bool:
    """Whether one word is the plural of the other."""
    joined = _joined(one), _joined(other)
    return joined[0] in map(_joined, _singulars(other)) or joined[1] in map(_joined, _singulars(one))


def _singulars(word: str) -> frozenset[str]:
    """The word and everything that it could be the plural of.

    Wrong guesses ("bu" for "bus") do no harm: they only count where they are the other word.
    """
    found = {word}
    head, space, last = word.rpartition(" ")
    guesses: list[str] = []
    if last in _IRREGULAR:
        guesses.append(_IRREGULAR[last])
    if last.endswith("men") and last != "specimen":
        guesses.append(last[:-3] + "man")
    if last.endswith("s") and not last.endswith("ss"):
        guesses.append(last[:-1])
        if last.endswith("ies"):
            guesses.append(last[:-3] + "y")
        if last.endswith("ves"):
            guesses += [last[:-3] + "f", last[:-3] + "fe"]
        if re.search("(s|x|z|ch|sh|o)es$", last):
            guesses.append(last[:-2])
    found |= {head + space + guess for guess in guesses if len(guess) > 1}
    return frozenset(found)


_THING = {_joined(word): words[0] for words in _SYNONYMS for word in words}


def _things(word: str) -> frozenset[str]:
    """The things that a word, or its singular, is a name of."""
    singular = map(_joined, _singulars(word))
    return frozenset(_THING[one] for one in singular if one in _THING)
