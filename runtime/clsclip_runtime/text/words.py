"""Class words as people type them, made clean."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from clsclip_runtime.errors import WordError

MAX_WORD_CHARACTERS = 256

_BLANK_CONTROLS = "\t\n\v\f\r"


def clean_word(word: object) -> str:
    """One class word: Unicode NFC, stripped, runs of white space made one space.

    Raises:
        WordError: it is not text, is empty, has control characters, or is over 256 characters long.
    """
    if not isinstance(word, str):
        raise WordError(f"a class must be a text such as 'dog', not {type(word).__name__}: {_shown(word)}")
    for character in word:
        category = unicodedata.category(character)
        if category == "Cs" or (category == "Cc" and character not in _BLANK_CONTROLS):
            raise WordError(f"the class {_shown(word)} has a control character ({character!a}). Remove it")
    clean = " ".join(unicodedata.normalize("NFC", word).split())
    if len(clean) > MAX_WORD_CHARACTERS:
        raise WordError(
            f"the class {_shown(clean)} has {len(clean)} characters, and the limit is {MAX_WORD_CHARACTERS}. "
            "A class is a word or a short phrase: shorten it, or give several classes"
        )
    # Joiners and other format characters alone cannot be seen: to the reader that word is empty.
    if all(unicodedata.category(character) in ("Cf", "Zs") for character in clean):
        raise WordError("a class word is empty. Remove it, or write a word such as 'dog'")
    return clean


def clean_words(classes: str | Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """Clean all words; a word that comes again (same letters and case) is kept once.

    Returns:
        The words in the order asked, each once, and notes for the user about words that were dropped.

    Raises:
        WordError: there is no word, or one of them is not usable.
    """
    if isinstance(classes, str):
        classes = [classes]
    if not isinstance(classes, Iterable) or isinstance(classes, (bytes, bytearray)):
        raise WordError(f"classes must be a list of words, not {type(classes).__name__}. Example: classes=['dog']")
    count: dict[str, int] = {}
    for word in classes:
        clean = clean_word(word)
        count[clean] = count.get(clean, 0) + 1
    if not count:
        raise WordError("no class was given. Give at least one word, for example classes=['dog']")
    notes = [f"'{word}' was asked {times} times and is reported once" for word, times in count.items() if times > 1]
    return tuple(count), notes


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 48 else text[:45] + "..."
