"""The model of a bundle, ready to segment any class that can be named.

Longer than other files: more than half are the docstrings of the public calls.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from clsclip_runtime.backends.select import TENSORRT, Make, choose_backend, make_backend
from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace, passed_over
from clsclip_runtime.bundle import Bundle
from clsclip_runtime.detectors import Detector
from clsclip_runtime.errors import BundleError, ClsclipRuntimeError, OptionError
from clsclip_runtime.forks import tell_after_fork
from clsclip_runtime.images import Source, check_channels, open_image, preprocess
from clsclip_runtime.inference.call import Call, ImageInput
from clsclip_runtime.inference.features import ImageFeatures
from clsclip_runtime.inference.model import LoadedModel
from clsclip_runtime.inference.presence import check_filter, choose_filter
from clsclip_runtime.inference.request import CallOptions, Request
from clsclip_runtime.inference.scheduler import timed
from clsclip_runtime.inference.tiles import asks_for_tiles, choose_tiles
from clsclip_runtime.isolated.backend import IsolatedBackend, Isolation
from clsclip_runtime.limits import Limits
from clsclip_runtime.masks.cleaning import Cleaning
from clsclip_runtime.options import instance_of
from clsclip_runtime.paths import expanded
from clsclip_runtime.protocols import Backend, notes_of
from clsclip_runtime.regions import Proposals, ZoomIn
from clsclip_runtime.regions.matching import Matcher
from clsclip_runtime.regions.proposals import as_proposals
from clsclip_runtime.renamed import refuses_old_names
from clsclip_runtime.results.result import Result
from clsclip_runtime.system import give_back_memory
from clsclip_runtime.text.cache import Place
from clsclip_runtime.text.words import Asked, Classes, clean_classes

Regions: TypeAlias = Proposals | npt.ArrayLike
"""Boxes of one image: ``Proposals``, or xyxy (N, 4) in pixels, each of which is searched for every class; or
``tiles``."""


class Segmenter:
    """Segments images by words. Safe to share between threads; a context manager.

        with Segmenter.load("model.clsclip") as segmenter:
            result = segmenter("photo.jpg", classes=["bottle", "boat"])

            segmenter.set_image("photo.jpg")            # the encoder runs once
            first = segmenter.predict(["dog"])          # and each predict() only adds its words
            second = segmenter.predict(["cat", "tree"])

            closer = segmenter("photo.jpg", ["dog"], zoom_in=True)          # ClsCLIP+: regions of a detector
            drawn = segmenter("photo.jpg", ["dog"], regions=[[10, 20, 60, 80]])     # or a person's

    Each thread has a current image of its own: the one that it gave to ``set_image`` last.
    """

    @refuses_old_names
    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        detector: Detector | None = None,
        presence_filter: bool | None = None,
        max_classes: int | None = None,
        limits: Limits | None = None,
        word_cache: Place = None,
    ) -> None:
        """Load the graphs of ``bundle`` into ``backend``; see ``load`` for the rest."""
        usual, _ = choose_filter(presence_filter, None, max_classes, spec=bundle.manifest.presence)
        self._presence_filter, self._max_classes = presence_filter, max_classes
        self._limits = instance_of("limits", limits or Limits(), Limits, "See clsclip_runtime.Limits")
        self._bundle = bundle
        self._backend = backend
        self._backend_notes = notes_of(backend)
        self._detector = detector
        self._load_lock = threading.Lock()
        self._matcher = Matcher()
        self._usually_filtered = usual is not None
        self._word_cache = word_cache
        self._recipe: dict[str, Any] | None = None
        self._forked, self._fork_lock = False, threading.Lock()
        self._model: LoadedModel | None = self._load_model(bundle)
        tell_after_fork(self)
        # Threads that share a Segmenter must not see each other's current image.
        self._current = threading.local()

    @classmethod
    @refuses_old_names
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        backend: str | Backend = "auto",
        *,
        backend_options: Mapping[str, Any] | None = None,
        detector: str | os.PathLike[str] | Detector | None = None,
        presence_filter: bool | None = None,
        max_classes: int | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
        word_cache: Place = None,
        engines: str | os.PathLike[str] | None = None,
        trust_engines: bool = False,
        isolated: bool | Isolation = False,
    ) -> Segmenter:
        """Verify a bundle and load it.

        Args:
            path: folder of the bundle, or ``hf:USER/NAME@REVISION`` on the Hugging Face hub; None is the model that is
                installed with the package.
            backend: ``auto``, a name such as ``onnxruntime-cpu``, or a backend object.
            backend_options: of that backend, such as ``{"precision": "bf16"}`` of ``openvino``.
            detector: an ONNX file or a ``Detector`` in place of the bundle's own.
            presence_filter: True asks the model first which classes a crop shows: classes below the presence threshold,
                or outside ``max_classes``, get an empty mask, and no time is spent on it. False segments every class.
                None is True where the bundle's threshold was fitted, else False.
            max_classes: the filter lets at most this number of classes of a crop through, the likeliest; None for any.
            threads: threads for one call of the backend; None lets it decide.
            limits: bounds of memory, results and images; None is ``Limits()``.
            word_cache: folder where encoded words are kept, so that each is encoded once on this machine; None is the
                environment variable CLSCLIP_CACHE (a folder, or ``off``), else the user's cache folder; False keeps
                none.
            engines: folder of TensorRT engines; None is the user's cache.
            trust_engines: load engines from ``engines`` although it is not this user's cache: they are machine code.
            isolated: load and run the graphs in a process of their own, with limits on memory and time, which may end
                without harm: for bundles of strangers. An ``Isolation`` says how much. It runs one call at a time.

        Raises:
            BundleError: the bundle is absent, damaged, of another schema or incomplete.
            BackendError: no backend works here, or it cannot load the bundle.
            DetectorError: the detector cannot be used.
            OptionError: a value makes no sense.
        """
        bundle = Bundle.open(path, to_load=True)
        check_filter(presence_filter, None, max_classes)

        def use(chosen: Backend) -> Segmenter:
            found = detector
            if found is not None and not isinstance(found, Detector):
                found = Detector.load(found, backend=chosen)
            made = cls(
                bundle,
                chosen,
                detector=found,
                presence_filter=presence_filter,
                max_classes=max_classes,
                limits=limits,
                word_cache=word_cache,
            )
            try:
                bundle.wait_until_verified()
            except BaseException:
                made.close()
                raise
            return made

        with bundle.loading():
            if not isinstance(backend, str):
                if not callable(getattr(backend, "load", None)):
                    raise OptionError(f"backend must be a name or a Backend, and it is {backend!r}")
                if isolated:
                    raise OptionError("an isolated process makes its own backend. Give its name: backend='openvino'")
                if backend_options:
                    raise OptionError(
                        "backend_options belong to a backend that is named. Give them to the object itself"
                    )
                return use(backend)
            place = _engine_place(bundle, backend, engines, trust_engines)
            used = None if place is None else place.folder
            make: Make = partial(make_backend, place=place)
            if isolated:
                isolation = isolated if isinstance(isolated, Isolation) else Isolation()
                make = partial(IsolatedBackend, bundle, isolation=isolation, place=place)
            segmenter, notes = choose_backend(backend, use, threads=threads, options=backend_options, make=make)
        segmenter._recipe = {
            **{"backend": backend, "backend_options": backend_options, "threads": threads, "limits": limits},
            **{"presence_filter": presence_filter, "max_classes": max_classes, "word_cache": word_cache},
            **{"engines": None if engines is None else str(Path(engines).absolute()), "trust_engines": trust_engines},
            "isolated": isolated,
            "detector": detector if isinstance(detector, Detector | None) else str(Path(detector).absolute()),
        }
        segmenter._backend_notes = (*passed_over(bundle.folder, used), *notes, *segmenter._backend_notes)
        return segmenter

    @property
    def bundle(self) -> Bundle:
        """The verified bundle."""
        return self._bundle

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._backend.name

    @property
    def limits(self) -> Limits:
        """Bounds of every call."""
        return self._limits

    @property
    def detector(self) -> Detector | None:
        """What finds regions for ``zoom_in``: given to ``load``, else the bundle's, loaded when first used; or None.

        Raises:
            DetectorError: the bundle's cannot be loaded.
        """
        with self._load_lock:
            closed = self._model is None and not self._forked
            if self._detector is None and self._bundle.manifest.detector is not None and not closed:
                self._detector = Detector.from_bundle(self._bundle, self._backend)
            return self._detector

    @refuses_old_names
    def __call__(
        self,
        image: Source,
        classes: Classes,
        *,
        presence_filter: bool | None = None,
        max_classes: int | None = None,
        presence_threshold: float | None = None,
        mask_threshold: float | None = None,
        zoom_in: bool | ZoomIn = False,
        regions: Regions | None = None,
        refine: bool = False,
        min_area: int = 0,
        largest: bool = False,
        fill_holes: bool = False,
        channels: str = "rgb",
    ) -> Result:
        """Segment one image; ``set_image`` and ``predict`` in one call, without changing the current image.

        Args:
            image: path, address, bytes, binary file object, PIL image, ``DecodedImage``, or uint8 array of shape
                (H, W), (H, W, 3) or (H, W, 4), in RGB order unless ``channels`` says otherwise.
            classes: words, or a dictionary of classes and their prompts; see ``predict``.
            channels: ``rgb`` or ``bgr``, the order of an array's colors; OpenCV's is ``bgr``.
            presence_filter, max_classes, presence_threshold, mask_threshold, zoom_in, regions, refine, min_area,
                largest, fill_holes: as in ``predict``.

        Raises:
            ImageError, WordError, OptionError, BackendError, BundleError, DetectorError: as in ``set_image`` and
                ``predict``.
        """
        call = self._call(
            CallOptions(
                presence_filter,
                max_classes,
                presence_threshold,
                mask_threshold,
                zoom_in,
                regions,
                refine,
                Cleaning(min_area, largest, fill_holes),
            ),
            channels,
        )
        return call.run([self._input(call, image, classes, regions)])[0]

    @overload
    def batch(
        self,
        images: Iterable[Source],
        classes: Classes | Sequence[Classes],
        *,
        presence_filter: bool | None = ...,
        max_classes: int | None = ...,
        presence_threshold: float | None = ...,
        mask_threshold: float | None = ...,
        zoom_in: bool | ZoomIn = ...,
        regions: Sequence[Regions] | str | None = ...,
        refine: bool = ...,
        min_area: int = ...,
        largest: bool = ...,
        fill_holes: bool = ...,
        channels: str = ...,
        return_errors: Literal[False] = ...,
    ) -> list[Result]: ...

    @overload
    def batch(
        self,
        images: Iterable[Source],
        classes: Classes | Sequence[Classes],
        *,
        presence_filter: bool | None = ...,
        max_classes: int | None = ...,
        presence_threshold: float | None = ...,
        mask_threshold: float | None = ...,
        zoom_in: bool | ZoomIn = ...,
        regions: Sequence[Regions] | str | None = ...,
        refine: bool = ...,
        min_area: int = ...,
        largest: bool = ...,
        fill_holes: bool = ...,
        channels: str = ...,
        return_errors: bool,
    ) -> list[Result | ClsclipRuntimeError]: ...

    @refuses_old_names
    def batch(
        self,
        images: Iterable[Source],
        classes: Classes | Sequence[Classes],
        *,
        presence_filter: bool | None = None,
        max_classes: int | None = None,
        presence_threshold: float | None = None,
        mask_threshold: float | None = None,
        zoom_in: bool | ZoomIn = False,
        regions: Sequence[Regions] | str | None = None,
        refine: bool = False,
        min_area: int = 0,
        largest: bool = False,
        fill_holes: bool = False,
        channels: str = "rgb",
        return_errors: bool = False,
    ) -> Any:
        """Segment several images: their crops and pairs share the backend's calls.

        Args:
            images: any that a call takes, also from a generator; all held in memory at once.
            classes: words, or a dictionary of classes and their prompts, asked of every image; or a list of such lists
                or dictionaries, one for each image.
            presence_filter, max_classes, presence_threshold, mask_threshold: as in ``predict``.
            zoom_in, refine, min_area, largest, fill_holes: as in ``predict``.
            regions: boxes of every image, as in ``predict``; or ``tiles``.
            channels: ``rgb`` or ``bgr``, the order of the colors of arrays; OpenCV's is ``bgr``.
            return_errors: give the error in the place of an image that fails; the others are not touched by it.

        Returns:
            One result for each image, in order; with ``return_errors`` an error in place of some.

        Raises:
            ImageError, WordError, OptionError, BackendError, BundleError, DetectorError: as in ``set_image`` and
                ``predict``. No result is given then. With ``return_errors`` only what concerns the whole call.
        """
        call = self._call(
            CallOptions(
                presence_filter,
                max_classes,
                presence_threshold,
                mask_threshold,
                zoom_in,
                regions,
                refine,
                Cleaning(min_area, largest, fill_holes),
            ),
            channels,
        )
        if isinstance(images, (str, bytes, os.PathLike, np.ndarray)):
            raise OptionError("batch takes a list of images. For one image call the segmenter itself")
        if isinstance(regions, (Proposals, Mapping)):
            raise OptionError("batch takes a list with the regions of every image: regions=[proposals, ...]")
        sources = list(images)
        boxes = None if isinstance(regions, str) else regions
        if boxes is not None and len(boxes) != len(sources):
            raise OptionError(f"{len(sources)} images need as many lists of regions, not {len(boxes)}")
        asked = _classes_of_each(classes, len(sources))
        found: list[Result | ClsclipRuntimeError | None] = [None] * len(sources)
        inputs: dict[int, ImageInput] = {}
        for at, source in enumerate(sources):
            try:
                inputs[at] = self._input(call, source, asked[at], None if boxes is None else boxes[at])
            except ClsclipRuntimeError as error:
                if not return_errors:
                    raise
                found[at] = error
        for at, one in zip(inputs, call.run_each(list(inputs.values()), return_errors=return_errors), strict=True):
            found[at] = one
        return found

    def set_image(self, image: Source, *, channels: str = "rgb") -> ImageFeatures:
        """Encode an image and make it this thread's current one.

        Args:
            image: path, address, bytes, binary file object, PIL image, ``DecodedImage``, or uint8 array of shape
                (H, W), (H, W, 3) or (H, W, 4), in RGB order unless ``channels`` says otherwise.
            channels: ``rgb`` or ``bgr``, the order of an array's colors; OpenCV's is ``bgr``.

        It is encoded for the presence filter that ``load`` was given: a ``predict`` that brings one where there was
        none has to encode it again.

        Returns:
            What ``predict(image=...)`` takes, in any thread.

        Raises:
            ImageError: it cannot be read.
            BackendError: the backend failed, or its outputs are not finite numbers.
            BundleError: a graph had to be loaded, and its file is not any more what was verified.
        """
        model = self._opened()
        timings: dict[str, float] = {}
        with timed(timings, "read"):
            decoded = open_image(image, max_pixels=self._limits.max_pixels, channels=channels)
        with timed(timings, "image"):
            pixels = preprocess(decoded.image, self._bundle.manifest.image)[None]
            arrays = model.encode(pixels, [decoded.source], for_presence=self._usually_filtered)
        features = ImageFeatures(decoded, arrays, self._bundle.fingerprint, timings)
        self._current.features = features
        return features

    @refuses_old_names
    def predict(
        self,
        classes: Classes,
        *,
        image: ImageFeatures | None = None,
        presence_filter: bool | None = None,
        max_classes: int | None = None,
        presence_threshold: float | None = None,
        mask_threshold: float | None = None,
        zoom_in: bool | ZoomIn = False,
        regions: Regions | None = None,
        refine: bool = False,
        min_area: int = 0,
        largest: bool = False,
        fill_holes: bool = False,
    ) -> Result:
        """Segment words in an image that ``set_image`` encoded.

        Args:
            classes: words; one string is one word; a word that comes twice is reported once. A class may have several
                prompts: ``{"helmet": ["safety helmet", "hard hat"], "dog": "dog"}``. Each is searched as if it was
                asked alone; the class has what any of them finds, and the highest presence.
            image: what ``set_image`` returned; None is this thread's current image.
            presence_filter, max_classes: as in ``load``, for this call; None is what ``load`` was given.
            presence_threshold: classes whose presence score is below it get an empty mask, and no time is spent on it.
                None is the bundle's own threshold; 0 segments every class, and tells the scores of all.
            mask_threshold: the probability that a pixel must exceed to belong to a class; None is the bundle's own. In
                boxes that name a class the ``ZoomIn``'s own comes on top, as it does with the bundle's.
            zoom_in: ClsCLIP+: segment the regions that the detector finds and join their masks, instead of the whole
                image once. A ``ZoomIn`` says how; True is its defaults. A region of a class that the word means is
                always segmented; one without a class, for every word that its crop shows.
            regions: boxes in place of the detector's; given, they switch ``zoom_in`` on. ``tiles`` searches the whole
                image and overlapping parts of it, for every class and without a detector; so does ``zoom_in`` where
                there is none.
            refine: give masks the edges of the image: a guided filter on the logits.
            min_area: leave out connected parts of masks with fewer pixels.
            largest: keep the largest connected part of every mask alone; of regions, that of every region.
            fill_holes: make holes of masks part of them; before the two above.

        Raises:
            WordError: a word is empty, too long or not text.
            OptionError: there is no current image, it is of another bundle, there is no detector, or a value makes no
                sense.
            BackendError: the backend failed, or its outputs are not finite numbers.
            BundleError: as in ``set_image``.
            DetectorError: the detector failed.
        """
        features = image if image is not None else getattr(self._current, "features", None)
        if features is None:
            raise OptionError("this thread has no image yet. Call set_image(image) first, or give predict(image=...)")
        features = instance_of("image", features, ImageFeatures, "Give what set_image(image) returns")
        if features.fingerprint != self._bundle.fingerprint:
            raise OptionError("this image was encoded by another bundle. Call set_image(image) on this segmenter")
        call = self._call(
            CallOptions(
                presence_filter,
                max_classes,
                presence_threshold,
                mask_threshold,
                zoom_in,
                regions,
                refine,
                Cleaning(min_area, largest, fill_holes),
            )
        )
        return call.run([self._input(call, features, classes, regions)])[0]

    def close(self) -> None:
        """Free the backend's memory. Calls that other threads have begun end normally; later ones are refused."""
        with self._load_lock:
            self._model, self._forked = None, False  # it closes when the last call that uses it has ended
            self._detector = None
            if isinstance(self._backend, IsolatedBackend):
                self._backend.close()
        self._current = threading.local()
        give_back_memory()

    def __enter__(self) -> Segmenter:
        """The segmenter itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name of the bundle and of the backend."""
        return f"Segmenter({self._bundle.manifest.name!r}, {self.backend})"

    def after_fork(self) -> None:
        """Leave all that is loaded to the parent, in a forked child; it is loaded again when it is first needed."""
        self._load_lock, self._fork_lock, self._matcher = threading.Lock(), threading.Lock(), Matcher()
        self._forked, self._model = self._model is not None or self._forked, None

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process loads the same bundle again, as ``load`` did. OptionError where that is not possible."""
        if self._recipe is None:
            raise OptionError(
                "only a Segmenter that Segmenter.load made by the name of a backend can be sent to another process. "
                "Load it there: Segmenter.load(...)"
            )
        self._opened()
        return _load_again, (type(self), os.fspath(self._bundle.folder), self._bundle.fingerprint, self._recipe)

    def _load_model(self, bundle: Bundle) -> LoadedModel:
        return LoadedModel(
            bundle,
            self._backend,
            limits=self._limits,
            for_presence=self._usually_filtered,
            word_cache=self._word_cache,
            load_lock=self._load_lock,
        )

    def _opened(self) -> LoadedModel:
        if self._forked:
            with self._fork_lock:
                if self._forked:
                    self._bundle = _same_bundle(os.fspath(self._bundle.folder), self._bundle.fingerprint)
                    self._model, self._forked = self._load_model(self._bundle), False
        model = self._model
        if model is None:
            raise ClsclipRuntimeError("this Segmenter is closed. Load it again: Segmenter.load(...)")
        return model

    def _call(self, asked: CallOptions, channels: str = "rgb") -> Call:
        """Check what a call asks of all its images."""
        model = self._opened()  # closed is told before anything is read; once begun, a call ends
        check_channels(channels)
        asked.check()
        tiled = asks_for_tiles(asked.regions)
        has_boxes = asked.regions is not None and not tiled
        zoom = asked.zoom_in if isinstance(asked.zoom_in, ZoomIn) else ZoomIn() if asked.zoom_in or has_boxes else None
        detector = self._finder(zoom) if zoom is not None and not has_boxes and not tiled else None
        tiled = tiled or (zoom is not None and not has_boxes and detector is None)
        presence_filter, threshold, max_classes = asked.presence_filter, asked.presence_threshold, asked.max_classes
        check_filter(presence_filter, threshold, max_classes)
        if presence_filter is not False:  # which leaves out what load was given
            if presence_filter is None:
                presence_filter = self._presence_filter
            max_classes = max_classes or self._max_classes
        manifest = self._bundle.manifest
        chosen, notes = choose_filter(presence_filter, threshold, max_classes, spec=manifest.presence)
        tiles = None
        if tiled:
            tiles, chosen, more = choose_tiles(manifest, chosen, threshold, zoom)
            zoom, notes = None, (*notes, *more)
        request = Request(
            presence_filter=chosen,
            zoom_in=zoom,
            notes=(*notes, f"masks were cleaned: {asked.cleaning}") if asked.cleaning else notes,
            mask_threshold=manifest.mask.threshold if asked.mask_threshold is None else asked.mask_threshold,
            tiles=tiles,
            refine=asked.refine,
            cleaning=asked.cleaning,
        )
        backend = (self._backend.name, self._backend_notes)
        return Call(model, self._bundle, self._matcher, self._limits, request, detector, backend, channels)

    def _finder(self, zoom: ZoomIn) -> Detector | None:
        detector = self.detector
        if detector is None:
            self._opened()  # closed by another thread, perhaps
            if zoom.boxes_as_masks or zoom.class_agnostic or zoom.confidence is not None:
                raise OptionError(
                    f"boxes_as_masks, class_agnostic and confidence need a detector, and the bundle "
                    f"'{self._bundle.manifest.name}' has none. Give one: Segmenter.load(..., detector='yolo11n.onnx'), "
                    "or give regions=boxes"
                )
        return detector

    @staticmethod
    def _input(call: Call, image: Source | ImageFeatures, classes: Classes, regions: Regions | None) -> ImageInput:
        """Read what a call asks of one image."""
        asked = clean_classes(classes)
        features = image if isinstance(image, ImageFeatures) else None
        decoded = image.image if isinstance(image, ImageFeatures) else call.read(image)
        boxes = None if regions is None or isinstance(regions, str) else as_proposals(regions, decoded.size)
        return ImageInput(decoded, asked, boxes, features)


def _classes_of_each(classes: Classes | Sequence[Classes], count: int) -> list[Classes]:
    """The classes of every image: the same for all, unless there is a list for each."""
    is_one = isinstance(classes, (str, bytes, Mapping, Asked))
    listed: Any = classes if is_one or not isinstance(classes, Iterable) else list(classes)
    own = isinstance(listed, list) and listed and not any(isinstance(one, str) for one in listed)
    if not own:
        return [listed] * count
    if len(listed) != count:
        raise OptionError(f"{count} images need as many lists of classes, not {len(listed)}")
    each: list[Classes] = listed
    return each


def _engine_place(
    bundle: Bundle, backend: str, engines: str | os.PathLike[str] | None, trusted: bool
) -> EnginePlace | None:
    """Where engines are, told before anything is loaded if they may not be used. OptionError then."""
    if engines is None and not trusted:
        return None
    if backend not in ("auto", TENSORRT):
        raise OptionError(f"engines are TensorRT's, and the backend is {backend!r}. Leave them out")
    place = EnginePlace(None if engines is None else expanded(engines), trusted)
    place.readable(bundle.fingerprint)
    return place


def _load_again(cls: type[Segmenter], path: str, fingerprint: str, recipe: Mapping[str, Any]) -> Segmenter:
    """A pickled segmenter, in another process."""
    _same_bundle(path, fingerprint)
    return cls.load(path, **recipe)


def _same_bundle(path: str, fingerprint: str) -> Bundle:
    """The bundle at ``path``; BundleError unless it is the one that was loaded before."""
    bundle = Bundle.open(path)
    if bundle.fingerprint != fingerprint:
        raise BundleError(
            f"{path} holds another bundle than the one that this segmenter was made of. Load it anew: "
            "Segmenter.load(...)"
        )
    return bundle
