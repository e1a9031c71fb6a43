"""The way of one call's images through the graphs.

Crops of all images of a call go through the image encoder together, the presence filter drops pairs, and what is left
fills the trunk's calls whatever crop or image it belongs to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from clsclip_runtime._types import Bools, Doubles, Floats, Integers
from clsclip_runtime.arrays import Arrays
from clsclip_runtime.bundle.specs import Manifest
from clsclip_runtime.images import cropped, preprocess
from clsclip_runtime.inference.crops import Crops, region_crops, tile_crops, whole_crop
from clsclip_runtime.inference.domain import is_far
from clsclip_runtime.inference.model import LoadedModel
from clsclip_runtime.inference.presence import PresenceFilter
from clsclip_runtime.inference.queue import PairQueue
from clsclip_runtime.inference.request import Findings, ImageRequest
from clsclip_runtime.limits import Limits
from clsclip_runtime.masks.confidence import lower_faint
from clsclip_runtime.masks.upsampling import logit
from clsclip_runtime.regions import ZoomIn
from clsclip_runtime.regions.matching import words_of_boxes
from clsclip_runtime.results.pairs import WHOLE, Pairs
from clsclip_runtime.text.encoded import EncodedWords

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Pairs of one crop that went to the trunk: (Q,) rows of ``crops``, own words of the image, presence."""

    crops: Crops
    rows: Integers
    words: Integers
    presence: Floats


@dataclass(eq=False)
class _Progress:
    """What is known of one image while its call runs; a word is a position among the image's own prompts."""

    request: ImageRequest
    presence: Floats
    segmented: Bools
    outnumbered: Bools
    in_regions: Bools
    in_whole: Bools
    in_tiles: Bools
    far: bool = False
    pairs: list[tuple[PairBatch, Floats, slice]] = field(default_factory=list)
    """With the array of logits that holds theirs, and where."""

    @property
    def has_several(self) -> bool:
        """Whether a class has several prompts."""
        return bool(self.request.classes[-1] + 1 < len(self.request.classes))

    @classmethod
    def start(cls, request: ImageRequest) -> _Progress:
        count = len(request.words)
        flags = np.zeros((5, count), np.bool_)
        return cls(request, np.full(count, np.nan, np.float32), *flags)


class Scheduler:
    """Takes the images of one call through a bundle's graphs."""

    def __init__(
        self,
        model: LoadedModel,
        manifest: Manifest,
        encoded: EncodedWords,
        presence_filter: PresenceFilter | None,
        limits: Limits,
    ) -> None:
        """Prepare a call; no ``presence_filter`` segments every word."""
        self._model, self._manifest = model, manifest
        self._encoded, self._filter, self._limits = encoded, presence_filter, limits
        self._crops_per_call = limits.crops(manifest.memory)
        self._queue = PairQueue(model, manifest, encoded, limits)
        self._waiting: list[tuple[_Progress, Crops, int]] = []
        self._queued: list[tuple[_Progress, PairBatch]] = []
        self.timings: dict[str, float] = {}
        """Milliseconds of ``image``, ``presence`` and ``masks``."""

    def run(self, requests: Sequence[ImageRequest], zoom: ZoomIn, mask_threshold: float) -> list[Findings]:
        """Segment every image; a pixel of a mask exceeds the probability ``mask_threshold``.

        Raises:
            BackendError: the backend failed, or gave NaN.
            OptionError: the results would not fit into ``result_mb``.
        """
        images = [_Progress.start(request) for request in requests]
        for image in images:
            request = image.request
            if request.regions is not None:
                asked = words_of_boxes(request.regions, request.matches)
                self._add(image, region_crops(request.regions, asked, request.size, zoom))
        # Which words are missing is known only when all regions have been searched.
        self._encode_all()
        if self._model.trunk_tells_presence:
            self._finish()
        for image in images:
            request = image.request
            missing = ~image.segmented
            if request.regions is not None and missing.any():
                words = [self._encoded.words[at] for at in request.words[missing]]
                _log.info("%s: no region of %s (fallback %s)", request.image.source, words, zoom.fallback)
            if request.regions is None or zoom.fallback == "whole-image":
                self._add(image, whole_crop(request.size, missing))
            if request.tiles is not None and len(request.words):
                self._add(image, tile_crops(request.tiles, len(request.words)))
        self._encode_all()
        self._finish()
        own = logit(mask_threshold)
        mask_logits = np.array([own, own + logit(zoom.mask_threshold)])
        return [self._findings(image, mask_logits) for image in images]

    def _add(self, image: _Progress, crops: Crops) -> None:
        whole = crops.boxes == WHOLE
        image.in_whole |= crops.asked[whole & ~crops.tiled].any(axis=0)
        image.in_tiles |= crops.asked[crops.tiled].any(axis=0)
        image.in_regions |= crops.asked[~whole].any(axis=0)
        features = image.request.features
        if features is not None and len(crops) == 1 and crops.boxes[0] == WHOLE and not crops.tiled[0]:
            self._ask(features, [(image, crops, 0)])
            return
        for row in range(len(crops)):
            self._waiting.append((image, crops, row))
            if len(self._waiting) == self._crops_per_call:
                self._encode_all()

    def _encode_all(self) -> None:
        """Encode the crops that wait (never more than one call may hold), and queue their pairs."""
        if not self._waiting:
            return
        group, self._waiting = self._waiting, []
        with timed(self.timings, "image"):
            pixels = np.stack([self._pixels(image.request, crops.windows[row]) for image, crops, row in group])
            sources = [image.request.image.source for image, _, _ in group]
            features = self._model.encode(pixels, sources, for_presence=self._filter is not None)
        self._ask(features, group)

    def _pixels(self, request: ImageRequest, window: Integers) -> Floats:
        left, top, right, bottom = (int(value) for value in window)
        image = request.image.image
        whole = (left, top, right, bottom) == (0, 0, *request.size)
        return preprocess(image if whole else cropped(image, (left, top, right, bottom)), self._manifest.image)

    def _presence(self, features: Arrays) -> Floats:
        """Presence (C, K) float32; as many words a call as fit into the memory that a call may have."""
        crops = len(next(iter(features.values())))
        step = self._limits.presence_words(self._manifest.memory, crops)
        starts = range(0, len(self._encoded.words), step)
        parts = [self._model.presence(features, self._encoded.part(slice(start, start + step))) for start in starts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _ask(self, features: Arrays, group: Sequence[tuple[_Progress, Crops, int]]) -> None:
        """Find which words the encoded crops show, and queue those pairs for the trunk."""
        asked = np.zeros((len(group), len(self._encoded.words)), np.bool_)
        for at, (image, crops, row) in enumerate(group):
            # Two classes may share a prompt.
            np.logical_or.at(asked[at], image.request.words, crops.asked[row])
            if self._manifest.domain is not None and crops.boxes[row] == WHOLE and not crops.tiled[row]:
                image.far = is_far(self._manifest.domain, features, at)
        named = np.array([crops.named[row] for _, crops, row in group])
        tiled = np.array([crops.tiled[row] for _, crops, row in group])
        chosen, outnumbered = asked, np.zeros_like(asked)
        scores = np.full(asked.shape, np.nan, np.float32)
        if self._filter is not None and not self._model.trunk_tells_presence:
            with timed(self.timings, "presence"):
                scores = self._presence(features)
                chosen, outnumbered = self._filter.choose(asked, named, tiled, scores)
        several = self._filter is not None and self._filter.max_classes is not None
        # Pairs go to the queue in the order of every image's own words, in which their logits are given back.
        crops_of_pairs, words_of_pairs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for at, (image, crops, row) in enumerate(group):
            own, own_asked = image.request.words, crops.asked[row]
            own_chosen, own_outnumbered = chosen[at, own] & own_asked, outnumbered[at, own] & own_asked
            if not self._model.trunk_tells_presence:
                if several and image.has_several:
                    own_chosen, own_outnumbered = self._choose(image, own_asked, crops, row, scores[at, own])
                shown = own_chosen if tiled[at] else own_asked
                self._note(image, shown, own_chosen, own_outnumbered, scores[at, own])
            words = np.flatnonzero(own_chosen)
            if len(words):
                batch = PairBatch(crops, np.full(len(words), row), words, scores[at, own][words])
                self._queued.append((image, batch))
                crops_of_pairs.append(np.full(len(words), at))
                words_of_pairs.append(own[words])
        with timed(self.timings, "masks"):
            self._queue.add(features, np.concatenate(crops_of_pairs), np.concatenate(words_of_pairs))

    def _choose(self, image: _Progress, asked: Bools, crops: Crops, row: int, scores: Floats) -> tuple[Bools, Bools]:
        """What passes the filter of one crop, whose classes may have several prompts: (q,) each."""
        if self._filter is None:
            return asked, np.zeros_like(asked)
        named, tiled = crops.named[row : row + 1], crops.tiled[row : row + 1]
        chosen, outnumbered = self._filter.choose(
            asked[None], named, tiled, scores[None], classes=image.request.classes
        )
        return chosen[0], outnumbered[0]

    @staticmethod
    def _note(image: _Progress, asked: Bools, chosen: Bools, outnumbered: Bools, scores: Floats) -> None:
        """Take in what one crop shows of an image's own words.

        ``asked`` are the words whose presence counts: in a tile those that passed, because others met a higher
        threshold there than the one that the result tells.
        """
        np.fmax(image.presence, np.where(asked, scores, np.nan), out=image.presence)
        image.segmented |= chosen
        image.outnumbered |= outnumbered

    def _finish(self) -> None:
        """Run the pairs that wait in the trunk, and give their logits to their images."""
        with timed(self.timings, "masks"):
            logits, presence = self._queue.finish()
            queued, self._queued = self._queued, []
            logits = self._without_faint(logits, queued)
        start = 0
        for image, batch in queued:
            part = slice(start, start + len(batch.words))
            start = part.stop
            if presence is None:
                image.pairs.append((batch, logits, part))
            else:
                self._filter_after(image, batch, logits[part], presence[part])

    def _without_faint(self, logits: Floats, queued: Sequence[tuple[_Progress, PairBatch]]) -> Floats:
        """Lower the logits (P, h, w) of queued pairs where a mask is faint and nobody says what the crop shows."""
        if self._filter is None or not self._filter.least_confidence or not queued:
            return logits
        guessed = ~np.concatenate([batch.crops.named[batch.rows] for _, batch in queued])
        found: Floats = logits if logits.flags.writeable else logits.copy()
        lower_faint(found, self._filter.least_confidence, guessed)
        return found

    def _filter_after(self, image: _Progress, batch: PairBatch, logits: Floats, presence: Floats) -> None:
        """Keep the pairs of one crop that pass the filter, by presence that the trunk told."""
        count = len(image.request.words)
        asked = np.zeros(count, np.bool_)
        asked[batch.words] = True
        scores = np.full(count, np.nan, np.float32)
        scores[batch.words] = presence
        row = int(batch.rows[0])
        chosen, outnumbered = self._choose(image, asked, batch.crops, row, scores)
        self._note(image, chosen if batch.crops.tiled[row] else asked, chosen, outnumbered, scores)
        kept = chosen[batch.words]
        if kept.any():
            own = PairBatch(batch.crops, batch.rows[kept], batch.words[kept], presence[kept])
            image.pairs.append((own, logits[kept], slice(0, len(own.words))))

    def _findings(self, image: _Progress, mask_logits: Doubles) -> Findings:
        """What was found in one image.

        ``mask_logits`` are what a pixel must exceed: of whole images and boxes without a class, of named boxes.
        """
        batches = [batch for batch, _, _ in image.pairs]
        mask = self._manifest.mask
        shape = (0, mask.height, mask.width)
        nothing = np.zeros(0, np.int64)
        words, classes = np.concatenate([nothing, *(one.words for one in batches)]), image.request.classes
        pairs = Pairs(
            classes=classes[words],
            prompts=words,
            windows=np.concatenate([np.zeros((0, 4), np.int64), *(one.crops.windows[one.rows] for one in batches)]),
            limits=np.concatenate([np.zeros((0, 4), np.int64), *(one.crops.limits[one.rows] for one in batches)]),
            boxes=np.concatenate([nothing, *(one.crops.boxes[one.rows] for one in batches)]),
            mask_logits=mask_logits[np.concatenate([nothing, *(one.crops.named[one.rows] for one in batches)])],
            presence=np.concatenate([np.zeros(0, np.float32), *(one.presence for one in batches)]),
            logits=_together([(logits, part) for _, logits, part in image.pairs], shape),
        )
        # A class is what any of its prompts is.
        firsts = np.flatnonzero(np.diff(classes, prepend=-1))
        segmented, outnumbered, in_regions, in_whole, in_tiles = (
            np.logical_or.reduceat(one, firsts)
            for one in (image.segmented, image.outnumbered, image.in_regions, image.in_whole, image.in_tiles)
        )
        return Findings(
            pairs=pairs,
            presence=np.fmax.reduceat(image.presence, firsts),
            segmented=segmented,
            outnumbered=outnumbered & ~segmented,
            in_regions=in_regions,
            in_whole=in_whole,
            in_tiles=in_tiles,
            far=image.far,
        )


def _together(parts: Sequence[tuple[Floats, slice]], empty: tuple[int, ...]) -> Floats:
    """The rows of all parts behind one another; without a copy where they lie so already."""
    if not parts:
        return np.zeros(empty, np.float32)
    first, last = parts[0], parts[-1]
    adjacent = all(one[0] is other[0] and one[1].stop == other[1].start for one, other in pairwise(parts))
    if adjacent:
        return first[0][first[1].start : last[1].stop]
    return np.concatenate([logits[part] for logits, part in parts])


@contextmanager
def timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Add the milliseconds that the block took."""
    start = time.perf_counter()
    yield
    timings[name] = timings.get(name, 0.0) + (time.perf_counter() - start) * 1000
