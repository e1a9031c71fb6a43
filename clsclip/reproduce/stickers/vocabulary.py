"""The nouns of the sticker world: which emoji draw a word, and which words' masks are held out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

PASCAL_NOUNS = 19
"""The first nouns of the list are PASCAL VOC's classes without dining table, which has no emoji."""


@dataclass(frozen=True)
class Noun:
    """One word of the world.

    Attributes:
        index: position in the vocabulary.
        name: the word, for example ``"potted plant"``.
        emoji: the emoji that draw it, at least one.
        synonyms: other words for the same thing; captions use them too.
        held_out: True when no mask of this word is ever trained on (the zero-shot test).
    """

    index: int
    name: str
    emoji: tuple[str, ...]
    synonyms: tuple[str, ...]
    held_out: bool


def parse_noun(index: int, line: str) -> Noun:
    """One line ``[*]name | emoji ... | synonym, ...`` of ``nouns.txt``."""
    name, emoji, synonyms = (part.strip() for part in line.split("|"))
    return Noun(
        index=index,
        name=name.lstrip("*"),
        emoji=tuple(emoji.split()),
        synonyms=tuple(word.strip() for word in synonyms.split(",") if word.strip()),
        held_out=name.startswith("*"),
    )


@lru_cache(maxsize=1)
def nouns() -> tuple[Noun, ...]:
    """The whole vocabulary, in file order; an index into it is a class label plus one in masks."""
    text = files("clsclip.reproduce.stickers").joinpath("nouns.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return tuple(parse_noun(index, line) for index, line in enumerate(lines))
