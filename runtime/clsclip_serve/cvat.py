"""CVAT's automatic annotation with words that are chosen when it is called.

    cvat-cli task auto-annotate 7 --function-module clsclip_serve.cvat -p classes=str:dog,fish

CVAT hands pictures over one at a time: for whole tasks ``clsclip-infer --formats coco`` and CVAT's import are faster.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from clsclip_runtime.results.codecs.cvat import encode_cvat
from clsclip_runtime.results.codecs.outlines import outlines
from clsclip_runtime.segmenter import Segmenter
from clsclip_runtime.text.typed import typed_classes
from clsclip_runtime.text.words import Asked


def create(
    classes: str,
    model: str | None = None,
    backend: str = "auto",
    presence_threshold: float | None = None,
) -> DetectionFunction:
    """What ``cvat-cli`` calls with the parameters that were given by ``-p``.

    Args:
        classes: words, separated by commas; each must be a label of the task.
        model: bundle; None is the model that is installed.
        backend: engine.
        presence_threshold: None is the one that CVAT gives (``--conf-threshold``), else the bundle's.

    Raises:
        WordError: there are no words, or one is not usable.
        BundleError, BackendError: the model cannot be loaded.
    """
    asked = typed_classes([classes])
    return DetectionFunction(Segmenter.load(model, backend), asked, presence_threshold)


class DetectionFunction:
    """A function as CVAT's SDK calls it."""

    def __init__(self, segmenter: Segmenter, asked: Asked, presence_threshold: float | None = None) -> None:
        """Look for classes; label numbers are their positions."""
        self._segmenter, self._asked, self._threshold = segmenter, asked, presence_threshold
        self._cvat: Any = import_module("cvat_sdk.auto_annotation")

    @property
    def spec(self) -> Any:
        """The labels: masks of every word."""
        labels = [self._cvat.label_spec(word, at, type="mask") for at, word in enumerate(self._asked.classes)]
        return self._cvat.DetectionFunctionSpec(labels=labels)

    def detect(self, context: Any, image: Any) -> list[Any]:
        """Shapes of one picture: a mask for each word that has pixels, or its outlines where CVAT wants polygons."""
        threshold = self._threshold if context.conf_threshold is None else context.conf_threshold
        result = self._segmenter(image, self._asked, presence_threshold=threshold)
        shapes: list[Any] = []
        for one in result:
            if not one.area:
                continue
            if context.conv_mask_to_poly:
                rings = outlines(one.rle(), holes=False)
                shapes += [self._cvat.polygon(one.index, ring.astype(float).ravel().tolist()) for ring in rings]
            else:
                shapes.append(self._cvat.mask(one.index, [float(value) for value in encode_cvat(one.rle())]))
        return shapes
