"""The graphs of a bundle, loaded into a backend; what they are fed and what they give is checked here.

Features of crops and words have the names and shapes that the manifest states. Nothing here knows what they mean.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clsclip_runtime._types import Floats, Integers
from clsclip_runtime.arrays import Array, Arrays, DeviceArray, to_host
from clsclip_runtime.bundle.opening import IMAGE_ENCODER, PRESENCE, STEM, TEXT_ENCODER, TRUNK, Bundle
from clsclip_runtime.bundle.specs import FROM_FILTER, FROM_TRUNK, FeatureSpec
from clsclip_runtime.errors import BackendError, BundleError, OptionError
from clsclip_runtime.inference.presence import as_probability
from clsclip_runtime.limits import Limits
from clsclip_runtime.protocols import Backend, DeviceGraph, Graph, close_all, close_with
from clsclip_runtime.text.cache import Place, WordCache
from clsclip_runtime.text.encoded import EncodedWords
from clsclip_runtime.text.encoder import TextEncoder, load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_GRAPHS = (IMAGE_ENCODER, TEXT_ENCODER, TRUNK, STEM, PRESENCE)
"""The graphs that run, the slowest to load first."""


class LoadedModel:
    """A bundle's image encoder, presence graph, trunk and text encoder in one backend. Safe to share between threads.

    In backends that can (:class:`clsclip_runtime.protocols.DeviceGraph`) the encoder's outputs stay on the device, and
    presence graph and trunk read them there: up go pixels, text features and indices, down come presence and mask
    logits. Text features live on the host, since they are small, are cached word by word and put together anew for
    every call.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        limits: Limits,
        for_presence: bool = True,
        word_cache: Place = None,
        load_lock: threading.Lock | None = None,
    ) -> None:
        """Load the graphs, but of image encoder and stem, which is a part of it, only the one that ``encode`` will use
        most. The other is loaded when it is needed: a backend that has both holds weights twice.

        Args:
            bundle: verified.
            backend: loads them.
            limits: bounds calls of the text encoder.
            for_presence: what most calls of ``encode`` will ask.
            word_cache: where encoded words are kept on disk. OptionError if it is no place.
            load_lock: held while a graph is loaded later; not all backends load two at a time.

        Raises:
            BundleError, BackendError: one cannot be loaded.
        """
        manifest = bundle.manifest
        self._mask, self._presence_spec = manifest.mask, manifest.presence
        self._features = {one.name: one for one in manifest.features}
        # Of features on a device only the smallest is fetched to look for NaN. Damage of the others shows in presence
        # and logits, which are checked and name the word.
        self._smallest = min(manifest.features, key=lambda one: one.bytes).name
        self.fast_mb: int | None = getattr(backend, "fast_mb", None)
        """As the backend states it."""
        self._load_later = partial(_load_later, backend, bundle)
        self._load_lock = load_lock or threading.Lock()
        has_stem = STEM in manifest.files
        first = IMAGE_ENCODER if for_presence or not has_stem else STEM
        left_out = {STEM, IMAGE_ENCODER} - {first}
        if manifest.presence is None or manifest.presence.source != FROM_FILTER:
            left_out.add(PRESENCE)  # a file that nothing uses
        names = [name for name in _GRAPHS if name in manifest.files and name not in left_out]
        with ThreadPoolExecutor(1) as apart:
            reading = apart.submit(_late_tokenizer, bundle) if TEXT_ENCODER in names else None
            graphs = _load_all(backend, bundle, names)
        close_with(self, list(graphs.values()))
        self._trunk, self._presence = graphs[TRUNK], graphs.get(PRESENCE)
        self._encoders = {first: graphs[first]}
        # A trunk may read features that the stem does not give, and so may the test of the domain.
        self._of_trunk = tuple(name for name in self._trunk.inputs if name in self._features)
        test = None if manifest.domain is None else manifest.domain.test
        judged = set() if test is None else set(test.weights)
        self._has_stem = has_stem and judged <= set(self._of_trunk) <= _outputs(bundle, STEM)
        if first == STEM and not self._has_stem:
            self._encoder(IMAGE_ENCODER)
        on_disk = WordCache.from_bundle(bundle, backend.name, word_cache)
        self.text = TextEncoder.from_bundle(
            bundle,
            graphs.get(TEXT_ENCODER),
            tokenizer=reading.result() if reading else None,
            memory_mb=limits.memory_mb,
            on_disk=on_disk,
        )

    def serves_presence(self, features: Arrays) -> bool:
        """Whether presence can be asked of these features of crops."""
        return self._presence is None or all(
            name in features for name in self._presence.inputs if name in self._features
        )

    def encode(self, pixel_values: Floats, sources: Sequence[str], *, for_presence: bool = True) -> dict[str, Array]:
        """What words share: crops (C, 3, S, S) through the image encoder.

        Args:
            pixel_values: preprocessed crops.
            sources: where each comes from, for messages.
            for_presence: give what ``presence`` needs too, which takes all layers of the encoder and not the stem
                alone.

        Returns:
            The features that the manifest lists, (C, ...) float32 each, on the device if the backend keeps them there.
            Then only the smallest has been looked at for NaN; it shows in presence and logits too, which name the word.

        Raises:
            BackendError: the backend failed, or gave NaN or another shape.
            BundleError: a graph is loaded only now, and its file is not any more what was verified.
        """
        needs_all = (for_presence and self._presence is not None) or not self._has_stem
        file = IMAGE_ENCODER if needs_all else STEM
        graph = self._encoder(file)
        found = _run_kept(graph, {"pixel_values": pixel_values})
        wanted = self._features if file == IMAGE_ENCODER else dict.fromkeys(self._of_trunk)
        features: dict[str, Array] = {}
        for name in wanted:
            spec, array = self._features[name], found.get(name)
            expected = (len(pixel_values), *spec.shape)
            if array is None or array.shape != expected:
                got = "nothing" if array is None else f"shape {array.shape}"
                raise BackendError(
                    f"{file} gave {got} for {name}, and {expected} was expected. Export the bundle again"
                )
            if not isinstance(array, DeviceArray) or name == self._smallest:
                _check_rows(array, sources, name)
            features[name] = array
        return features

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

    def presence(self, features: Arrays, encoded: EncodedWords) -> Floats:
        """Presence (C, K) float32 in 0..1 of every word in every crop, before the trunk.

        Raises:
            BackendError: the backend failed, its output is not finite, or the bundle has no presence graph.
        """
        if self._presence is None or self._presence_spec is None:
            raise BackendError("the bundle has no presence graph. Use presence_filter=False")
        crops = len(next(iter(features.values())))
        feeds = {**features, **encoded.arrays}
        shape = (crops, len(encoded.words))
        values = _run(self._presence, feeds, {"presence": shape}, PRESENCE)["presence"]
        check_finite(values.T, encoded.words, "presence score")
        return as_probability(values, self._presence_spec.form)

    @property
    def trunk_tells_presence(self) -> bool:
        """Whether presence is known only after the trunk."""
        return self._presence_spec is not None and self._presence_spec.source == FROM_TRUNK

    def trunk(
        self, features: Arrays, text: Mapping[str, Floats], crops: Integers, classes: Integers
    ) -> tuple[Floats, Floats | None]:
        """Mask logits (P, h, w) float32 of P pairs in one call, and their presence (P,) where the trunk tells it.

        Args:
            features: what ``encode`` gave for the crops.
            text: the words' features, (K, ...) float32 each.
            crops: (P,) positions in ``features``.
            classes: (P,) positions in ``text``.

        Raises:
            BackendError: the backend failed, or an output has another shape. NaN is not looked for here.
        """
        feeds = {**features, **text, "crop_index": crops, "class_index": classes}
        shapes: dict[str, tuple[int, ...]] = {"mask_logits": (len(crops), self._mask.height, self._mask.width)}
        if self.trunk_tells_presence:
            shapes["presence"] = (len(crops),)
        found = _run(self._trunk, feeds, shapes, TRUNK)
        presence = found.get("presence")
        logits = np.asarray(found["mask_logits"], dtype=np.float32)
        if presence is None or self._presence_spec is None:
            return logits, None
        # NaN stays NaN, for the caller to find.
        return logits, as_probability(presence, self._presence_spec.form)


def check_finite(values: npt.NDArray[np.generic], words: Iterable[str], what: str) -> None:
    """Raise BackendError for the first of ``words`` whose row of ``values`` is not finite."""
    flat = values.reshape(len(values), -1)
    for word, fine in zip(words, np.isfinite(flat).all(axis=1), strict=True):
        if not fine:
            raise BackendError(
                f"the model gave NaN or infinity as the {what} of the word '{word}': the bundle's weights are "
                "damaged. Get the bundle again, or export it again"
            )


def _check_rows(array: Array, sources: Sequence[str], name: str) -> None:
    rows: npt.NDArray[np.generic] = to_host(array).reshape(len(array), -1)
    for source, fine in zip(sources, np.isfinite(rows).all(axis=1), strict=True):
        if not fine:
            raise BackendError(
                f"the model gave NaN or infinity ({name}) for {source}: the weights of the bundle's "
                "image encoder are damaged. Get the bundle again, or export it again"
            )


def _late_tokenizer(bundle: Bundle) -> Tokenizer:
    """The tokenizer, read while engines load: it keeps Python busy, for which those who read large files would wait."""
    bundle.wait_until_verified()
    return load_tokenizer(bundle)


def _load_all(backend: Backend, bundle: Bundle, names: Sequence[str]) -> dict[str, Graph]:
    """Load graphs, all at once where the backend can; the first error is told."""
    if not getattr(backend, "loads_in_parallel", False):
        loaded: dict[str, Graph] = {}
        try:
            for name in names:
                loaded[name] = _load(backend, bundle, name)
        except BaseException:
            close_all(list(loaded.values()))
            raise
        return loaded
    read = getattr(backend, "read", None)
    if read is None:
        with ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
            return dict(zip(names, pool.map(lambda name: _load(backend, bundle, name), names), strict=True))
    to_read = [*names]

    def load(name: str) -> Graph:
        file = bundle.graph(name)
        inputs, compile_copy = file.inputs, read(file)
        del file
        bundle.let_go(name)
        to_read.remove(name)
        if not to_read:
            bundle.let_go_of_weights()
        return _checked(bundle, name, compile_copy(), inputs)

    # A thread for each graph: whoever waits for a file to be verified must not keep another from being read.
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(load, names), strict=True))


def _load(backend: Backend, bundle: Bundle, name: str) -> Graph:
    file = bundle.graph(name)
    inputs = file.inputs
    graph = backend.load(file)
    del file
    bundle.let_go(name)
    return _checked(bundle, name, graph, inputs)


def _checked(bundle: Bundle, name: str, graph: Graph, inputs: Sequence[str]) -> Graph:
    """The graph; BundleError if it takes or gives what its manifest does not list."""
    # An engine leaves out what nothing reads; what it was built of may be another graph.
    unknown = {*inputs, *graph.inputs} - _known_inputs(bundle, name)
    if unknown:
        raise BundleError(
            f"{name} in {bundle.folder} wants the inputs {', '.join(sorted(unknown))}, which are none of its manifest. "
            "Upgrade clsclip, or export the bundle again"
        )
    missing = _expected_outputs(bundle, name) - set(graph.outputs)
    if missing:
        raise BundleError(
            f"{name} in {bundle.folder} does not give {', '.join(sorted(missing))}, which its manifest lists. "
            "Export the bundle again"
        )
    return graph


def _known_inputs(bundle: Bundle, name: str) -> set[str]:
    """All inputs that a graph may want."""
    if name in (IMAGE_ENCODER, STEM):
        return {"pixel_values"}
    if name == TEXT_ENCODER:
        return {"token_ids"}
    features = _names(bundle.manifest.features) | _names(bundle.manifest.text.features)
    return features if name == PRESENCE else features | {"crop_index", "class_index"}


def _expected_outputs(bundle: Bundle, name: str) -> set[str]:
    """The outputs that a graph must give."""
    manifest = bundle.manifest
    if name == IMAGE_ENCODER:
        return _names(manifest.features)
    if name == TEXT_ENCODER:
        return _names(manifest.text.features)
    if name == PRESENCE:
        return {"presence"}
    if name == TRUNK:
        told = manifest.presence is not None and manifest.presence.source != FROM_FILTER
        return {"mask_logits", "presence"} if told else {"mask_logits"}
    return set()


def _outputs(bundle: Bundle, name: str) -> set[str]:
    """The outputs of a graph, without loading it."""
    return {value.name for value in bundle.signature(name).outputs}


def _names(features: Iterable[FeatureSpec]) -> set[str]:
    return {one.name for one in features}


def _load_later(backend: Backend, bundle: Bundle, name: str) -> Graph:
    """Load a graph after the others: its files are read and verified again, since they may have changed."""
    return _load(backend, bundle, name)


def _run_kept(graph: Graph, feeds: Arrays) -> dict[str, Array]:
    """Run a graph and leave its outputs on the device, where its backend can."""
    return graph.run_on_device(feeds) if isinstance(graph, DeviceGraph) else dict(graph.run(feeds))


def _run(
    graph: Graph, feeds: Arrays, shapes: Mapping[str, tuple[int, ...]], file: str
) -> dict[str, npt.NDArray[np.generic]]:
    """Run a graph on those of ``feeds`` that it takes, and check its outputs."""
    missing = [name for name in graph.inputs if name not in feeds]
    if missing:
        raise BackendError(f"no encoder gave {', '.join(missing)} for {file}. Export the bundle again")
    given = {name: feeds[name] for name in graph.inputs}
    if not isinstance(graph, DeviceGraph) and any(isinstance(array, DeviceArray) for array in given.values()):
        raise OptionError(
            "this image was encoded on a GPU and its features are there, and this segmenter's backend reads host "
            "memory. Give it a copy: predict(image=features.to_host())"
        )
    found = graph.run(given)
    for output, shape in shapes.items():
        values = found.get(output)
        if values is None or values.shape != shape:
            got = "nothing" if values is None else f"shape {values.shape}"
            raise BackendError(f"{file} gave {got} for {output}, and {shape} was expected. Export the bundle again")
    return {name: found[name] for name in shapes}
