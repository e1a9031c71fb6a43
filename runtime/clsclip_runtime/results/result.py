"""What a segmentation found: masks, presence scores, instances, and ways to save them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Bools, Floats
from clsclip_runtime.errors import OptionError, WordError
from clsclip_runtime.images import MAX_SIDE, DecodedImage
from clsclip_runtime.limits import Limits
from clsclip_runtime.masks.cleaning import Cleaning
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.masks.upsampling import logit, rle_in
from clsclip_runtime.regions.crops import scale_window
from clsclip_runtime.regions.proposals import Proposals
from clsclip_runtime.renamed import tells_new_names
from clsclip_runtime.results import maps, showing
from clsclip_runtime.results.class_result import ABSENT, EMPTY, FILTERED, FOUND, ClassResult, ClassSearch
from clsclip_runtime.results.instance import Instance
from clsclip_runtime.results.json_form import json_document
from clsclip_runtime.results.lazy import lazy
from clsclip_runtime.results.objects import all_instances, pairs_of_instances, parts_of
from clsclip_runtime.results.pairs import Pairs
from clsclip_runtime.text.words import clean_word


@tells_new_names
@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What was found of each class in one image; nothing in it changes later.

        result["boat"]              # ClassResult: status, reason, presence, area, box, searched; .mask, .rle()
        result.masks                # (K, H, W) bool
        result.instances            # boxes, classes, scores and masks

    Attributes:
        classes: the K classes asked, each once, in order.
        searches: how each class was searched.
        pairs: what was segmented, in windows of the image. Classes that were not segmented have none.
        mask_threshold: the probability that a pixel must exceed to belong to a class; boxes that their source names
            have their own: see ``pairs.mask_logits``.
        image: the upright RGB image and its source.
        model: name of the bundle.
        backend: name of the backend.
        backend_notes: why ``backend="auto"`` passed over others that it prefers, and engines inside the bundle.
        presence_threshold: of the presence filter; None without one.
        max_classes: the most classes of a crop that the filter lets through; None for any number.
        regions: the boxes that were searched; None for whole-image results.
        prompts: for each class the words that it was searched by; empty where each was searched by its own name.
        trust: how the model was trained and what validation found, in a line; empty where that is not known.
        notes: sentences for the user, such as words that were cut off.
        timings: milliseconds by step: read, detect, image, text, presence, masks, total. ``predict`` has no read, and
            image only for regions; results of ``batch`` share one account.
        limits: of what all masks together may take.
        cleaning: what is done to the masks: small parts, holes.
        tracked: of videos with ``--track``, the connected parts with ids that last; else None.
    """

    classes: tuple[str, ...]
    searches: tuple[ClassSearch, ...]
    pairs: Pairs
    mask_threshold: float
    image: DecodedImage
    model: str
    backend: str
    presence_threshold: float | None
    max_classes: int | None = None
    regions: Proposals | None = None
    prompts: tuple[tuple[str, ...], ...] = ()
    backend_notes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    cleaning: Cleaning = field(default_factory=Cleaning)
    tracked: tuple[Instance, ...] | None = None
    trust: str = ""

    @property
    def source(self) -> str:
        """Where the image came from: its path, or a name such as ``<array>``."""
        return self.image.source

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the image and of the masks, in pixels."""
        return self.image.size

    @property
    def mask_logit(self) -> float:
        """The logit of ``mask_threshold``."""
        return logit(self.mask_threshold)

    @property
    def logits(self) -> Floats:
        """(K, h, w) float32 at the model's resolution, never NaN; -inf throughout for classes that were not segmented.

        Of a class with several prompts each place has the strongest.

        Raises:
            OptionError: the result is of regions or tiles, which have logits each: see ``pairs``.
        """
        if not (self.pairs.windows == (0, 0, *self.size)).all():
            raise OptionError("a result of regions or tiles has no logits of the whole image. See result.pairs.logits")
        logits = np.full((len(self.classes), *self.pairs.logits.shape[1:]), -np.inf, dtype=np.float32)
        np.maximum.at(logits, self.pairs.classes, self.pairs.logits)
        return logits

    def index(self, name: str | int) -> int:
        """Return the position of a class in ``classes``; a position is checked. OptionError if there is none."""
        if isinstance(name, str):
            if name not in self.classes:
                with suppress(WordError):
                    name = clean_word(name)  # as it was typed
            if name not in self.classes:
                raise OptionError(f"'{name}' was not asked. The classes are: {', '.join(self.classes)}")
            return self.classes.index(name)
        if not isinstance(name, (int, np.integer)) or not -len(self.classes) <= name < len(self.classes):
            raise OptionError(f"there is no class number {name!r}: {len(self.classes)} were asked, counted from 0")
        return int(name) % len(self.classes)

    def __getitem__(self, name: str | int) -> ClassResult:
        """What was found of one class, by name or position. OptionError if it was not asked."""
        return self._all[self.index(name)]

    def __iter__(self) -> Iterator[ClassResult]:
        """What was found of each class, in the order of ``classes``."""
        return iter(self._all)

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @lazy
    def _all(self) -> tuple[ClassResult, ...]:
        return tuple(self._class_result(at) for at in range(len(self.classes)))

    def _class_result(self, at: int) -> ClassResult:
        search, (width, height) = self.searches[at], self.size
        area, box = 0, None
        if search.segmented:
            mask = self.rle(at)
            area = mask.area
            if area:
                x, y, wide, high = mask.box
                box = (x, y, x + wide, y + high)
        status = (FOUND if area else EMPTY) if search.segmented else FILTERED if search.outnumbered else ABSENT
        return ClassResult(
            name=self.classes[at],
            index=at,
            status=status,
            reason=self._cleaned_away(at) if search.segmented and not area else self._reason(search),
            presence=search.presence,
            area=area,
            area_percent=area * (100.0 / (width * height)),
            box=box,
            searched=search.searched,
            match=search.match,
            prompts=self.prompts[at] if self.prompts else (self.classes[at],),
            _rle=partial(self.rle, at),
        )

    def _reason(self, search: ClassSearch) -> str | None:
        if search.segmented:
            return None
        if not search.searched or self.presence_threshold is None:
            return "no region"
        return f"outside the top {self.max_classes}" if search.outnumbered else self._below

    def _cleaned_away(self, at: int) -> str | None:
        """Why nothing is left of a mask that had pixels."""
        if not self.cleaning:
            return None
        before = self._joined_rle(np.flatnonzero(self.pairs.classes == at).tolist(), self.size).area
        return f"no part of {self.cleaning.min_area} pixels, {before} in all" if before else None

    @property
    def _below(self) -> str:
        return f"presence below {self.presence_threshold:.2f}"

    def mask(self, name: str | int) -> Bools:
        """Return the mask (H, W) bool of one class, by name or position: its regions' masks joined (paper, eq. 9)."""
        return self.rle(name).mask()

    def probabilities(self, name: str | int, size: tuple[int, int] | None = None) -> Floats:
        """Return how likely each pixel belongs to one class: (H, W) float32 in 0..1, before masks are cleaned.

        The mask is where they exceed ``mask_threshold``. In regions that name the class, which have a threshold of
        their own, probabilities are moved so that this is true there too. They are 0 where it was not segmented.

        Args:
            name: its name or position.
            size: (width, height) in pixels; None is the image's.

        Raises:
            OptionError: it was not asked, or the array would not fit into the limit ``result_mb``.
        """
        return maps.probabilities(self, self.index(name), self._sized(size))

    def mask_at_size(self, name: str | int, size: tuple[int, int]) -> Bools:
        """Return the mask (height, width) bool of one class at another ``size`` = (width, height)."""
        return self.rle(name, size).mask()

    def rle(self, name: str | int, size: tuple[int, int] | None = None) -> RleMask:
        """Return the mask of one class as runs of pixels: its area, its box and files of it are made from them.

        Args:
            name: its name or position.
            size: (width, height) in pixels; None is the image's.
        """
        size, index = self._sized(size), self.index(name)
        if self.cleaning:
            own = self._cleaned[index]
            return own if size == self.size else own.resized(size)
        return self._joined_rle(np.flatnonzero(self.pairs.classes == index).tolist(), size)

    @lazy
    def _cleaned(self) -> tuple[RleMask, ...]:
        """The cleaned mask of every class: its instances' cleaned masks joined."""
        masks: list[list[RleMask]] = [[] for _ in self.classes]
        for pairs in pairs_of_instances(self.pairs):
            masks[int(self.pairs.classes[pairs[0]])].append(self.rle_of(pairs))
        return tuple(RleMask.joined(self.size, own) for own in masks)

    def rle_of(self, pairs: Sequence[int]) -> RleMask:
        """Return the mask of an instance, which some of the ``pairs`` make, cleaned."""
        return self.cleaning(self._joined_rle(pairs, self.size))

    def _pair_rle(self, at: int, size: tuple[int, int]) -> RleMask:
        pairs = self.pairs
        window, limit = (scale_window(one[at], self.size, size) for one in (pairs.windows, pairs.limits))
        return rle_in(pairs.logits[at], window, limit, float(pairs.mask_logits[at]), size)

    @lazy
    def masks(self) -> Bools:
        """(K, H, W) bool, made when first asked for; with many classes or pixels prefer ``mask``, one at a time.

        Raises:
            OptionError: they would not fit into the limit ``result_mb``.
        """
        width, height = self.size
        self.check_masks(len(self.classes))
        masks = np.zeros((len(self.classes), height, width), dtype=np.bool_)
        for at, search in enumerate(self.searches):
            if search.segmented:
                masks[at] = self.mask(at)
        return masks

    def check_masks(self, count: int) -> None:
        """Raise OptionError if ``count`` masks at the image's size are more than the limit ``result_mb``."""
        width, height = self.size
        what, instead = f"{count:,} masks of {width}x{height} pixels", "Take one at a time: result.mask(name)"
        self.limits.check_result(what, count * width * height, instead)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Every mask with pixels by itself: of regions, and of the whole image for classes without one."""
        return tuple(one for one in self.all_instances() if one.rle().area)

    def all_instances(self) -> Iterator[Instance]:
        """Return every region and whole image that was segmented, in the order of the classes, also empty ones."""
        return all_instances(self)

    @lazy
    def parts(self) -> tuple[Instance, ...]:
        """The connected parts of all instances as objects of their own, each with the box of its own pixels.

        Two dogs that one mask covers are two of them, where they do not touch.
        """
        return parts_of(self.instances) if self.tracked is None else self.tracked

    def objects(self, *, parts: bool = False) -> tuple[Instance, ...]:
        """List what outputs take for one object: every instance, or every connected part."""
        return self.parts if parts or self.tracked is not None else self.instances

    def _sized(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """A size that was asked; None is the image's. OptionError if it is none."""
        sides = self.size if size is None else tuple(size) if isinstance(size, (Sequence, np.ndarray)) else ()
        if len(sides) != 2 or not all(isinstance(one, (int, np.integer)) and 0 < one <= MAX_SIDE for one in sides):
            raise OptionError(f"size must be a width and a height of 1 to {MAX_SIDE} pixels, and it is {size!r}")
        return int(sides[0]), int(sides[1])

    def _joined_rle(self, pairs: Sequence[int], size: tuple[int, int]) -> RleMask:
        return RleMask.joined(size, [self._pair_rle(at, size) for at in pairs])

    def labels(self, size: tuple[int, int] | None = None, *, background: bool = True) -> npt.NDArray[np.int32]:
        """Return the label map (H, W) int32: 0 for none, else 1 + the position of the strongest class at that pixel.

        Args:
            size: (width, height) in pixels; None is the image's.
            background: leave pixels at 0 where no class exceeds its threshold. False gives every pixel its strongest
                class; 0 is then only where no class was segmented.
        """
        return maps.labels(self, self._sized(size), background)

    def to_json(self, *, parts: bool = False) -> dict[str, Any]:
        """Return all but the masks, as plain JSON types: areas in pixels and percent, boxes xywh in pixels or null.

        Args:
            parts: ``instances`` are the connected ``parts``.
        """
        return json_document(self, parts)

    def to_coco(self, image_id: int = 1, *, parts: bool = False, polygons: bool = False) -> dict[str, Any]:
        """Return a COCO document of this image; masks as compressed RLE, one annotation for each mask with pixels.

        Args:
            image_id: number of the image.
            parts: an annotation for each connected part, with its own box.
            polygons: polygons in place of RLE, which pycocotools draws to the same pixels.

        ``category_id`` is 1 + the class's position. Results of regions have one annotation for each region, with its
        score; whole-image ones one for each class, with its presence where it was asked.

        Raises:
            OutputError: pycocotools is not installed.
        """
        from clsclip_runtime.results.coco import coco_document

        return coco_document(self, image_id, parts=parts, polygons=polygons)

    def to_supervision(self, *, parts: bool = False) -> Any:
        """Return the instances as ``supervision.Detections``: boxes of the masks, masks, scores, class ids and names.

        Args:
            parts: the connected ``parts`` in place of the instances.

        Raises:
            OutputError: supervision is not installed.
            OptionError: the masks would not fit into the limit ``result_mb``.
        """
        from clsclip_runtime.results.supervision import to_supervision

        return to_supervision(self, parts)

    def overlay(self, **options: Any) -> Any:
        """Return the image with its masks, names and a legend, as an RGB ``PIL.Image.Image``.

        Args:
            options: ``alpha=0.5`` of the masks; ``palette``, (red, green, blue) of each class; ``labels=True``, names
                on the things; ``legend=True``. OptionError if one cannot be used.
        """
        from clsclip_runtime.results.overlay import overlay as draw

        return draw(self, **options)

    def show(self, **options: Any) -> None:
        """Show the overlay, which takes the ``options``, below a notebook's cell or in the system's viewer."""
        showing.show(self.overlay(**options))

    def _repr_png_(self) -> bytes:
        """The overlay, for notebooks."""
        return showing.png(self.overlay())

    def save(
        self,
        folder: str | os.PathLike[str],
        formats: str | Sequence[str] = ("png", "overlay"),
        stem: str | None = None,
        *,
        parts: bool = False,
        polygons: bool = False,
    ) -> list[Path]:
        """Write files into ``folder``, which is made if need be; existing ones are replaced.

        Args:
            folder: where to.
            formats: any of ``png`` (a black and white mask per class), ``overlay`` (image, masks and legend),
                ``labels`` (label map), ``coco`` (JSON with RLE), ``npz`` (arrays), ``labelstudio`` (a task),
                ``yolo`` (lines of polygons), ``labelme`` (JSON).
            stem: how the names begin; None takes the source's name.
            parts: in COCO, Label Studio and labelme each connected part is an object of its own.
            polygons: in COCO and Label Studio polygons in place of run-length codes.

        Returns:
            The files' paths. Each appears complete or not at all.

        Raises:
            OptionError: a format is unknown, or ``stem`` is not a plain file name.
            OutputError: the folder cannot be made or written.
        """
        from clsclip_runtime.results.files import save

        return save(self, folder, formats, stem, parts=parts, polygons=polygons)

    def __repr__(self) -> str:
        """Short, whatever the number of classes."""
        width, height = self.size
        segmented = sum(search.segmented for search in self.searches)
        return f"Result({self.source!r}, {width}x{height}, {segmented} of {len(self.classes)} classes segmented)"
