"""The model of a bundle, ready to segment any class that can be named."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.backends.select import choose_backend
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.detectors import Detector
from clsclip_runtime.errors import ClsclipRuntimeError, OptionError
from clsclip_runtime.images import Source, open_picture, preprocess
from clsclip_runtime.inference.crops import boxes_as_pairs
from clsclip_runtime.inference.features import PictureFeatures
from clsclip_runtime.inference.model import Graphs
from clsclip_runtime.inference.presence import Gate, check_gate, choose_gate
from clsclip_runtime.inference.request import Look
from clsclip_runtime.inference.scheduler import Looker, timed
from clsclip_runtime.limits import Bounds
from clsclip_runtime.masks.upsampling import logit
from clsclip_runtime.protocols import Backend, notes_of
from clsclip_runtime.regions import Proposals, ZoomIn
from clsclip_runtime.regions.matching import Matcher
from clsclip_runtime.regions.proposals import as_proposals
from clsclip_runtime.results.result import Result
from clsclip_runtime.text.cache import Place
from clsclip_runtime.text.words import clean_words

_log = logging.getLogger(__name__)

Regions = Proposals | npt.ArrayLike
"""Boxes of one picture: ``Proposals``, or xyxy (N, 4) in pixels of which every word is asked."""


class Segmenter:
    """Segments pictures by words. Safe to share between threads; a context manager.

    with Segmenter.load("model.clsclip") as segmenter:
        result = segmenter("photo.jpg", classes=["bottle", "boat"])

        segmenter.set_image("photo.jpg")            # the encoder runs once
        first = segmenter.predict(["dog"])          # and each predict() only adds its words
        second = segmenter.predict(["cat", "tree"])

        closer = segmenter("photo.jpg", ["dog"], zoom_in=True)          # ClsCLIP+: regions of a detector
        drawn = segmenter("photo.jpg", ["dog"], regions=[[10, 20, 60, 80]])     # or a person's
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        detector: Detector | None = None,
        gate: str | None = None,
        top_k: int | None = None,
        bounds: Bounds | None = None,
        word_cache: Place = None,
    ) -> None:
        """Load the graphs of ``bundle`` into ``backend``; see ``load`` for the rest."""
        usual, _ = choose_gate(gate, None, top_k, trained=bundle.manifest.presence_threshold)
        self._gate, self._top_k = gate, top_k
        self._bounds = bounds or Bounds()
        self._bundle = bundle
        self._backend = backend
        self._backend_notes = notes_of(backend)
        self._detector = detector
        self._load_lock = threading.Lock()
        self._matcher = Matcher()
        memory_mb = self._bounds.memory_mb
        self._usually_gated = usual is not None
        self._open_graphs: Graphs | None = Graphs(
            bundle,
            backend,
            memory_mb=memory_mb,
            for_gate=self._usually_gated,
            word_cache=word_cache,
            load_lock=self._load_lock,
        )
        # Threads that share a Segmenter must not see each other's current picture.
        self._current = threading.local()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        backend: str | Backend = "auto",
        *,
        backend_options: Mapping[str, Any] | None = None,
        detector: str | os.PathLike[str] | Detector | None = None,
        gate: str | None = None,
        top_k: int | None = None,
        threads: int | None = None,
        memory_mb: int = Bounds.memory_mb,
        pairs_per_call: int | None = Bounds.pairs_per_call,
        result_mb: int = Bounds.result_mb,
        max_pixels: int = Bounds.max_pixels,
        word_cache: Place = None,
    ) -> Segmenter:
        """Verify a bundle and load it.

        Args:
            path: folder of the bundle; None is the model that is installed with the package.
            backend: ``auto``, a name such as ``onnxruntime-cpu``, or an engine object.
            backend_options: of that backend, such as ``{"precision": "bf16"}`` of ``openvino``.
            detector: an ONNX file or a ``Detector`` in place of the bundle's own.
            gate: ``clip`` asks CLIP's own features which words a crop shows before any mask is made: words below the
                presence threshold, or outside ``top_k``, get an empty mask, and no time is spent on it. ``off``
                segments every word. None is ``clip`` where the bundle's threshold was trained, else ``off``.
            top_k: the gate lets at most so many words of a crop through, the likeliest; None for any number.
            threads: threads for one call of the engine; None lets it decide.
            memory_mb: bound in MiB on the activations of one call (``memory.pair_bytes`` estimates them): more
                pairs than fit go through in several calls. Weights, pictures and masks come on top.
            pairs_per_call: a further bound on the pairs and crops of one call, for engines with a fixed largest shape.
            result_mb: bound in MiB on what the results of a call hold: the logits of all pairs, and masks that are
                asked for all at once. What is larger is refused before it is made.
            max_pixels: larger pictures are refused before they are decoded.
            word_cache: folder where encoded words are kept, so that each is encoded once on this machine; None is the
                environment variable CLSCLIP_CACHE (a folder, or ``off``), else the user's cache folder; False keeps
                none.

        Raises:
            BundleError: the bundle is absent, damaged, too new or incomplete.
            BackendError: no engine works here, or it cannot load the bundle.
            DetectorError: the detector cannot be used.
            OptionError: a value makes no sense.
        """
        bundle = Bundle.open(path)
        bounds = Bounds(memory_mb, pairs_per_call, result_mb, max_pixels)

        def use(engine: Backend) -> Segmenter:
            found = detector
            if found is not None and not isinstance(found, Detector):
                found = Detector.load(found, backend=engine)
            return cls(bundle, engine, detector=found, gate=gate, top_k=top_k, bounds=bounds, word_cache=word_cache)

        if not isinstance(backend, str):
            if backend_options:
                raise OptionError("backend_options belong to a backend that is named. Give them to the object itself")
            return use(backend)
        segmenter, notes = choose_backend(backend, use, threads=threads, options=backend_options)
        segmenter._backend_notes = (*notes, *segmenter._backend_notes)
        return segmenter

    @property
    def bundle(self) -> Bundle:
        """The verified bundle."""
        return self._bundle

    @property
    def backend(self) -> str:
        """Name of the engine."""
        return self._backend.name

    @property
    def detector(self) -> Detector | None:
        """What finds regions for ``zoom_in``: given to ``load``, else the bundle's, loaded when first used; or None.

        Raises:
            DetectorError: the bundle's cannot be loaded.
        """
        with self._load_lock:
            closed = self._open_graphs is None
            if self._detector is None and self._bundle.manifest.detector is not None and not closed:
                self._detector = Detector.from_bundle(self._bundle, self._backend)
            return self._detector

    def __call__(
        self,
        source: Source,
        classes: str | Iterable[str],
        *,
        gate: str | None = None,
        top_k: int | None = None,
        presence_threshold: float | None = None,
        zoom_in: bool | ZoomIn = False,
        regions: Regions | None = None,
    ) -> Result:
        """Segment one picture; ``set_image`` and ``predict`` in one call, without changing the current picture.

        Args:
            source: path, bytes, binary file object, PIL image, or uint8 array (H, W), (H, W, 3) or (H, W, 4).
            classes: words; one string is one word.
            gate, top_k, presence_threshold, zoom_in, regions: as in ``predict``.

        Raises:
            ImageError, WordError, OptionError, BackendError, BundleError, DetectorError: as in ``set_image`` and
                ``predict``.
        """
        return self.batch(
            [source],
            classes,
            gate=gate,
            top_k=top_k,
            presence_threshold=presence_threshold,
            zoom_in=zoom_in,
            regions=None if regions is None else [regions],
        )[0]

    def batch(
        self,
        sources: Sequence[Source],
        classes: str | Iterable[str],
        *,
        gate: str | None = None,
        top_k: int | None = None,
        presence_threshold: float | None = None,
        zoom_in: bool | ZoomIn = False,
        regions: Sequence[Regions] | None = None,
    ) -> list[Result]:
        """Segment several pictures: their crops and pairs share the engine's calls.

        Args:
            sources: the pictures, all held in memory at once.
            classes: words, asked of every picture.
            gate, top_k, presence_threshold, zoom_in: as in ``predict``.
            regions: boxes of every picture, as in ``predict``.

        Returns:
            One result a picture, in order.

        Raises:
            ImageError, WordError, OptionError, BackendError, BundleError, DetectorError: as in ``set_image`` and
                ``predict``; no result is given then.
        """
        graphs = self._graphs()  # closed is told before anything is read; once begun, a call ends
        words = clean_words(classes)
        zoom, detector = self._zoom(zoom_in, regions is not None)
        asked = self._asked(gate, top_k, presence_threshold)
        if isinstance(sources, (str, bytes, os.PathLike)):
            raise OptionError("batch takes a list of pictures. For one picture call the segmenter itself")
        if isinstance(regions, Proposals):
            raise OptionError("batch takes a list with the regions of every picture: regions=[proposals, ...]")
        if regions is not None and len(regions) != len(sources):
            raise OptionError(f"{len(sources)} pictures need as many lists of regions, not {len(regions)}")
        given = [None] * len(sources) if regions is None else [as_proposals(one) for one in regions]
        timings: dict[str, float] = {}
        with timed(timings, "read"):
            pictures = [open_picture(source, max_pixels=self._bounds.max_pixels) for source in sources]
        looks = [Look(picture, proposals=one) for picture, one in zip(pictures, given, strict=True)]
        if zoom is not None and detector is not None:
            with timed(timings, "detect"):
                pixels = [np.asarray(picture.image) for picture in pictures]
                detected = detector.batch(pixels, zoom.confidence)
            for look, found in zip(looks, detected, strict=True):
                look.proposals = found
        return self._segment(graphs, looks, words, zoom, asked, timings)

    def set_image(self, source: Source) -> PictureFeatures:
        """Encode a picture and make it this thread's current one.

        It is encoded for the gate that ``load`` was given: a ``predict`` that brings one where there was none has to
        encode it again.

        Returns:
            What ``predict(image=...)`` takes, in any thread.

        Raises:
            ImageError: it cannot be read.
            BackendError: the engine failed, or its outputs are not finite numbers.
            BundleError: a graph had to be loaded, and its file is not any more what was verified.
        """
        graphs = self._graphs()
        timings: dict[str, float] = {}
        with timed(timings, "read"):
            picture = open_picture(source, max_pixels=self._bounds.max_pixels)
        with timed(timings, "image"):
            pixels = preprocess(picture.image, self._bundle.manifest.image)[None]
            arrays = graphs.encode(pixels, [picture.source], for_gate=self._usually_gated)
        features = PictureFeatures(picture, arrays, self._bundle.fingerprint, timings)
        self._current.features = features
        return features

    def predict(
        self,
        classes: str | Iterable[str],
        *,
        image: PictureFeatures | None = None,
        gate: str | None = None,
        top_k: int | None = None,
        presence_threshold: float | None = None,
        zoom_in: bool | ZoomIn = False,
        regions: Regions | None = None,
    ) -> Result:
        """Segment words in a picture that ``set_image`` encoded.

        Args:
            classes: words; one string is one word; a word that comes twice is reported once.
            image: what ``set_image`` returned; None is this thread's current picture.
            gate, top_k: as in ``load``, for this call; None is what ``load`` was given.
            presence_threshold: of the gate: words whose presence score is below it get an empty mask, and no time is
                spent on it. None is the bundle's own threshold; 0 segments every word, and tells the scores of all.
            zoom_in: ClsCLIP+: look at the regions that the detector finds and join their masks, instead of looking at
                the whole picture once. A ``ZoomIn`` says how; True is its defaults. A region of a class that the word
                means is always segmented; one that may be anything, for every word that its crop shows.
            regions: boxes in place of the detector's; given, they switch ``zoom_in`` on.

        Raises:
            WordError: a word is empty, too long or not text.
            OptionError: there is no current picture, it is of another bundle, there is no detector, or a value makes
                no sense.
            BackendError: the engine failed, or its outputs are not finite numbers.
            BundleError: as in ``set_image``.
            DetectorError: the detector failed.
        """
        features = image if image is not None else getattr(self._current, "features", None)
        if features is None:
            raise OptionError(
                "this thread has no picture yet. Call set_image(picture) first, or give predict(image=...)"
            )
        if features.fingerprint != self._bundle.fingerprint:
            raise OptionError("this picture was encoded by another bundle. Call set_image(picture) on this segmenter")
        graphs = self._graphs()
        words = clean_words(classes)
        zoom, detector = self._zoom(zoom_in, regions is not None)
        asked = self._asked(gate, top_k, presence_threshold)
        # A picture that was encoded for no gate is encoded again for a call that brings one.
        arrays = features.arrays if asked[0] is None or features.serves_gate else None
        look = Look(features.picture, arrays, None if regions is None else as_proposals(regions))
        timings: dict[str, float] = {}
        if zoom is not None and detector is not None:
            with timed(timings, "detect"):
                look.proposals = features.detected_by(detector, zoom.confidence)
        return self._segment(graphs, [look], words, zoom, asked, timings)[0]

    def close(self) -> None:
        """Free the engine's memory. Calls that other threads have begun end normally; later ones are refused."""
        with self._load_lock:
            self._open_graphs = None  # they close when the last call that uses them has ended
            self._detector = None
        self._current = threading.local()

    def __enter__(self) -> Segmenter:
        """The segmenter itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _graphs(self) -> Graphs:
        graphs = self._open_graphs
        if graphs is None:
            raise ClsclipRuntimeError("this Segmenter is closed. Load it again: Segmenter.load(...)")
        return graphs

    def _zoom(self, zoom_in: bool | ZoomIn, has_regions: bool) -> tuple[ZoomIn | None, Detector | None]:
        """How to zoom in, None for the whole picture; and what finds the regions, where they are not given."""
        if not isinstance(zoom_in, (bool, ZoomIn)):
            raise OptionError(f"zoom_in must be True, False or a ZoomIn, and it is {zoom_in!r}")
        if zoom_in is False and not has_regions:
            return None, None
        detector = None if has_regions else self.detector
        if not has_regions and detector is None:
            self._graphs()  # closed by another thread, perhaps
            raise OptionError(
                f"zoom_in=True needs a detector, and the bundle '{self._bundle.manifest.name}' has none. Give one: "
                "Segmenter.load(..., detector='yolo11n.onnx'), or give regions=boxes, or call with zoom_in=False"
            )
        return (zoom_in if isinstance(zoom_in, ZoomIn) else ZoomIn()), detector

    def _asked(
        self, gate: str | None, top_k: int | None, presence_threshold: float | None
    ) -> tuple[Gate | None, list[str]]:
        """The gate of a call, and sentences for the user; ``choose_gate`` says what is refused."""
        check_gate(gate, presence_threshold, top_k)
        if gate != "off":  # which leaves out what load was given
            gate, top_k = gate or self._gate, top_k or self._top_k
        return choose_gate(gate, presence_threshold, top_k, trained=self._bundle.manifest.presence_threshold)

    def _segment(
        self,
        graphs: Graphs,
        looks: Sequence[Look],
        cleaned: tuple[tuple[str, ...], list[str]],
        zoom: ZoomIn | None,
        asked: tuple[Gate | None, list[str]],
        timings: dict[str, float],
    ) -> list[Result]:
        manifest = self._bundle.manifest
        words, notes = cleaned
        for look in looks:
            if look.proposals is not None and zoom is not None and zoom.any_class:
                look.proposals = look.proposals.anonymous()
        gate, about_gate = asked
        with timed(timings, "text"):
            encoded = graphs.text.encode(words)
            for look in looks:
                if look.proposals is not None:
                    look.matches = self._matcher(words, look.proposals, graphs.text)
        notes = [*notes, *about_gate] + [
            f"'{word}' is longer than the model's {manifest.text.context_length} tokens: its end was cut off"
            for word in encoded.truncated
        ]
        for note in notes:
            _log.info("%s", note)
        cut = logit(manifest.mask.threshold)
        boxes_only = zoom is not None and zoom.boxes_only
        if boxes_only:
            gate = None
            found = [boxes_as_pairs(look, cut) for look in looks]
        else:
            looker = Looker(graphs, manifest, words, encoded, gate, self._bounds)
            found = looker.run(looks, zoom or ZoomIn())
            timings.update(looker.timings)
        timings["total"] = sum(timings.values())
        return [
            Result(
                classes=words,
                presence=None if gate is None else look.presence,
                present=look.segmented,
                outranked=look.outranked & ~look.segmented,
                pairs=pairs,
                cut=cut,
                picture=look.picture,
                model=manifest.name,
                backend=self._backend.name,
                backend_notes=self._backend_notes,
                presence_threshold=None if gate is None else gate.threshold,
                top_k=None if gate is None else gate.top_k,
                proposals=look.proposals,
                matches=look.matches,
                places=look.places,
                notes=[*notes, *look.picture.notes, *(look.proposals.notes if look.proposals is not None else ())],
                timings=dict(timings),
                result_mb=self._bounds.result_mb,
            )
            for look, pairs in zip(looks, found, strict=True)
        ]
