"""A bundle in one backend, as a case: all that ``Segmenter`` does for a call, and the engine's part of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_bench.case import Spec, Workload
from clsclip_bench.engine_time import EngineClock
from clsclip_bench.peak import PRECISIONS
from clsclip_runtime.backends.select import BACKENDS, select_backend
from clsclip_runtime.bundle.opening import TEXT_ENCODER, Bundle
from clsclip_runtime.errors import BackendError, OptionError
from clsclip_runtime.images import open_image
from clsclip_runtime.limits import Limits
from clsclip_runtime.results.pairs import Pairs
from clsclip_runtime.segmenter import Segmenter

FACTORY = "clsclip_bench.ours:SegmenterCase"

EXACT, FILTERED = "exact", "filtered"
"""Every pair is segmented; or the presence filter drops pairs before the trunk."""

MODES = (EXACT, FILTERED)


SPELLINGS = (*BACKENDS, "openvino:bf16")
"""Backends as the command spells them: after a colon, the precision that one is asked to compute in."""


def parse_backend(spelling: str) -> tuple[str, dict[str, Any]]:
    """A backend's name and its options, of a spelling such as ``openvino:bf16``."""
    name, _, precision = spelling.partition(":")
    return name, {"precision": precision} if precision else {}


def device_of(backend: str) -> str:
    """``gpu`` or ``cpu``, by a backend's name."""
    return "gpu" if any(part in backend for part in ("cuda", "tensorrt", "gpu")) else "cpu"


def precision_of(backend: str, bundle: str) -> str:
    """In which precision a backend multiplies a bundle's matrices.

    Args:
        backend: its name; one that names a precision (``openvino:bf16``) has that one for all but INT8 bundles.
        bundle: what the manifest states.
    """
    named = backend.rpartition(":")[2]
    if bundle != "int8" and named in PRECISIONS:
        return named
    if bundle in ("fp16", "bf16") and device_of(backend) == "cpu":
        return "fp32"  # engines on CPUs compute halves in FP32
    return bundle if bundle in PRECISIONS else "fp32"


def words(count: int) -> list[str]:
    """So many different words."""
    return [f"thing {number}" for number in range(1, count + 1)]


def made_image(width: int, height: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """(height, width, 3) uint8: soft shapes and grain, so that it compresses about as photographs do."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    rows, columns = rows / max(1, height), columns / max(1, width)
    waves = rng.uniform(1, 12, (3, 2))
    phases = rng.uniform(0, 6.28, 3)
    soft = [np.sin(x * columns + y * rows + phase) for (x, y), phase in zip(waves, phases, strict=True)]
    image = 128 + 90 * np.stack(soft, axis=-1) + rng.normal(0, 6, (height, width, 1)).astype(np.float32)
    pixels: npt.NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return pixels


def bundle_specs(
    bundle: Bundle,
    backend: str,
    modes: tuple[str, ...],
    options: dict[str, Any],
    most: tuple[int | None, ...] = (None,),
) -> list[Spec]:
    """The cases of a bundle in one backend.

    Args:
        bundle: opened, so that it is known to be whole.
        backend: a name of ``BACKENDS``.
        modes: of ``MODES``.
        options: of :class:`SegmenterCase`, the same for all.
        most: a filtered case for each: so many words of a crop, whatever they score; None leaves it to the
            model's threshold.
    """
    stated = bundle.manifest.precision
    precision = precision_of(backend, stated)
    specs = []
    forms = [(mode, max_classes) for mode in modes for max_classes in (most if mode == FILTERED else (None,))]
    for mode, max_classes in forms:
        own = {"model": str(bundle.folder), "backend": backend, "mode": mode, "max_classes": max_classes}
        labels = {"model": bundle.manifest.name, "bundle": stated, "engine": backend, "mode": mode}
        name = f"{bundle.manifest.name} {stated}, {backend}" + ("" if mode == EXACT else f", {mode}")
        if len(most) > 1 and max_classes is not None:
            name += f" to {max_classes}"
        specs.append(Spec(name, FACTORY, own | options, precision, device_of(backend), labels))
    return specs


class SegmenterCase:
    """A case that segments pictures with a warm ``Segmenter``."""

    def __init__(
        self,
        model: str,
        backend: str,
        mode: str = EXACT,
        *,
        max_classes: int | None = None,
        threads: int | None = None,
        memory_mb: int = 1024,
        image: str | None = None,
        side: int | None = None,
        asked: list[str] | None = None,
    ) -> None:
        """What is measured.

        Args:
            model: folder of the bundle.
            backend: name of the engine.
            mode: ``exact`` or ``filtered``.
            max_classes: of a filtered call: so many words a crop, whatever they score; None is the model's threshold.
            threads, memory_mb: as in ``Segmenter.load``.
            image: file to segment; None makes a picture.
            side: of the made picture, pixels; None is the model's own.
            asked: words to ask; None makes some. A workload with more classes than words is refused.
        """
        self._model, self._backend, self._mode, self._max_classes = model, backend, mode, max_classes
        self._threads, self._memory_mb = threads, memory_mb
        self._image, self._side, self._asked = image, side, asked
        self._clock = EngineClock()
        self._images: list[npt.NDArray[np.uint8]] = []
        self._words: list[str] = []
        self._found: dict[str, Any] = {}
        self._first: tuple[Pairs, int] | None = None

    def load(self) -> None:
        """Load the bundle."""
        name, own = parse_backend(self._backend)
        engine = self._clock.watch(select_backend(name, threads=self._threads, options=own))
        self._options = filter_options(self._mode, self._max_classes)
        self._segmenter = Segmenter.load(
            self._model,
            engine,
            presence_filter=self._options["presence_filter"],
            limits=Limits(memory_mb=self._memory_mb),
        )  # the filter decides which graphs are loaded

    def prepare(self, workload: Workload) -> None:
        """Make pictures and words."""
        if self._asked is not None and len(self._asked) < workload.classes:
            raise OptionError(f"{workload.classes} words are to be asked, and only {len(self._asked)} were given")
        side = self._side or self._segmenter.bundle.manifest.image.size
        if self._image is not None:
            self._images = [np.asarray(open_image(self._image).image)] * workload.crops
        else:
            self._images = [made_image(side, side, seed) for seed in range(workload.crops)]
        self._words = words(workload.classes) if self._asked is None else self._asked[: workload.classes]

    def call(self) -> dict[str, float]:
        """From pixels to masks of the pictures' size; ``engine`` is the graphs' part, ``text`` encoding of words."""
        self._clock.take()
        results = self._segmenter.batch(self._images, self._words, **self._options)
        if not results:
            raise BackendError("the segmenter gave no result")
        text = results[0].timings.get("text", 0.0) / 1000
        self._found = {"pairs": sum(len(one.pairs) for one in results), "backend": results[0].backend}
        self._first = results[0].pairs, len(results[0].classes)
        marked = 0
        while results:
            marked += int(np.count_nonzero(results.pop().masks))  # a result's masks go with it
        seconds = self._clock.take()
        seconds.pop(TEXT_ENCODER, None)
        self._found |= {"marked_pixels": marked, "graphs": sorted(seconds)}
        return {"engine": sum(seconds.values()), "text": text}

    def facts(self) -> dict[str, Any]:
        """Pairs that were segmented, pixels of all masks, and the graphs that ran."""
        return dict(self._found)

    def logits(self) -> npt.NDArray[np.float32] | None:
        """(K, h, w) of the first picture; -inf for words that the filter dropped."""
        if self._first is None:
            return None
        pairs, count = self._first
        logits = np.full((count, *pairs.logits.shape[1:]), -np.inf, np.float32)
        logits[pairs.classes] = pairs.logits
        return logits


def filter_options(mode: str, max_classes: int | None) -> dict[str, Any]:
    """Keyword arguments of a call in ``mode``."""
    if mode == EXACT:
        return {"presence_filter": False}
    # So many words, whatever they score: the time does not hang on what a picture happens to show.
    return (
        {"presence_filter": True}
        if max_classes is None
        else {"presence_filter": True, "max_classes": max_classes, "presence_threshold": 0}
    )
