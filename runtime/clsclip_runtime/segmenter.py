"""The model of a bundle, ready to segment any class that can be named."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from clsclip_runtime.backends import Arrays, Backend, Graph, select_backend
from clsclip_runtime.bundle import DETECTOR, GATE, IMAGE_ENCODER, TEXT_ENCODER, TRUNK, Bundle
from clsclip_runtime.errors import BackendError, BundleError, ClsclipRuntimeError, OptionError
from clsclip_runtime.images import MAX_PIXELS, Picture, Source, open_picture, preprocess
from clsclip_runtime.masks import logit
from clsclip_runtime.memory import pair_bytes, pairs_per_call
from clsclip_runtime.result import Result
from clsclip_runtime.text import EncodedWords, TextEncoder
from clsclip_runtime.words import clean_words

Floats = npt.NDArray[np.float32]

_TRUNK_INPUTS = {"stem_tokens", "patch_features", "text_tokens", "crop_index", "class_index"}
_GATE_INPUTS = {"image_features", "patch_features", "text_features"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PictureFeatures:
    """A picture after the image encoder: what all words share, so that new words cost only their own part.

    Attributes:
        picture: the upright RGB picture and its source.
        arrays: the image encoder's outputs, with one crop: ``stem_tokens`` (1, 1+m, d),
            ``image_features`` (1, f), ``patch_features`` (1, m, f), all float32.
        fingerprint: of the bundle that made them; other bundles refuse them.
        timings: milliseconds of ``read`` and ``image``.
    """

    picture: Picture
    arrays: Arrays
    fingerprint: str
    timings: dict[str, float]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in pixels."""
        width, height = self.picture.image.size
        return width, height


@dataclass(frozen=True)
class _Graphs:
    image_encoder: Graph
    trunk: Graph
    gate: Graph | None
    text: TextEncoder


class Segmenter:
    """Segments pictures by words. Safe to share between threads; a context manager.

    with Segmenter.load("model.clsclip") as segmenter:
        result = segmenter("photo.jpg", classes=["bottle", "boat"])

        segmenter.set_image("photo.jpg")            # the encoder runs once
        first = segmenter.predict(["dog"])          # and each predict() only adds its words
        second = segmenter.predict(["cat", "tree"])
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        memory_mb: int = 1024,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Load the graphs of ``bundle`` into ``backend``; see ``load`` for the rest."""
        self._memory_mb = _positive("memory_mb", memory_mb)
        self._max_pixels = _positive("max_pixels", max_pixels)
        self._bundle = bundle
        self._backend = backend
        has_gate = bundle.manifest.presence_threshold is not None
        self._open_graphs: _Graphs | None = _Graphs(
            image_encoder=_load(backend, bundle, IMAGE_ENCODER, {"pixel_values"}),
            trunk=_load(backend, bundle, TRUNK, _TRUNK_INPUTS),
            gate=_load(backend, bundle, GATE, _GATE_INPUTS) if has_gate else None,
            text=TextEncoder(bundle, _load(backend, bundle, TEXT_ENCODER, {"token_ids"}), memory_mb=memory_mb),
        )
        # Threads that share a Segmenter must not see each other's current picture.
        self._current = threading.local()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        backend: str | Backend = "auto",
        *,
        threads: int | None = None,
        memory_mb: int = 1024,
        max_pixels: int = MAX_PIXELS,
    ) -> Segmenter:
        """Verify a bundle and load it.

        Args:
            path: folder of the bundle; None is the model that is installed with the package.
            backend: ``auto``, a name such as ``onnxruntime-cpu``, or an engine object.
            threads: threads for one call of the engine; None lets it decide.
            memory_mb: bound in MiB on the activations of one call (``memory.pair_bytes`` estimates them): more
                words than fit go through in several calls. Weights, pictures and masks come on top.
            max_pixels: larger pictures are refused before they are decoded.

        Raises:
            BundleError: the bundle is absent, damaged, too new or incomplete.
            BackendError: no engine works here, or it cannot load the bundle.
            OptionError: a value makes no sense.
        """
        engine = select_backend(backend, threads=threads) if isinstance(backend, str) else backend
        return cls(Bundle.open(path), engine, memory_mb=memory_mb, max_pixels=max_pixels)

    @property
    def bundle(self) -> Bundle:
        """The verified bundle."""
        return self._bundle

    @property
    def backend(self) -> str:
        """Name of the engine."""
        return self._backend.name

    def __call__(
        self,
        source: Source,
        classes: str | Iterable[str],
        *,
        presence_threshold: float | None = None,
        zoom_in: bool = False,
    ) -> Result:
        """Segment one picture; ``set_image`` and ``predict`` in one call, without changing the current picture.

        Args:
            source: path, bytes, binary file object, PIL image, or uint8 array (H, W), (H, W, 3) or (H, W, 4).
            classes: words; one string is one word.
            presence_threshold: as in ``predict``.
            zoom_in: segment regions of a detector instead of the whole picture; not available yet.

        Raises:
            ImageError, WordError, OptionError, BackendError: as in ``set_image`` and ``predict``.
        """
        if zoom_in:
            raise OptionError(self._why_no_zoom())
        words = clean_words(classes)
        _threshold(presence_threshold, None)
        features = self._encode_picture(source)
        return self._predict(features, words, presence_threshold, dict(features.timings))

    def set_image(self, source: Source) -> PictureFeatures:
        """Encode a picture and make it this thread's current one.

        Returns:
            What ``predict(image=...)`` takes, in any thread.

        Raises:
            ImageError: it cannot be read.
            BackendError: the engine failed, or its outputs are not finite numbers.
        """
        features = self._encode_picture(source)
        self._current.features = features
        return features

    def predict(
        self,
        classes: str | Iterable[str],
        *,
        image: PictureFeatures | None = None,
        presence_threshold: float | None = None,
    ) -> Result:
        """Segment words in a picture that ``set_image`` encoded.

        Args:
            classes: words; one string is one word; a word that comes twice is reported once.
            image: what ``set_image`` returned; None is this thread's current picture.
            presence_threshold: words whose presence score is below it get an empty mask, and no time is spent on
                their masks. None is the bundle's own threshold, 0 segments every word.

        Raises:
            WordError: a word is empty, too long or not text.
            OptionError: there is no current picture, it is of another bundle, or the threshold is not in 0..1.
            BackendError: the engine failed, or its outputs are not finite numbers.
        """
        features = image if image is not None else getattr(self._current, "features", None)
        if features is None:
            raise OptionError(
                "this thread has no picture yet. Call set_image(picture) first, or give predict(image=...)"
            )
        if features.fingerprint != self._bundle.fingerprint:
            raise OptionError("this picture was encoded by another bundle. Call set_image(picture) on this segmenter")
        return self._predict(features, clean_words(classes), presence_threshold, {})

    def close(self) -> None:
        """Free the engine's memory. Calls that other threads have begun end normally; later ones are refused."""
        self._open_graphs = None
        self._current = threading.local()

    def __enter__(self) -> Segmenter:
        """The segmenter itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _graphs(self) -> _Graphs:
        graphs = self._open_graphs
        if graphs is None:
            raise ClsclipRuntimeError("this Segmenter is closed. Load it again: Segmenter.load(...)")
        return graphs

    def _why_no_zoom(self) -> str:
        if DETECTOR in self._bundle.manifest.files:
            return "zoom_in=True is not possible: this version of clsclip cannot run detectors. Call with zoom_in=False"
        return (
            f"zoom_in=True needs a detector, and the bundle '{self._bundle.manifest.name}' has none. "
            "Call with zoom_in=False"
        )

    def _encode_picture(self, source: Source) -> PictureFeatures:
        graph = self._graphs().image_encoder
        timings: dict[str, float] = {}
        with _timed(timings, "read"):
            picture = open_picture(source, max_pixels=self._max_pixels)
        with _timed(timings, "image"):
            pixels = preprocess(picture.image, self._bundle.manifest.image)[None]
            arrays = graph.run({"pixel_values": pixels})
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise BackendError(
                    f"the model gave NaN or infinity ({name}) for {picture.source}: the weights of the bundle's "
                    "image encoder are damaged. Get the bundle again, or export it again"
                )
        return PictureFeatures(picture, arrays, self._bundle.fingerprint, timings)

    def _predict(
        self,
        features: PictureFeatures,
        cleaned: tuple[tuple[str, ...], list[str]],
        presence_threshold: float | None,
        timings: dict[str, float],
    ) -> Result:
        graphs = self._graphs()
        manifest = self._bundle.manifest
        words, notes = cleaned
        threshold = _threshold(presence_threshold, manifest.presence_threshold)
        with _timed(timings, "text"):
            encoded = graphs.text.encode(words)
        notes += [
            f"'{word}' is longer than the model's {manifest.text.context_length} tokens: its end was cut off"
            for word in encoded.truncated
        ]
        presence = None
        present = np.ones(len(words), dtype=np.bool_)
        if graphs.gate is not None:
            with _timed(timings, "presence"):
                presence = _presence(graphs.gate, features, encoded, words)
            present = presence >= threshold
        elif presence_threshold:
            notes.append("presence_threshold has no effect: the bundle has no presence gate")
        index = np.flatnonzero(present)
        with _timed(timings, "masks"):
            logits = self._mask_logits(graphs.trunk, features, encoded.tokens, index, words)
        timings["total"] = sum(timings.values())
        return Result(
            classes=words,
            presence=presence,
            present=present,
            present_index=index,
            present_logits=logits,
            cut=logit(manifest.mask.threshold),
            picture=features.picture,
            model=manifest.name,
            backend=self._backend.name,
            presence_threshold=threshold if presence is not None else None,
            notes=notes,
            timings=timings,
        )

    def _mask_logits(
        self,
        trunk: Graph,
        features: PictureFeatures,
        text_tokens: Floats,
        index: npt.NDArray[np.int64],
        words: tuple[str, ...],
    ) -> Floats:
        """Logits (P, h, w) of the words at ``index``, in as few calls of the trunk as the memory bound allows."""
        mask = self._bundle.manifest.mask
        logits = np.empty((len(index), mask.height, mask.width), dtype=np.float32)
        _, tokens, width = features.arrays["stem_tokens"].shape
        step = pairs_per_call(self._memory_mb, pair_bytes(tokens, width, mask.height, mask.width))
        for start in range(0, len(index), step):
            chunk = index[start : start + step]
            feeds = dict(features.arrays) | {
                "text_tokens": text_tokens[chunk],
                "crop_index": np.zeros(len(chunk), dtype=np.int64),
                "class_index": np.arange(len(chunk), dtype=np.int64),
            }
            values = _run(trunk, feeds, "mask_logits", (len(chunk), mask.height, mask.width), TRUNK)
            _check_finite(values, [words[at] for at in chunk], "mask")
            logits[start : start + step] = values
        return logits


def _load(backend: Backend, bundle: Bundle, name: str, known_inputs: set[str]) -> Graph:
    graph = backend.load(bundle.path(name))
    unknown = set(graph.inputs) - known_inputs
    if unknown:
        raise BundleError(
            f"{name} in {bundle.folder} wants the inputs {', '.join(sorted(unknown))}, which this version of clsclip "
            "does not know. Upgrade clsclip, or export the bundle again"
        )
    return graph


def _run(graph: Graph, feeds: Arrays, output: str, shape: tuple[int, ...], name: str) -> npt.NDArray[np.generic]:
    """Run a graph on those of ``feeds`` that it takes (a variant may not need all), and check its output."""
    missing = [name for name in graph.inputs if name not in feeds]
    if missing:
        raise BackendError(f"image_encoder.onnx gave no {', '.join(missing)}. Export the bundle again")
    values = graph.run({name: feeds[name] for name in graph.inputs}).get(output)
    if values is None or values.shape != shape:
        got = "nothing" if values is None else f"shape {values.shape}"
        raise BackendError(f"{name} gave {got} for {output}, and {shape} was expected. Export the bundle again")
    return values


def _presence(gate: Graph, features: PictureFeatures, encoded: EncodedWords, words: tuple[str, ...]) -> Floats:
    feeds = dict(features.arrays) | {"text_features": encoded.features}
    values = _run(gate, feeds, "presence", (1, len(words)), GATE)[0]
    _check_finite(values, words, "presence score")
    scores: Floats = np.clip(values.astype(np.float32), 0.0, 1.0)
    return scores


def _check_finite(values: npt.NDArray[np.generic], words: Iterable[str], what: str) -> None:
    flat = values.reshape(len(values), -1)
    for word, fine in zip(words, np.isfinite(flat).all(axis=1), strict=True):
        if not fine:
            raise BackendError(
                f"the model gave NaN or infinity as the {what} of the word '{word}': the bundle's weights are "
                "damaged. Get the bundle again, or export it again"
            )


def _threshold(asked: float | None, default: float | None) -> float:
    if asked is None:
        return 0.0 if default is None else default
    is_number = isinstance(asked, (int, float, np.number)) and not isinstance(asked, bool)
    if not is_number or not math.isfinite(asked) or not 0 <= asked <= 1:
        raise OptionError(f"presence_threshold must be a number from 0 to 1, or None, and it is {asked!r}")
    return float(asked)


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{name} must be a whole number of 1 or more, and it is {value!r}")
    return value


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = (time.perf_counter() - start) * 1000
