"""The graphs of a bundle, loaded into an engine; what they are fed and what they give is checked here."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Floats, Integers
from clsclip_runtime.arrays import Array, Arrays, DeviceArray, to_host
from clsclip_runtime.bundle.opening import GATE, IMAGE_ENCODER, STEM, TEXT_ENCODER, TRUNK, Bundle
from clsclip_runtime.errors import BackendError, BundleError, OptionError
from clsclip_runtime.protocols import Backend, Graph, KeepsOnDevice, close_all, close_with
from clsclip_runtime.text.cache import Place, WordCache
from clsclip_runtime.text.encoded import EncodedWords
from clsclip_runtime.text.encoder import TextEncoder

_OF_PAIRS = ("text_tokens", "crop_index", "class_index")
_INPUTS = {
    IMAGE_ENCODER: {"pixel_values"},
    TEXT_ENCODER: {"token_ids"},
    TRUNK: {"stem_tokens", "patch_features", *_OF_PAIRS},
    STEM: {"pixel_values"},
    GATE: {"image_features", "patch_features", "text_features"},
}
"""The graphs that run, the slowest to load first, and all inputs that they may want."""

_CHECKED_ON_HOST = "image_features"
"""The one kept output that is fetched to look for NaN: 2 KiB a crop. It comes last in CLIP's own path, so that damage
anywhere before it shows in it; the other outputs are 1 MiB a crop, and what is computed from them is checked."""


class Graphs:
    """A bundle's image encoder, gate, trunk and text encoder in one engine. Safe to share between threads.

    In engines that can (:class:`clsclip_runtime.backends.KeepsOnDevice`) the encoder's outputs stay on the device, and
    gate and trunk read them there: up go pixels, text tokens and indices, down come presence and mask logits. Text
    tokens live on the host, since they are small (2 KiB a word), are cached word by word and put together anew for
    every call.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        memory_mb: int,
        for_gate: bool = True,
        word_cache: Place = None,
        load_lock: threading.Lock | None = None,
    ) -> None:
        """Load them, but of image encoder and stem, which is a part of it, only the one that ``encode`` will use most.
        The other is loaded when it is needed: an engine that has both holds weights twice.

        Args:
            bundle: verified.
            backend: loads them.
            memory_mb: bounds calls of the text encoder.
            for_gate: what most calls of ``encode`` will ask.
            word_cache: where encoded words are kept on disk. OptionError if it is no place.
            load_lock: held while a graph is loaded later; not all engines load two at a time.

        Raises:
            BundleError, BackendError: one cannot be loaded.
        """
        self._mask = bundle.manifest.mask
        self._load_later = partial(_load_later, backend, bundle)
        self._load_lock = load_lock or threading.Lock()
        has_stem = STEM in bundle.manifest.files
        first = IMAGE_ENCODER if for_gate or not has_stem else STEM
        left_out = {STEM, IMAGE_ENCODER} - {first}
        if bundle.manifest.presence_threshold is None:
            left_out.add(GATE)
        names = [name for name in _INPUTS if name in bundle.manifest.files and name not in left_out]
        graphs = _load_all(backend, bundle, names)
        close_with(self, list(graphs.values()))
        self._trunk, self._gate = graphs[TRUNK], graphs.get(GATE)
        self._encoders = {first: graphs[first]}
        # A trunk that reads CLIP's patch features needs all of the image encoder.
        self._stem_is_enough = has_stem and "patch_features" not in self._trunk.inputs
        if first == STEM and not self._stem_is_enough:
            self._encoder(IMAGE_ENCODER)
        on_disk = WordCache.of(bundle, backend.name, word_cache)
        self.text = TextEncoder(bundle, graphs[TEXT_ENCODER], memory_mb=memory_mb, on_disk=on_disk)

    def encode(self, pixel_values: Floats, sources: Sequence[str], *, for_gate: bool = True) -> dict[str, Array]:
        """What words share: crops (C, 3, S, S) through the image encoder.

        Args:
            pixel_values: preprocessed crops.
            sources: where each comes from, for messages.
            for_gate: give what ``presence`` needs too, which takes all layers of the encoder and not the stem alone.

        Returns:
            The encoder's outputs, (C, ...) float32 each, on the device if the engine keeps them there. Then only
            ``image_features`` have been looked at for NaN; it shows in presence and logits too, which name the word.

        Raises:
            BackendError: the engine failed, or gave NaN or another number of crops.
            BundleError: a graph is loaded only now, and its file is not any more what was verified.
        """
        file = IMAGE_ENCODER if for_gate or not self._stem_is_enough else STEM
        arrays = _run_kept(self._encoder(file), {"pixel_values": pixel_values})
        for name, array in arrays.items():
            if array.ndim < 1 or len(array) != len(pixel_values):
                raise BackendError(
                    f"{file} gave shape {array.shape} for {name} of {len(pixel_values)} crops. Export the bundle again"
                )
            if isinstance(array, DeviceArray) and name != _CHECKED_ON_HOST:
                continue
            rows: npt.NDArray[np.generic] = to_host(array).reshape(len(array), -1)
            for source, fine in zip(sources, np.isfinite(rows).all(axis=1), strict=True):
                if not fine:
                    raise BackendError(
                        f"the model gave NaN or infinity ({name}) for {source}: the weights of the bundle's "
                        "image encoder are damaged. Get the bundle again, or export it again"
                    )
        return arrays

    def _encoder(self, file: str) -> Graph:
        graph = self._encoders.get(file)
        if graph is None:
            with self._load_lock:
                graph = self._encoders.get(file)
                if graph is None:
                    graph = self._load_later(file)
                    close_with(self, [graph])
                    self._encoders[file] = graph
        return graph

    def presence(self, arrays: Arrays, encoded: EncodedWords, words: Sequence[str]) -> Floats:
        """Presence (C, K) float32 in 0..1 of every word in every crop.

        Raises:
            BackendError: the engine failed, its output is not finite, or the bundle has no gate.
        """
        if self._gate is None:
            raise BackendError("the bundle has no gate, so it cannot tell which words a crop shows. Use gate='off'")
        crops = len(arrays["stem_tokens"])
        feeds = dict(arrays) | {"text_features": encoded.features}
        values = _run(self._gate, feeds, "presence", (crops, len(words)), GATE)
        check_finite(values.T, words, "presence score")
        return np.clip(values.astype(np.float32), np.float32(0), np.float32(1))

    def trunk(self, arrays: Arrays, text_tokens: Floats, crops: Integers, classes: Integers) -> Floats:
        """Mask logits (P, h, w) float32 of P pairs in one call.

        Args:
            arrays: what ``encode`` gave for the crops.
            text_tokens: (K, d_text) float32.
            crops: (P,) positions in ``arrays``.
            classes: (P,) positions in ``text_tokens``.

        Raises:
            BackendError: the engine failed, or its output has another shape. NaN is not looked for here.
        """
        feeds = dict(arrays) | {"text_tokens": text_tokens, "crop_index": crops, "class_index": classes}
        shape = (len(crops), self._mask.height, self._mask.width)
        return np.asarray(_run(self._trunk, feeds, "mask_logits", shape, TRUNK), dtype=np.float32)


def check_finite(values: npt.NDArray[np.generic], words: Iterable[str], what: str) -> None:
    """Raise BackendError for the first of ``words`` whose row of ``values`` is not finite."""
    flat = values.reshape(len(values), -1)
    for word, fine in zip(words, np.isfinite(flat).all(axis=1), strict=True):
        if not fine:
            raise BackendError(
                f"the model gave NaN or infinity as the {what} of the word '{word}': the bundle's weights are "
                "damaged. Get the bundle again, or export it again"
            )


def _load_all(backend: Backend, bundle: Bundle, names: Sequence[str]) -> dict[str, Graph]:
    """Load graphs, all at once where the engine can; the first error is told."""
    if not getattr(backend, "loads_in_parallel", False):
        loaded: dict[str, Graph] = {}
        try:
            for name in names:
                loaded[name] = _load(backend, bundle, name)
        except BaseException:
            close_all(list(loaded.values()))
            raise
        return loaded
    with ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
        return dict(zip(names, pool.map(lambda name: _load(backend, bundle, name), names), strict=True))


def _load(backend: Backend, bundle: Bundle, name: str) -> Graph:
    graph = backend.load(bundle.graph(name))
    unknown = set(graph.inputs) - _INPUTS[name]
    if unknown:
        raise BundleError(
            f"{name} in {bundle.folder} wants the inputs {', '.join(sorted(unknown))}, which this version of clsclip "
            "does not know. Upgrade clsclip, or export the bundle again"
        )
    return graph


def _load_later(backend: Backend, bundle: Bundle, name: str) -> Graph:
    """Load a graph after the others; since the bundle was verified, its files may have changed."""
    bundle.verify(name)
    return _load(backend, bundle, name)


def _run_kept(graph: Graph, feeds: Arrays) -> dict[str, Array]:
    """Run a graph and leave its outputs on the device, where its engine can."""
    return graph.run_kept(feeds) if isinstance(graph, KeepsOnDevice) else dict(graph.run(feeds))


def _run(graph: Graph, feeds: Arrays, output: str, shape: tuple[int, ...], name: str) -> npt.NDArray[np.generic]:
    """Run a graph on those of ``feeds`` that it takes (a variant may not need all), and check its output."""
    missing = [name for name in graph.inputs if name not in feeds]
    if missing:
        raise BackendError(f"image_encoder.onnx gave no {', '.join(missing)}. Export the bundle again")
    given = {name: feeds[name] for name in graph.inputs}
    if not isinstance(graph, KeepsOnDevice) and any(isinstance(array, DeviceArray) for array in given.values()):
        raise OptionError(
            "this picture was encoded on a GPU and its features are there, and this segmenter's engine reads host "
            "memory. Give it a copy: predict(image=features.to_host())"
        )
    values = graph.run(given).get(output)
    if values is None or values.shape != shape:
        got = "nothing" if values is None else f"shape {values.shape}"
        raise BackendError(f"{name} gave {got} for {output}, and {shape} was expected. Export the bundle again")
    return values
