"""Class words as people type them, made clean, and the prompts of classes that have several."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from clsclip_runtime.errors import WordError
from clsclip_runtime.text.mending import mend

MAX_WORD_CHARACTERS = 256

_MOST_TYPED = 16 * MAX_WORD_CHARACTERS
"""Characters before mending: entities and wrong encodings take several for one."""

_BLANK_CONTROLS = "\t\n\v\f\r"
_SHOWN_CHANGES = 5


@dataclass(frozen=True)
class Asked:
    """Classes that are asked, clean.

    Attributes:
        classes: (K,) their names, each once, in the order asked.
        prompts: for each class the words that it is searched by, each once.
        notes: for the user: words that were changed, dropped or may be meant otherwise.
    """

    classes: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def mapping(self) -> dict[str, tuple[str, ...]]:
        """The prompts of every class by its name."""
        return dict(zip(self.classes, self.prompts, strict=True))

    @property
    def words(self) -> tuple[str, ...]:
        """The prompts of all classes, each once."""
        return tuple(dict.fromkeys(word for prompts in self.prompts for word in prompts))


Classes: TypeAlias = "str | Iterable[str] | Mapping[str, str | Iterable[str]] | Asked"
"""Words; one string is one word; a dictionary gives a class's name and its prompts, one or several."""

Entry: TypeAlias = "tuple[object, Sequence[object]]"
"""A class before it is clean: its name, None for the first of its prompts; and these."""


def clean_word(word: object) -> str:
    """One class word: mended (see ``text.mending``), stripped, runs of white space made one space.

    Raises:
        WordError: it is not text, is empty, has control characters, or is over 256 characters long.
    """
    return _mended(word)[0]


def clean_classes(classes: Classes) -> Asked:
    """Clean all words; a class that comes again (same letters and case) is kept once.

    Args:
        classes: see ``Classes``. ``Asked`` is given back as it is.

    Raises:
        WordError: there is no class, a class has no prompt, or a word is not usable.
    """
    if isinstance(classes, Asked):
        return classes
    if isinstance(classes, str):
        classes = [classes]
    if isinstance(classes, Mapping):
        return clean_entries([(name, _prompts_of(name, given)) for name, given in classes.items()])
    if not isinstance(classes, Iterable) or isinstance(classes, (bytes, bytearray)):
        raise WordError(f"classes must be a list of words, not {type(classes).__name__}. Example: classes=['dog']")
    return clean_entries([(None, [word]) for word in classes])


def clean_entries(entries: Iterable[Entry], notes: Sequence[str] = ()) -> Asked:
    """Clean classes that were typed or read.

    Args:
        entries: names and prompts.
        notes: of how they were read.

    Raises:
        WordError: as in ``clean_classes``.
    """
    prompts: dict[str, dict[str, None]] = {}
    times: dict[str, int] = {}
    changed: dict[str, None] = {}
    doubtful: dict[str, None] = {}
    joined: dict[str, None] = {}
    for name, given in entries:
        words: dict[str, None] = {}
        for typed in given:
            word, what = _mended(typed)
            words[word] = None
            if what:
                changed[f"'{_spaced(str(typed))}' was read as '{word}' ({', '.join(what)})"] = None
            if any(mark in word for mark in ",|"):
                doubtful[word] = None
        label = next(iter(words)) if name is None else _label(name)
        if label in prompts and set(words) != set(prompts[label]):
            joined[label] = None
        prompts.setdefault(label, {}).update(words)
        times[label] = times.get(label, 0) + 1
    if not prompts:
        raise WordError("no class was given. Give at least one word, for example classes=['dog']")
    told = [
        *notes,
        *_shortened(list(changed)),
        *(f"'{word}' was taken as one word; several classes are several words" for word in doubtful),
        *(f"'{word}' was given several times, and its prompts were joined" for word in joined),
        *(
            f"'{word}' was asked {count} times and is reported once"
            for word, count in times.items()
            if count > 1 and word not in joined
        ),
    ]
    return Asked(tuple(prompts), tuple(map(tuple, prompts.values())), tuple(told))


def _prompts_of(name: object, given: object) -> Sequence[object]:
    """The prompts of one class of a dictionary."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, (bytes, bytearray, Mapping)):
        raise WordError(
            f"the prompts of the class {_shown(name)} must be a word or a list of words, not {type(given).__name__}. "
            "Example: classes={'helmet': ['safety helmet', 'hard hat']}"
        )
    prompts = list(given)
    if not prompts:
        raise WordError(f"the class {_shown(name)} has no prompt. Give at least one word")
    return prompts


def _mended(word: object) -> tuple[str, tuple[str, ...]]:
    """A clean word, and what was wrong with it."""
    typed = _text(word)
    mended, what = mend(typed)
    return _checked(mended), what


def _label(name: object) -> str:
    """The name of a class that is not searched itself: as it is written, but for spaces and Unicode's form."""
    return _checked(unicodedata.normalize("NFC", _text(name)))


def _text(word: object) -> str:
    if not isinstance(word, str):
        raise WordError(f"a class must be a text such as 'dog', not {type(word).__name__}: {_shown(word)}")
    if len(word) > _MOST_TYPED:
        raise _too_long(word)
    for character in word:
        # Characters from 128 on may be halves of letters in a wrong encoding, and are looked at once it is mended.
        if unicodedata.category(character) == "Cs" or (character < "\x80" and _is_control(character)):
            raise _has_control(word, character)
    return word


def _checked(text: str) -> str:
    control = next((one for one in text if _is_control(one)), None)
    if control is not None:
        raise _has_control(text, control)
    clean = _spaced(text)
    if len(clean) > MAX_WORD_CHARACTERS:
        raise _too_long(clean)
    # Joiners and other format characters alone cannot be seen: to the reader that word is empty.
    if all(unicodedata.category(character) in ("Cf", "Zs") for character in clean):
        raise WordError("a class word is empty. Remove it, or write a word such as 'dog'")
    return clean


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in _BLANK_CONTROLS


def _spaced(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _has_control(text: str, character: str) -> WordError:
    return WordError(f"the class {_shown(text)} has a control character ({character!a}). Remove it")


def _too_long(text: str) -> WordError:
    return WordError(
        f"the class {_shown(text)} has {len(text)} characters, and the limit is {MAX_WORD_CHARACTERS}. "
        "A class is a word or a short phrase: shorten it, or give several classes"
    )


def _shortened(changes: list[str]) -> list[str]:
    """A few notes as they are, many as one with the first."""
    if len(changes) <= _SHOWN_CHANGES:
        return changes
    return [f"{len(changes):,} words were changed as they were read, such as {', '.join(changes[:2])}"]


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 48 else text[:45] + "..."
