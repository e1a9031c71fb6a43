"""What one call may take: memory, pairs, pixels, and how many pairs fit."""

from __future__ import annotations

from dataclasses import dataclass, fields

from clsclip_runtime.bundle.specs import MemorySpec
from clsclip_runtime.errors import OptionError
from clsclip_runtime.images import MAX_PIXELS
from clsclip_runtime.renamed import tells_new_names

_TEXT_ROWS = 256
_FAST_PAIRS = 16
"""Fewer leave matrix products too small: 5 of ViT-B/16's size were 10 % slower than 8 or 20 (measured)."""


@tells_new_names
@dataclass(frozen=True)
class Limits:
    """Bounds of every call of a segmenter.

    Attributes:
        memory_mb: of the activations of one call of a graph, MiB. What does not fit goes through in several calls.
            Weights, images and masks come on top.
        pairs_per_call: of the pairs, and of the crops, of one call, for engines with a fixed largest shape; None is as
            many as fit into ``memory_mb``, and on processors no more pairs than are fast.
        result_mb: of what the results of a call hold, MiB: the logits of all pairs, and masks that are asked for all at
            once. What is larger is refused before it is made.
        max_pixels: of an image; larger ones are refused before they are decoded.

    Raises:
        OptionError: a value is no whole number of 1 or more.
    """

    memory_mb: int = 1024
    pairs_per_call: int | None = None
    result_mb: int = 2048
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "pairs_per_call":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{field.name} must be a whole number of 1 or more, and it is {value!r}")

    def crops(self, memory: MemorySpec) -> int:
        """Count the crops of one call of the image encoder, at least one."""
        return self._at_most(fitting(self.memory_mb, memory.crop_bytes))

    def pairs(self, memory: MemorySpec, fast_mb: int | None = None) -> int:
        """Count the pairs of one call of the trunk, at least one.

        Args:
            memory: of a pair.
            fast_mb: MiB beyond which calls of more than 16 pairs only get slower; None if larger ones never are.
        """
        most = self._at_most(fitting(self.memory_mb, memory.pair_bytes))
        if fast_mb is None or self.pairs_per_call is not None:
            return most
        return min(most, max(_FAST_PAIRS, fitting(fast_mb, memory.pair_bytes)))

    def presence_words(self, memory: MemorySpec, crops: int) -> int:
        """Count the words of one call of the presence graph with this number of crops, at least one."""
        return fitting(self.memory_mb, crops * memory.presence_pair_bytes)

    def check_result(self, what: str, size: int, instead: str) -> None:
        """Refuse what would hold more than ``result_mb`` MiB, before it is made.

        Args:
            what: for the message, such as ``1,000 masks of 4000x3000 pixels``.
            size: its bytes.
            instead: what to do, without a full stop.

        Raises:
            OptionError: it is larger.
        """
        if size > self.result_mb << 20:
            raise OptionError(
                f"{what} would take {size / (1 << 20):,.0f} MiB, and results may hold {self.result_mb:,}. "
                f"{instead}, or raise the limit: limits=Limits(result_mb=...)"
            )

    def _at_most(self, fit: int) -> int:
        return fit if self.pairs_per_call is None else min(fit, self.pairs_per_call)


def fitting(memory_mb: int, item_bytes: int) -> int:
    """How many items fit into ``memory_mb`` MiB, at least one."""
    return max(1, (memory_mb << 20) // max(1, item_bytes))


def text_rows_per_call(memory_mb: int, word_bytes: int) -> int:
    """As many rows of tokens as the text encoder takes at a time, at least one, at most 256."""
    return min(_TEXT_ROWS, fitting(memory_mb, word_bytes))
