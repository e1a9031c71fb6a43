"""Words after the text encoder."""

from __future__ import annotations

from dataclasses import dataclass

from clsclip_runtime._types import Floats


@dataclass(frozen=True, eq=False)
class EncodedWord:
    """One word: ``token`` (d_text,) float32, ``feature`` (f,) float32 of unit norm, and whether its end was cut off."""

    token: Floats
    feature: Floats
    truncated: bool


@dataclass(frozen=True, eq=False)
class EncodedWords:
    """K words: ``tokens`` (K, d_text) float32, ``features`` (K, f) float32, and the words whose end was cut off."""

    tokens: Floats
    features: Floats
    truncated: tuple[str, ...]
