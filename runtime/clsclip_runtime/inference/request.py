"""What a call asks, and what was found: both never change."""

from __future__ import annotations

from dataclasses import dataclass, field

from clsclip_runtime._types import Bools, Floats, Integers
from clsclip_runtime.arrays import Arrays
from clsclip_runtime.bundle.specs import MASK_THRESHOLDS, TilesSpec
from clsclip_runtime.errors import OptionError
from clsclip_runtime.images import DecodedImage
from clsclip_runtime.inference.presence import PresenceFilter
from clsclip_runtime.masks.cleaning import Cleaning
from clsclip_runtime.options import number_in
from clsclip_runtime.regions import Proposals, ZoomIn
from clsclip_runtime.results.pairs import Pairs
from clsclip_runtime.text.matching import WordMatch


@dataclass(frozen=True)
class CallOptions:
    """What a caller asks of all images, as it was given; see ``Segmenter.predict``."""

    presence_filter: bool | None
    max_classes: int | None
    presence_threshold: float | None
    mask_threshold: float | None
    zoom_in: bool | ZoomIn
    regions: object
    refine: bool
    cleaning: Cleaning

    def check(self) -> None:
        """Raise OptionError where a value makes no sense by itself."""
        if not isinstance(self.zoom_in, (bool, ZoomIn)):
            raise OptionError(f"zoom_in must be True, False or a ZoomIn, and it is {self.zoom_in!r}")
        if not isinstance(self.refine, bool):
            raise OptionError(f"refine must be True or False, and it is {self.refine!r}")
        if self.mask_threshold is not None:
            number_in("mask_threshold", self.mask_threshold, *MASK_THRESHOLDS)


@dataclass(frozen=True)
class Request:
    """What a call asks of all its images.

    Attributes:
        presence_filter: None segments every word.
        zoom_in: how regions are segmented; None takes whole images.
        tiles: whole images are searched in overlapping tiles too; None does not.
        refine: give masks the edges of the image.
        notes: sentences for the user.
        mask_threshold: the probability that a pixel must exceed.
        cleaning: what is done to masks.
    """

    presence_filter: PresenceFilter | None
    zoom_in: ZoomIn | None
    notes: tuple[str, ...]
    mask_threshold: float
    tiles: TilesSpec | None = None
    refine: bool = False
    cleaning: Cleaning = field(default_factory=Cleaning)


@dataclass(frozen=True, eq=False)
class ImageRequest:
    """What a call asks of one image.

    Attributes:
        image: the image.
        words: (q,) int64, the words asked of it, positions in the words of the call: the prompts of its classes.
        classes: (q,) int64, ascending: which of the image's k classes each of them is a prompt of.
        features: the image encoder's outputs for the whole image, where they are there already.
        regions: boxes to look at; None takes the whole image.
        tiles: (T, 4) int64 xyxy, windows to search beside the whole image; None for no tiles.
        matches: for each of ``words``, the regions' classes that it or its class means; empty without regions.
    """

    image: DecodedImage
    words: Integers
    classes: Integers
    features: Arrays | None = None
    regions: Proposals | None = None
    tiles: Integers | None = None
    matches: tuple[WordMatch, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the image in pixels."""
        return self.image.size


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found in one image, for its k classes.

    Attributes:
        pairs: what was segmented.
        presence: (k,) float32, highest presence in any crop that was searched; NaN where it was not asked.
        segmented: (k,) bool, classes with at least one pair.
        outnumbered: (k,) bool, classes without a pair that only ``max_classes`` kept out.
        in_regions: (k,) bool, classes that were asked of a region.
        in_whole: (k,) bool, classes that were asked of the whole image.
        in_tiles: (k,) bool, classes that were asked of tiles.
        far: the whole image was encoded, and it is unlike what the model knows.
    """

    pairs: Pairs
    presence: Floats
    segmented: Bools
    outnumbered: Bools
    in_regions: Bools
    in_whole: Bools
    in_tiles: Bools
    far: bool = False

    @property
    def searched(self) -> tuple[tuple[str, ...], ...]:
        """For every class where it was searched: any of ``regions``, ``whole-image`` and ``tiles``."""
        places = (("regions", self.in_regions), ("whole-image", self.in_whole), ("tiles", self.in_tiles))
        return tuple(tuple(name for name, asked in places if asked[at]) for at in range(len(self.segmented)))
