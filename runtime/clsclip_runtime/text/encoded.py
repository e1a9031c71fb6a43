"""Words after the text encoder: named arrays, of the names and shapes that the manifest lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clsclip_runtime._types import Floats


@dataclass(frozen=True, eq=False)
class EncodedWord:
    """One word.

    Attributes:
        arrays: every text feature of the bundle by its name, float32 of the shape that the manifest gives.
        truncated: whether the end of the word was cut off.
    """

    arrays: Mapping[str, Floats]
    truncated: bool

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())


@dataclass(frozen=True, eq=False)
class EncodedWords:
    """K words.

    Attributes:
        words: K of them.
        arrays: every text feature by its name, (K, *shape) float32.
        truncated: those words whose end was cut off.
        notes: what the user should know about how they were found.
    """

    words: tuple[str, ...]
    arrays: dict[str, Floats]
    truncated: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def part(self, rows: slice) -> EncodedWords:
        """The words at ``rows``; their arrays are views."""
        words = self.words[rows]
        kept = set(words)
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        return EncodedWords(words, arrays, tuple(word for word in self.truncated if word in kept), self.notes)
