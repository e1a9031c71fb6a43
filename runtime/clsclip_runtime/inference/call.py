"""One call of a segmenter: from images and words to results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clsclip_runtime.bundle import Bundle
from clsclip_runtime.detectors import Detector
from clsclip_runtime.errors import ClsclipRuntimeError, ImageError
from clsclip_runtime.images import DecodedImage, Source, open_image
from clsclip_runtime.inference.crops import boxes_as_masks
from clsclip_runtime.inference.domain import sentence
from clsclip_runtime.inference.features import ImageFeatures
from clsclip_runtime.inference.model import LoadedModel
from clsclip_runtime.inference.refinement import refine
from clsclip_runtime.inference.request import Findings, ImageRequest, Request
from clsclip_runtime.inference.scheduler import Scheduler, timed
from clsclip_runtime.limits import Limits
from clsclip_runtime.masks.upsampling import logit
from clsclip_runtime.regions import TILES, Proposals, ZoomIn, box_windows, crop_windows, tile_windows
from clsclip_runtime.regions.matching import Matcher, joined_matches
from clsclip_runtime.results.class_result import ClassSearch
from clsclip_runtime.results.result import Result
from clsclip_runtime.text.encoded import EncodedWords
from clsclip_runtime.text.words import Asked

_SHOWN_NAMES = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImageInput:
    """What a caller gives for one image.

    Attributes:
        image: decoded.
        asked: its classes, clean.
        regions: boxes; None asks the call's detector, if it has one.
        features: of ``set_image``.
    """

    image: DecodedImage
    asked: Asked
    regions: Proposals | None = None
    features: ImageFeatures | None = None


class Call:
    """Segments images by one request. Used by one thread."""

    def __init__(
        self,
        model: LoadedModel,
        bundle: Bundle,
        matcher: Matcher,
        limits: Limits,
        request: Request,
        detector: Detector | None,
        backend: tuple[str, tuple[str, ...]],
        channels: str = "rgb",
    ) -> None:
        """Prepare a call; ``backend`` is its name and its notes, for results, ``channels`` the order of arrays."""
        self._model, self._bundle, self._matcher, self._limits = model, bundle, matcher, limits
        self._request, self._detector, self._backend = request, detector, backend
        self._channels = channels
        self._timings: dict[str, float] = {}

    def read(self, source: Source) -> DecodedImage:
        """Decode an image.

        Raises:
            ImageError: it cannot be read.
            OptionError: an order of channels was given for what is no array.
        """
        with timed(self._timings, "read"):
            return open_image(source, max_pixels=self._limits.max_pixels, channels=self._channels)

    def run_each(
        self, inputs: Sequence[ImageInput], *, return_errors: bool
    ) -> Sequence[Result] | Sequence[Result | ClsclipRuntimeError]:
        """Segment images together; with ``return_errors`` an image that fails has its error in its place."""
        if not return_errors:
            return self.run(inputs)
        try:
            return self.run(inputs)
        except ClsclipRuntimeError as error:
            if len(inputs) == 1:
                return [error]
        # One of them fails: which, only each alone can tell.
        return [one for single in inputs for one in self.run_each([single], return_errors=True)]

    def run(self, inputs: Sequence[ImageInput]) -> list[Result]:
        """Segment images together.

        Raises:
            BackendError, BundleError, DetectorError, OptionError: see ``Segmenter.predict``.
            ImageError: there is not enough memory for them.
        """
        try:
            return self._run(inputs)
        except MemoryError as error:
            names = ", ".join(one.image.source for one in inputs[:_SHOWN_NAMES])
            more = f" and {len(inputs) - _SHOWN_NAMES} more" if len(inputs) > _SHOWN_NAMES else ""
            raise ImageError(
                f"there is not enough memory to segment {names}{more}. Give fewer or smaller pictures, fewer words, or "
                "a lower memory_mb"
            ) from error

    def _run(self, inputs: Sequence[ImageInput]) -> list[Result]:
        request, model, manifest = self._request, self._model, self._bundle.manifest
        zoom = request.zoom_in
        inputs = self._with_regions(inputs)
        vocabulary = tuple(dict.fromkeys(word for one in inputs for word in one.asked.words))
        with timed(self._timings, "text"):
            encoded = model.text.encode(vocabulary)
            asked = [self._image_request(one, vocabulary) for one in inputs]
        if zoom is not None and zoom.boxes_as_masks:
            found = [boxes_as_masks(one, logit(request.mask_threshold)) for one in asked]
            request = replace(request, presence_filter=None)
        else:
            scheduler = Scheduler(model, manifest, encoded, request.presence_filter, self._limits)
            found = scheduler.run(asked, zoom or ZoomIn(), request.mask_threshold)
            for name, milliseconds in scheduler.timings.items():
                self._timings[name] = self._timings.get(name, 0.0) + milliseconds
        if request.refine:
            with timed(self._timings, "refine"):
                own = logit(request.mask_threshold)
                found = [refine(one, image, own, self._limits) for one, image in zip(found, asked, strict=True)]
        self._timings.pop("total", None)
        self._timings["total"] = sum(self._timings.values())
        return [
            self._result(request, one, image, findings, encoded)
            for one, image, findings in zip(inputs, asked, found, strict=True)
        ]

    def _with_regions(self, inputs: Sequence[ImageInput]) -> list[ImageInput]:
        """The same, with the boxes that the call's detector finds where none are given."""
        zoom = self._request.zoom_in
        if zoom is None:
            return list(inputs)
        detector, found = self._detector, [one.regions for one in inputs]
        if detector is not None:
            with timed(self._timings, "detect"):
                fresh = [at for at, one in enumerate(inputs) if one.features is None]
                pixels = [np.asarray(inputs[at].image.image) for at in fresh]
                for at, boxes in zip(fresh, detector.batch(pixels, zoom.confidence), strict=True):
                    found[at] = boxes
                for at, one in enumerate(inputs):
                    if one.features is not None:
                        found[at] = one.features.detected_by(detector, zoom.confidence)
        if zoom.class_agnostic:
            found = [None if boxes is None else boxes.anonymous() for boxes in found]
        return [replace(one, regions=boxes) for one, boxes in zip(inputs, found, strict=True)]

    def _image_request(self, given: ImageInput, vocabulary: tuple[str, ...]) -> ImageRequest:
        features = None
        if given.features is not None:
            arrays = given.features.arrays
            # An image that was encoded without presence is encoded again for a call that filters by it.
            if self._request.presence_filter is None or self._model.serves_presence(arrays):
                features = arrays
        position = {word: at for at, word in enumerate(vocabulary)}
        asked, regions, tiles = given.asked, given.regions, self._request.tiles
        return ImageRequest(
            image=given.image,
            words=np.array([position[word] for words in asked.prompts for word in words], np.int64),
            classes=np.repeat(np.arange(len(asked.classes)), [len(words) for words in asked.prompts]),
            features=features,
            regions=regions,
            tiles=None if tiles is None else tile_windows(given.image.size, tiles.scales, tiles.overlap),
            matches=() if regions is None else self._matcher(asked, regions, self._model.text),
        )

    def _result(
        self, request: Request, given: ImageInput, image: ImageRequest, found: Findings, encoded: EncodedWords
    ) -> Result:
        manifest, chosen, regions = self._bundle.manifest, request.presence_filter, image.regions
        if image.tiles is not None:
            regions = Proposals.from_boxes(image.tiles, source=TILES)
        cut_off = [
            f"'{word}' is longer than the model's {manifest.text.context_length} tokens: its end was cut off"
            for word in given.asked.words
            if word in encoded.truncated
        ]
        left_out = _left_out(regions, request, given)
        notes = [*given.asked.notes, *request.notes, *encoded.notes, *cut_off, *left_out]
        if found.far and manifest.domain is not None:
            notes.append(sentence(manifest.domain))
        notes += [] if manifest.doubt is None else [manifest.doubt]
        for note in notes:
            _log.info("%s", note)
        name, backend_notes = self._backend
        searched = found.searched  # once for all classes: it looks at every one
        matches = joined_matches(given.asked, image.matches)
        return Result(
            classes=given.asked.classes,
            prompts=given.asked.prompts,
            searches=tuple(
                ClassSearch(
                    presence=None if np.isnan(found.presence[at]) else float(found.presence[at]),
                    segmented=bool(found.segmented[at]),
                    outnumbered=bool(found.outnumbered[at]),
                    searched=searched[at],
                    match=matches[at] if matches else None,
                )
                for at in range(len(given.asked.classes))
            ),
            pairs=found.pairs,
            mask_threshold=request.mask_threshold,
            cleaning=request.cleaning,
            image=given.image,
            model=manifest.name,
            trust=manifest.trust,
            backend=name,
            backend_notes=backend_notes,
            presence_threshold=None if chosen is None else chosen.threshold,
            max_classes=None if chosen is None else chosen.max_classes,
            regions=regions,
            notes=[*notes, *given.image.notes, *(regions.notes if regions is not None else ())],
            timings=dict(self._timings),
            limits=self._limits,
        )


def _left_out(regions: Proposals | None, request: Request, given: ImageInput) -> tuple[str, ...]:
    """A note about boxes of which the image shows nothing."""
    if regions is None or request.zoom_in is None:
        return ()
    zoom, size = request.zoom_in, given.image.size
    _, shown = box_windows(regions.boxes, size) if zoom.boxes_as_masks else crop_windows(regions.boxes, size, zoom)
    count = len(regions) - len(shown)
    return (f"left out {count} of {len(regions)} boxes, of which the image shows nothing",) if count else ()
