"""Pairs of a crop and a word, the unit of work: which there are, and their way through the trunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clsclip_runtime._types import Floats, Integers
from clsclip_runtime.arrays import Arrays, join_rows
from clsclip_runtime.inference.model import Graphs, check_finite
from clsclip_runtime.limits import Bounds, check_result, pair_bytes


@dataclass
class _Waiting:
    """Pairs of encoded crops, of which ``done`` have gone through the trunk."""

    arrays: Arrays
    crops: Integers
    words: Integers
    done: int = 0

    def take(self, most: int) -> tuple[Integers, Integers]:
        part = slice(self.done, self.done + most)
        self.done = min(len(self.crops), self.done + most)
        return self.crops[part], self.words[part]


class PairQueue:
    """Sends pairs through the trunk, always as many together as one call may hold.

    Encoded crops are kept only until their last pair is done, so memory is bounded however many crops there are.
    """

    def __init__(
        self,
        graphs: Graphs,
        text_tokens: Floats,
        words: Sequence[str],
        mask_size: tuple[int, int],
        bounds: Bounds,
    ) -> None:
        """Nothing waits yet.

        Args:
            graphs: has the trunk.
            text_tokens: (K, d_text) float32.
            words: K, for messages.
            mask_size: the logits' (height, width).
            bounds: of a call's memory and pairs, and of the logits of all pairs.
        """
        self._bounds, self._total = bounds, 0
        self._graphs, self._text_tokens, self._words, self._mask_size = graphs, text_tokens, words, mask_size
        self._waiting: deque[_Waiting] = deque()
        self._count = 0
        self._done: list[Floats] = []
        self.calls = 0
        """Calls of the trunk so far."""

    def add(self, arrays: Arrays, crops: Integers, words: Integers) -> None:
        """Add pairs of encoded crops; their logits come in the order in which they were added.

        Args:
            arrays: what ``Graphs.encode`` gave for C crops.
            crops: (Q,) positions of crops, ascending.
            words: (Q,) positions of words.

        Raises:
            OptionError: the logits of all pairs would not fit into ``result_mb``.
        """
        if not len(crops):
            return
        self._total += len(crops)
        height, width = self._mask_size
        check_result(
            f"the logits of {self._total:,} pairs of a picture or region and a word",
            4 * height * width * self._total,
            self._bounds.result_mb,
            "Ask fewer words or pictures at a time, or let fewer words through: gate='clip', top_k=10",
        )
        self._waiting.append(_Waiting(*_joined([(arrays, crops)]), words))  # without crops that nothing is asked of
        self._count += len(crops)
        while self._count >= (step := self._step(arrays)):
            self._call(step)

    def finish(self) -> Floats:
        """Logits (P, h, w) float32 of all pairs.

        Raises:
            BackendError: the engine failed, or gave NaN; also from ``add``.
        """
        while self._count:
            self._call(self._step(self._waiting[0].arrays))
        if len(self._done) == 1:
            return self._done.pop()
        logits = np.empty((sum(map(len, self._done)), *self._mask_size), np.float32)
        end = len(logits)
        while self._done:  # each is freed as it is copied: the peak is little more than the result
            last = self._done.pop()
            logits[end - len(last) : end] = last
            end -= len(last)
        return logits

    def _step(self, arrays: Arrays) -> int:
        _, tokens, width = arrays["stem_tokens"].shape
        return self._bounds.pairs(pair_bytes(tokens, width, *self._mask_size))

    def _call(self, most: int) -> None:
        """One call of the trunk with the first ``most`` pairs that wait."""
        parts: list[tuple[Arrays, Integers, Integers]] = []
        room = most
        while room and self._waiting:
            first = self._waiting[0]
            crops, words = first.take(room)
            parts.append((first.arrays, crops, words))
            room -= len(crops)
            if first.done == len(first.crops):
                self._waiting.popleft()
        self._count -= most - room
        arrays, crop_index = _joined([(arrays, crops) for arrays, crops, _ in parts])
        asked, class_index = np.unique(np.concatenate([words for _, _, words in parts]), return_inverse=True)
        logits = self._graphs.trunk(arrays, self._text_tokens[asked], crop_index, class_index.astype(np.int64))
        check_finite(logits, [self._words[at] for at in asked[class_index]], "mask")
        self._done.append(logits)
        self.calls += 1


def _joined(parts: list[tuple[Arrays, Integers]]) -> tuple[Arrays, Integers]:
    """The crops that are used, of all parts, and every pair's position among them."""
    used = [np.unique(crops, return_inverse=True) for _, crops in parts]
    if len(parts) == 1 and len(used[0][0]) == len(parts[0][0]["stem_tokens"]):
        return parts[0][0], parts[0][1]  # all of them, as they are: no copy
    arrays = {
        name: join_rows([(arrays[name], rows) for (arrays, _), (rows, _) in zip(parts, used, strict=True)])
        for name in parts[0][0]
    }
    starts = np.cumsum([0, *(len(rows) for rows, _ in used)])
    index = [inverse + start for (_, inverse), start in zip(used, starts[:-1], strict=True)]
    return arrays, np.concatenate(index).astype(np.int64)
