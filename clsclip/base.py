"""What every model has that draws masks for words with a CLIP."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from clsclip.towers import Towers


class WordSegmenter(nn.Module, ABC):
    """A model that encodes a crop once, a word once, and draws a mask for each pair of them.

    Attributes:
        towers: its CLIP, with tokenizer and preprocessing.
    """

    towers: Towers

    @abstractmethod
    def encode_image(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Encode crops: (C, 3, S, S) -> all that a crop needs once, whatever the words, (C, ...) each."""

    @abstractmethod
    def encode_text(self, token_ids: Tensor) -> tuple[Tensor, ...]:
        """Encode texts: (K, L) int64 -> all that a word needs once, (K, ...) each."""
