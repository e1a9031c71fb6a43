"""What a segmentation found: masks, presence scores, regions, and ways to save them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Bools, Floats
from clsclip_runtime.errors import OptionError
from clsclip_runtime.images import Picture
from clsclip_runtime.limits import RESULT_MB, check_result
from clsclip_runtime.masks.rle import Runs
from clsclip_runtime.masks.upsampling import label_pixels, runs_in
from clsclip_runtime.paths import readable
from clsclip_runtime.regions.crops import scale_window
from clsclip_runtime.regions.proposals import ANY, Proposals
from clsclip_runtime.results.instance import Region
from clsclip_runtime.results.pairs import WHOLE, Pairs
from clsclip_runtime.text.matching import WordMatch


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Masks of K words in one picture of H x W pixels.

    Attributes:
        classes: the K words as cleaned, in the order asked.
        presence: (K,) float32 in 0..1, how likely each word is in the picture, or in the likeliest of its regions; NaN
            for words that were not looked for (no region, and ``on_missing="empty"``); None without a gate.
        present: (K,) bool, words that were segmented: those that the gate let through, or with a region that its
            source calls so. The others have an empty mask.
        outranked: (K,) bool, words that are not present only because others of their crops are likelier: see ``top_k``.
        pairs: what was segmented, in windows of the picture. Words that are not present were never run through the
            trunk, so they have none.
        cut: the logit that a pixel must exceed to belong to a word; in regions that their source names, less: see
            ``pairs.cuts``.
        picture: the upright RGB picture and its source.
        model: name of the bundle.
        backend: name of the engine.
        backend_notes: why ``backend="auto"`` passed over others that it prefers; empty where it was asked by name.
        presence_threshold: the gate's threshold; None without a gate.
        top_k: the most words of a crop that the gate let through; None for any number.
        proposals: the boxes that were looked at; None for whole-image results.
        matches: for every word, which of the boxes' classes it means and why; empty for whole-image results.
        places: for every word, where it was looked for; see ``looked_at``.
        notes: sentences for the user, such as words that were cut off.
        timings: milliseconds by step: read, detect, image, text, presence, masks, total. ``predict`` has no read, and
            image only for regions; results of ``batch`` share one account.
        result_mb: the most that all masks together may take, MiB.
    """

    classes: tuple[str, ...]
    presence: Floats | None
    present: Bools
    outranked: Bools
    pairs: Pairs
    cut: float
    picture: Picture
    model: str
    backend: str
    presence_threshold: float | None
    top_k: int | None = None
    proposals: Proposals | None = None
    matches: tuple[WordMatch, ...] = ()
    places: tuple[str, ...] = ()
    backend_notes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    result_mb: int = RESULT_MB

    @property
    def source(self) -> str:
        """Where the picture came from: its path, or a name such as ``<array>``."""
        return self.picture.source

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture and of the masks, in pixels."""
        width, height = self.picture.image.size
        return width, height

    @property
    def zoomed(self) -> bool:
        """Whether regions were looked at (ClsCLIP+)."""
        return self.proposals is not None

    @property
    def logits(self) -> Floats:
        """(K, h, w) float32 at the model's resolution, never NaN; -inf throughout for words that are not present.

        Raises:
            OptionError: the result is of regions, which have logits each: see ``pairs``.
        """
        if self.zoomed:
            raise OptionError("a result of regions has no logits of the whole picture. See result.pairs.logits")
        logits = np.full((len(self.classes), *self.pairs.logits.shape[1:]), -np.inf, dtype=np.float32)
        logits[self.pairs.words] = self.pairs.logits
        return logits

    def index(self, word: str | int) -> int:
        """Position of a word in ``classes``; a position is checked. OptionError if there is none."""
        if isinstance(word, str):
            if word not in self.classes:
                raise OptionError(f"'{word}' was not asked. The words are: {', '.join(self.classes)}")
            return self.classes.index(word)
        at = int(word)
        if not -len(self.classes) <= at < len(self.classes):
            raise OptionError(f"there is no word number {at}: {len(self.classes)} were asked, counted from 0")
        return at % len(self.classes)

    def mask(self, word: str | int) -> Bools:
        """Mask (H, W) bool of one word, by name or position: its regions' masks joined (eq. 9 of the paper)."""
        return self.mask_at_size(word, self.size)

    def mask_at_size(self, word: str | int, size: tuple[int, int]) -> Bools:
        """Mask (height, width) bool of one word at another ``size`` = (width, height)."""
        return self.runs(word, size).mask()

    def runs(self, word: str | int, size: tuple[int, int] | None = None) -> Runs:
        """The mask of one word as runs of pixels: its area, its box and files of it are made from them.

        Args:
            word: its name or position.
            size: (width, height) in pixels; None is the picture's.
        """
        size = size or self.size
        own = np.flatnonzero(self.pairs.words == self.index(word))
        return Runs.joined(size, [self._pair_runs(int(at), size) for at in own])

    def _pair_runs(self, at: int, size: tuple[int, int]) -> Runs:
        pairs = self.pairs
        window, limit = (scale_window(one[at], self.size, size) for one in (pairs.windows, pairs.limits))
        return runs_in(pairs.logits[at], window, limit, float(pairs.cuts[at]), size)

    @cached_property
    def masks(self) -> Bools:
        """(K, H, W) bool, made when first asked for; with many words or pixels prefer ``mask``, one at a time.

        Raises:
            OptionError: they would not fit into ``result_mb``.
        """
        width, height = self.size
        self.check_masks(len(self.classes))
        masks = np.zeros((len(self.classes), height, width), dtype=np.bool_)
        for at in np.flatnonzero(self.present):
            masks[at] = self.mask(int(at))
        return masks

    def check_masks(self, count: int) -> None:
        """Raise OptionError if ``count`` masks at the picture's size are more than ``result_mb``."""
        width, height = self.size
        what, instead = f"{count:,} masks of {width}x{height} pixels", "Take one at a time: result.mask(word)"
        check_result(what, count * width * height, self.result_mb, instead)

    @cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """(K,) int64, pixels of each word's mask."""
        areas = np.zeros(len(self.classes), dtype=np.int64)
        for at in np.flatnonzero(self.present):
            areas[at] = self.runs(int(at)).area
        return areas

    @cached_property
    def percents(self) -> npt.NDArray[np.float64]:
        """(K,) float64, share of the picture that each word's mask covers, in percent."""
        width, height = self.size
        return self.areas.astype(np.float64) * (100.0 / (width * height))

    @cached_property
    def verdicts(self) -> tuple[str, ...]:
        """``found``; ``no pixels`` (an empty mask); or not segmented: ``outranked`` or ``absent``, see ``reasons``."""
        return tuple(
            ("found" if area else "no pixels") if present else "outranked" if outranked else "absent"
            for present, outranked, area in zip(self.present, self.outranked, self.areas, strict=True)
        )

    @cached_property
    def reasons(self) -> tuple[str, ...]:
        """Why a word was not segmented: ``presence below 0.55``, ``outside the top 5`` or ``no region``; else empty."""
        below = "" if self.presence_threshold is None else f"presence below {self.presence_threshold:.2f}"
        return tuple(
            ""
            if self.present[at]
            else "no region"
            if self.places[at] == "nowhere"
            else f"outside the top {self.top_k}"
            if self.outranked[at]
            else below or "no region"
            for at in range(len(self.classes))
        )

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The regions that were segmented, in the order of the words; one for each box and word, none of the whole."""
        return tuple(one for one in self._all_pairs() if not one.whole_image)

    @property
    def instances(self) -> tuple[Region, ...]:
        """Every mask with pixels by itself: of regions, and of the whole picture for words without one."""
        return tuple(one for one in self._all_pairs() if one.runs().area)

    def looked_at(self, word: str | int) -> str:
        """Where a word was looked for: ``regions``, ``whole image``, ``regions, whole image`` or ``nowhere``."""
        return self.places[self.index(word)]

    def _all_pairs(self) -> Iterator[Region]:
        width, height = self.size
        for at in np.argsort(self.pairs.words, kind="stable"):
            word, box = int(self.pairs.words[at]), int(self.pairs.boxes[at])
            left, top, right, bottom = (int(value) for value in self.pairs.windows[at])
            presence = float(self.pairs.presence[at])
            known = None if np.isnan(presence) else presence
            corners = np.array([0, 0, width, height], np.float32)
            name, score = None, 1.0 if known is None else known
            if box != WHOLE and self.proposals is not None:
                corners = np.clip(self.proposals.boxes[box], 0, corners[[2, 3, 2, 3]])
                of_class = int(self.proposals.classes[box])
                name = None if of_class == ANY else self.proposals.names[of_class]
                score = float(self.proposals.scores[box]) * (1.0 if name is not None or known is None else known)
            yield Region(
                word=self.classes[word],
                index=word,
                box=(float(corners[0]), float(corners[1]), float(corners[2]), float(corners[3])),
                window=(left, top, right, bottom),
                name=name,
                score=score,
                presence=known,
                whole_image=box == WHOLE,
                _runs=partial(self._pair_runs, int(at), self.size),
            )

    def labels(self, size: tuple[int, int] | None = None) -> npt.NDArray[np.int32]:
        """Label map (H, W) int32: 0 for none, else 1 + the position of the strongest word at that pixel.

        Args:
            size: (width, height) in pixels; None is the picture's.
        """
        width, height = size or self.size
        labels = np.zeros((height, width), dtype=np.int32)
        best = np.full((height, width), self.cut, dtype=np.float32)
        for at in np.argsort(self.pairs.words, kind="stable"):
            box, limit = (
                scale_window(one[at], self.size, (width, height)) for one in (self.pairs.windows, self.pairs.limits)
            )
            # Pixels belong to the word that exceeds its own cut by most.
            logits = self.pairs.logits[at] + np.float32(self.cut - self.pairs.cuts[at])
            label_pixels(labels, best, logits, int(self.pairs.words[at]) + 1, box, limit)
        return labels

    def to_json(self) -> dict[str, Any]:
        """All but the masks, as plain JSON types: areas in pixels and percent, boxes xywh in pixels or null."""
        width, height = self.size
        words = []
        for at, (word, verdict) in enumerate(zip(self.classes, self.verdicts, strict=True)):
            score = None if self.presence is None or np.isnan(self.presence[at]) else round(float(self.presence[at]), 6)
            entry: dict[str, Any] = {
                "word": word,
                "presence": score,
                "present": bool(self.present[at]),
                "verdict": verdict,
                "reason": self.reasons[at] or None,
                "area": int(self.areas[at]),
                "area_percent": round(float(self.percents[at]), 4),
                "box": self.runs(at).box if self.areas[at] else None,
            }
            if self.zoomed:
                match = self.matches[at]
                entry["looked_at"] = self.looked_at(at)
                entry["match"] = {"how": match.how, "names": list(match.names), "similarity": match.similarity}
            words.append(entry)
        document = {
            "source": readable(self.source),
            "width": width,
            "height": height,
            "model": self.model,
            "backend": self.backend,
            "backend_notes": list(self.backend_notes),
            "presence_threshold": self.presence_threshold,
            "classes": words,
            "notes": list(self.notes),
            "timings_ms": {name: round(value, 3) for name, value in self.timings.items()},
        }
        if self.proposals is not None:
            document["proposals"] = {"source": self.proposals.source, "count": len(self.proposals)}
            document["regions"] = [one.to_json() for one in self.regions]
        return document

    def to_coco(self, image_id: int = 1) -> dict[str, Any]:
        """A COCO document of this picture; masks as compressed RLE, one annotation for each mask with pixels.

        ``category_id`` is 1 + the word's position. Results of regions have one annotation for each region, with its
        score; whole-image ones one for each word, with its presence where there is a gate.

        Raises:
            OutputError: pycocotools is not installed.
        """
        from clsclip_runtime.results.coco import coco_document

        return coco_document(self, image_id)

    def to_supervision(self) -> Any:
        """The instances as ``supervision.Detections``: boxes of the masks, masks, scores, class ids and names.

        Raises:
            OutputError: supervision is not installed.
            OptionError: the masks would not fit into ``result_mb``.
        """
        from clsclip_runtime.results.supervision import to_supervision

        return to_supervision(self)

    def overlay(self) -> Any:
        """The picture with its masks and a legend, as an RGB ``PIL.Image.Image``."""
        from clsclip_runtime.results.overlay import overlay

        return overlay(self)

    def save(
        self,
        folder: str | os.PathLike[str],
        formats: str | Sequence[str] = ("png", "overlay"),
        stem: str | None = None,
    ) -> list[Path]:
        """Write files into ``folder``, which is made if need be; existing ones are replaced.

        Args:
            folder: where to.
            formats: any of ``png`` (a black and white mask per word), ``overlay`` (picture, masks and legend),
                ``labels`` (label map), ``coco`` (JSON with RLE), ``npz`` (arrays).
            stem: how the names begin; None takes the source's name.

        Returns:
            The files' paths. Each appears complete or not at all.

        Raises:
            OptionError: a format is unknown, or ``stem`` is not a plain file name.
            OutputError: the folder cannot be made or written.
        """
        from clsclip_runtime.results.files import save

        return save(self, Path(folder), formats, stem)

    def __repr__(self) -> str:
        """Short, whatever the number of words."""
        width, height = self.size
        present = np.count_nonzero(self.present)
        return f"Result({self.source!r}, {width}x{height}, {present} of {len(self.classes)} words present)"
