"""The way of pairs through the trunk, always as many together as one call may hold."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from clsclip_runtime._types import Floats, Integers
from clsclip_runtime.arrays import Arrays, join_rows
from clsclip_runtime.bundle.specs import Manifest
from clsclip_runtime.inference.model import LoadedModel, check_finite
from clsclip_runtime.limits import Limits
from clsclip_runtime.text.encoded import EncodedWords


@dataclass
class _Waiting:
    """Pairs of encoded crops, of which ``done`` have gone through the trunk."""

    features: Arrays
    crops: Integers
    words: Integers
    done: int = 0

    def take(self, most: int) -> tuple[Integers, Integers]:
        part = slice(self.done, self.done + most)
        self.done = min(len(self.crops), self.done + most)
        return self.crops[part], self.words[part]


class PairQueue:
    """Sends pairs through the trunk.

    Encoded crops are kept only until their last pair is done, so memory is bounded however many crops there are.
    """

    def __init__(self, model: LoadedModel, manifest: Manifest, encoded: EncodedWords, limits: Limits) -> None:
        """Start empty.

        Args:
            model: has the trunk.
            manifest: of its bundle.
            encoded: K words.
            limits: of a call's memory and pairs, and of the logits of all pairs.
        """
        self._model, self._encoded, self._limits = model, encoded, limits
        self._mask_size = (manifest.mask.height, manifest.mask.width)
        self._step = limits.pairs(manifest.memory, model.fast_mb)
        self._total = 0
        self._waiting: deque[_Waiting] = deque()
        self._count = 0
        self._logits: list[Floats] = []
        self._presence: list[Floats] = []
        self.calls = 0
        """Calls of the trunk so far."""

    def add(self, features: Arrays, crops: Integers, words: Integers) -> None:
        """Add pairs of encoded crops; their logits come in the order in which they were added.

        Args:
            features: what ``LoadedModel.encode`` gave for C crops.
            crops: (Q,) positions of crops, ascending.
            words: (Q,) positions of words.

        Raises:
            OptionError: the logits of all pairs would not fit into ``result_mb``.
        """
        if not len(crops):
            return
        self._total += len(crops)
        height, width = self._mask_size
        self._limits.check_result(
            f"the logits of {self._total:,} pairs of an image or region and a class",
            4 * height * width * self._total,
            "Ask fewer classes or images at a time, or let fewer classes through: max_classes=10",
        )
        self._waiting.append(_Waiting(*_joined([(features, crops)]), words))  # without crops that nothing is asked of
        self._count += len(crops)
        while self._count >= self._step:
            self._call()

    def finish(self) -> tuple[Floats, Floats | None]:
        """Run what waits: logits (P, h, w) float32 of all pairs since the last call, and presence (P,) of the trunk.

        Presence is in the form that the manifest states; None where the trunk gives none.

        Raises:
            BackendError: the engine failed, or gave NaN; also from ``add``.
        """
        while self._count:
            self._call()
        presence = np.concatenate(self._presence) if self._presence else None
        self._presence = []
        if len(self._logits) == 1:
            return self._logits.pop(), presence
        logits = np.empty((sum(map(len, self._logits)), *self._mask_size), np.float32)
        end = len(logits)
        while self._logits:  # each is freed as it is copied: the peak is little more than the result
            last = self._logits.pop()
            logits[end - len(last) : end] = last
            end -= len(last)
        return logits, presence

    def _call(self) -> None:
        """One call of the trunk with the first pairs that wait."""
        parts: list[tuple[Arrays, Integers, Integers]] = []
        room = self._step
        while room and self._waiting:
            first = self._waiting[0]
            crops, words = first.take(room)
            parts.append((first.features, crops, words))
            room -= len(crops)
            if first.done == len(first.crops):
                self._waiting.popleft()
        self._count -= self._step - room
        features, crop_index = _joined([(features, crops) for features, crops, _ in parts])
        asked, class_index = np.unique(np.concatenate([words for _, _, words in parts]), return_inverse=True)
        text = {name: array[asked] for name, array in self._encoded.arrays.items()}
        logits, presence = self._model.trunk(features, text, crop_index, class_index.astype(np.int64))
        names = [self._encoded.words[at] for at in asked[class_index]]
        check_finite(logits, names, "mask")
        self._logits.append(logits)
        if presence is not None:
            check_finite(presence, names, "presence score")
            self._presence.append(presence)
        self.calls += 1


def _joined(parts: list[tuple[Arrays, Integers]]) -> tuple[Arrays, Integers]:
    """The crops that are used, of all parts, and every pair's position among them."""
    used = [np.unique(crops, return_inverse=True) for _, crops in parts]
    if len(parts) == 1 and len(used[0][0]) == len(next(iter(parts[0][0].values()))):
        return parts[0][0], parts[0][1]  # all of them, as they are: no copy
    features = {
        name: join_rows([(part[name], rows) for (part, _), (rows, _) in zip(parts, used, strict=True)])
        for name in parts[0][0]
    }
    starts = np.cumsum([0, *(len(rows) for rows, _ in used)])
    index = [inverse + start for (_, inverse), start in zip(used, starts[:-1], strict=True)]
    return features, np.concatenate(index).astype(np.int64)
