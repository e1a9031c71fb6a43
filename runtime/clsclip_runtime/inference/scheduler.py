"""Looking at pictures for words: which crops are asked for which words, and their way through the graphs.

Crops of all pictures of a call go through the image encoder together, the gate drops pairs, and what is left fills the
trunk's calls whatever crop or picture it belongs to.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Floats, Integers
from clsclip_runtime.arrays import Arrays
from clsclip_runtime.bundle.specs import Manifest
from clsclip_runtime.images import preprocess
from clsclip_runtime.inference.crops import Crops, region_crops, whole_crop
from clsclip_runtime.inference.model import Graphs
from clsclip_runtime.inference.presence import Gate
from clsclip_runtime.inference.queue import PairQueue
from clsclip_runtime.inference.request import Look, Part
from clsclip_runtime.limits import Bounds, gate_bytes, pairs_per_call
from clsclip_runtime.masks.upsampling import logit
from clsclip_runtime.regions import ZoomIn
from clsclip_runtime.regions.matching import words_of_boxes
from clsclip_runtime.results.pairs import WHOLE, Pairs
from clsclip_runtime.text.encoded import EncodedWords

_log = logging.getLogger(__name__)


class Looker:
    """Takes the looks of one call through a bundle's graphs."""

    def __init__(
        self,
        graphs: Graphs,
        manifest: Manifest,
        words: tuple[str, ...],
        encoded: EncodedWords,
        gate: Gate | None,
        bounds: Bounds,
    ) -> None:
        """No ``gate`` segments all."""
        self._graphs, self._manifest = graphs, manifest
        self._words, self._encoded, self._gate = words, encoded, gate
        self._bounds = bounds
        self._crops_per_call = bounds.crops(manifest)
        mask_size = (manifest.mask.height, manifest.mask.width)
        self._queue = PairQueue(graphs, encoded.tokens, words, mask_size, bounds)
        self._waiting: list[tuple[Look, Crops, int]] = []
        self._parts: list[Part] = []
        self.timings: dict[str, float] = {}
        """Milliseconds of ``image``, ``presence`` and ``masks``."""

    def run(self, looks: Sequence[Look], zoom: ZoomIn) -> list[Pairs]:
        """The pairs of every look, segmented.

        Raises:
            BackendError: the engine failed, or gave NaN.
        """
        for look in looks:
            look.begin(len(self._words))
            if look.proposals is not None:
                asked = words_of_boxes(look.proposals, look.matches)
                self._add(look, region_crops(look.proposals, asked, look.size, zoom))
        self._encode_all()  # which words are missing is known only when all regions have been looked at
        for look in looks:
            missing = [] if look.proposals is None else [self._words[at] for at in np.flatnonzero(~look.segmented)]
            if missing:
                _log.info("%s: no region of %s (on_missing %s)", look.picture.source, missing, zoom.on_missing)
            if look.proposals is None or zoom.on_missing == "whole-image":
                self._add(look, whole_crop(look.size, ~look.segmented))
        self._encode_all()
        with timed(self.timings, "masks"):
            logits = self._queue.finish()
        own: dict[int, list[Part]] = {id(look): [] for look in looks}
        begin = 0
        for part in self._parts:
            part.begin = begin
            begin += len(part.rows)
            own[id(part.look)].append(part)
        cuts = logit(self._manifest.mask.threshold) - np.array([0, math.log(zoom.odds)])
        return [_pairs(own[id(look)], logits, cuts) for look in looks]

    def _add(self, look: Look, crops: Crops) -> None:
        whole = crops.boxes == WHOLE
        look.in_whole |= crops.asked[whole].any(axis=0)
        look.in_regions |= crops.asked[~whole].any(axis=0)
        if look.arrays is not None and len(crops) == 1 and crops.boxes[0] == WHOLE:
            self._ask(look.arrays, [(look, crops, 0)])
            return
        for row in range(len(crops)):
            self._waiting.append((look, crops, row))
            if len(self._waiting) == self._crops_per_call:
                self._encode_all()

    def _encode_all(self) -> None:
        """Encode the crops that wait (never more than one call may hold), and queue their pairs."""
        if not self._waiting:
            return
        group, self._waiting = self._waiting, []
        with timed(self.timings, "image"):
            pixels = np.stack([self._pixels(look, crops.windows[row]) for look, crops, row in group])
            sources = [look.picture.source for look, _, _ in group]
            arrays = self._graphs.encode(pixels, sources, for_gate=self._gate is not None)
        self._ask(arrays, group)

    def _pixels(self, look: Look, window: Integers) -> Floats:
        left, top, right, bottom = (int(value) for value in window)
        image = look.picture.image
        whole = (left, top, right, bottom) == (0, 0, *look.size)
        return preprocess(image if whole else image.crop((left, top, right, bottom)), self._manifest.image)

    def _presence(self, arrays: Arrays) -> Floats:
        """Presence (C, K) float32; as many words a call as fit into the memory that a call may have."""
        crops, tokens, _ = arrays["stem_tokens"].shape
        step = pairs_per_call(self._bounds.memory_mb, crops * gate_bytes(tokens))
        parts = []
        for start in range(0, len(self._words), step):
            part = slice(start, start + step)
            words = EncodedWords(self._encoded.tokens[part], self._encoded.features[part], ())
            parts.append(self._graphs.presence(arrays, words, self._words[part]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _ask(self, arrays: Arrays, group: Sequence[tuple[Look, Crops, int]]) -> None:
        """Which words the encoded crops show, and those pairs to the trunk."""
        asked = np.stack([crops.asked[row] for _, crops, row in group])
        named = np.array([crops.named[row] for _, crops, row in group])
        if self._gate is None:
            chosen, outranked = asked, np.zeros_like(asked)
            scores = np.full(asked.shape, np.nan, np.float32)
        else:
            with timed(self.timings, "presence"):
                scores = self._presence(arrays)
                chosen, outranked = self._gate.choose(asked, named, scores)
        for at, (look, crops, row) in enumerate(group):
            np.fmax(look.presence, np.where(asked[at], scores[at], np.nan), out=look.presence)
            look.segmented |= chosen[at]
            look.outranked |= outranked[at]
            words = np.flatnonzero(chosen[at])
            if len(words):
                self._parts.append(Part(look, crops, np.full(len(words), row), words, scores[at][words]))
        crops_of_pairs, words_of_pairs = np.nonzero(chosen)
        with timed(self.timings, "masks"):
            self._queue.add(arrays, crops_of_pairs, words_of_pairs)


def _pairs(parts: Sequence[Part], logits: Floats, cuts: npt.NDArray[np.float64]) -> Pairs:
    """The pairs of one picture, of all pictures' ``logits``; without a copy where its parts lie behind one another.

    ``cuts`` are the logits that a pixel must exceed: of boxes that may be anything and whole pictures, of named boxes.
    """
    ranges = [slice(part.begin, part.begin + len(part.rows)) for part in parts]
    together = all(one.stop == other.start for one, other in pairwise(ranges))
    own = (
        logits[ranges[0].start : ranges[-1].stop]
        if ranges and together
        else logits[np.r_[tuple(ranges) or (slice(0),)]]
    )
    return Pairs(
        words=np.concatenate([np.zeros(0, np.int64), *(part.words for part in parts)]),
        windows=np.concatenate([np.zeros((0, 4), np.int64), *(part.crops.windows[part.rows] for part in parts)]),
        limits=np.concatenate([np.zeros((0, 4), np.int64), *(part.crops.limits[part.rows] for part in parts)]),
        boxes=np.concatenate([np.zeros(0, np.int64), *(part.crops.boxes[part.rows] for part in parts)]),
        cuts=cuts[np.concatenate([np.zeros(0, np.int64), *(part.crops.named[part.rows] for part in parts)])],
        presence=np.concatenate([np.zeros(0, np.float32), *(part.presence for part in parts)]),
        logits=own,
    )


@contextmanager
def timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Add the milliseconds that the block took."""
    start = time.perf_counter()
    yield
    timings[name] = timings.get(name, 0.0) + (time.perf_counter() - start) * 1000
